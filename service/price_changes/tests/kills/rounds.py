"""A round: a fresh book, a burst of work, a kill at a named point, a restart, the drain, the proof.

Bursts are short, with heavy-tailed pauses: long hot runs heal themselves and prove nothing. All
of a round follows from its seed, except what the scheduler of the machine decides.
"""

import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from celery_app import app
from price_changes import application, definition, lifecycle
from price_changes.errors import ChangeError
from price_changes.models import ListedRows, PriceChange
from price_changes.preview import preview
from price_changes.tests.kills import victims
from price_changes.tests.kills.faults import FAULTS
from price_changes.tests.kills.proof import one, prove
from pricebook.local.postgres import Postgres
from pricebook.local.processes import Process, until
from pricebook.local.runner import Runner
from pricebook.local.valkey import Valkey
from services import price_state, repricing, tasks
from services.models import LockEnd, Plan, Repricing, Service, Subscription
from services.price_state import PriceStateError
from services.tests.factories import a_book
from services.tests.interleaving import a_person, execute_in_background, in_background

Status = PriceChange.Status

POINTS_OF_WORKERS = [
    "change started",
    "rows listed",
    "revert started",
    "steps planned",
    "chunk begun",
    "rows judged",
    "rows locked",
    "chunk moved",
    "step finished",
    "chunk counted",
    "chunk committed",
    "repricing finished",
    "locks ended",
    "message not acknowledged",
]
# Of somebody's call: the verb in which it lies.
POINTS_OF_PEOPLE = {
    "approved": "approve",
    "paused": "pause",
    "resumed": "resume",
    "change stopped": "cancel",
    "revert planned": "revert",
    "answer not sent": "approve",
}
# Who is killed there. A worker pauses at the point; what dies is it, its session, or a server.
KINDS = ["worker", "database session", "PostgreSQL", "Valkey", "web"]

SUBSCRIPTIONS, SERVICES, PLANS = 240, 3, 2
DRAIN_SECONDS = 45.0
# Rounds of each fault that are enough to see it.
ROUNDS_OF_FAULT = 6


@dataclass
class Round:
    """One line of the outcome."""

    seed: int
    kind: str
    point: str
    fault: str | None = None
    hit: bool = False  # somebody was at the point when the kill came
    actions: int = 0
    refused: int = 0
    changes: int = 0
    wrong_rows: int = 0
    double_entries: int = 0
    not_accounted: int = 0
    lost_actions: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


def plan_of(seed: int) -> tuple[str, str]:
    """Kinds take turns, and each goes through its points, so 200 rounds meet all of them."""
    turn, kind = divmod(seed, len(KINDS))
    points = list(POINTS_OF_PEOPLE) if KINDS[kind] == "web" else POINTS_OF_WORKERS
    return KINDS[kind], points[(turn + 3 * kind) % len(points)]


class Rounds:
    """The servers, the workers and the book of all rounds of a run."""

    def __init__(self, runner: Runner, directory: Path) -> None:
        self.runner = runner
        self.logs = directory / "log"
        self.ambush = victims.Ambush(directory / "run")
        self.fault: str | None = None
        self.names = (f"victim {number}" for number in itertools.count(1))
        self.forks = multiprocessing.get_context("forkserver")
        self.forks.set_forkserver_preload([victims.__name__])
        self.workers: dict[str, Any] = {}

    def play(self, seeds: Iterable[int]) -> Iterator[Round]:
        for seed in seeds:
            yield self.round(seed)

    def play_until_seen(self, fault: str, seed: int) -> Iterator[Round]:
        """With a fault that was sown; ends with the round that shows it."""
        self.sow(fault)
        with FAULTS[fault].in_database():
            for outcome in self.play(range(seed, seed + ROUNDS_OF_FAULT)):
                outcome.fault = fault
                yield outcome
                if outcome.findings:
                    break
        self.sow(None)

    def sow(self, fault: str | None) -> None:
        sown = [FAULTS[each].in_worker for each in (fault, self.fault) if each is not None]
        if any(sown):
            self.end_workers()  # others start with it, or without
        self.fault = fault

    # One round ----------------------------------------------------------------------------------

    def round(self, seed: int) -> Round:
        began = time.monotonic()
        kind, point = plan_of(seed)
        if self.fault is not None and (needed := FAULTS[self.fault].point):
            kind, point = "worker", needed
        outcome = Round(seed, kind, point)
        chance = random.Random(seed)
        self.new_book(chance)
        while len(self.workers) < 2:
            self.start_worker()
        until(lambda: all(map(self.ambush.is_ready, self.workers)), 60)
        burst = Burst(chance)
        burst.prepare(point)
        number = (
            1 if kind == "web" or point in {*RARE, "cursor saved"} else chance.choice([1, 1, 2, 4])
        )
        self.ambush.arm(point, number)
        victim = self.start_call(POINTS_OF_PEOPLE[point], burst) if kind == "web" else None
        burst.start()
        outcome.hit = self.wait_for_prey(burst)
        prey = self.ambush.prey()
        if outcome.hit:
            burst.touch_listed_rows()
            pause(chance)
        self.kill(kind, prey, victim)
        self.ambush.release()
        burst.join()
        if victim is not None:
            burst.again()
        burst.finish()
        drained = self.drained() and collide(self.drained)
        proof = prove(burst.acknowledged, burst.moves)
        if not drained:
            proof.findings.append(f"not drained within {DRAIN_SECONDS} s")
        outcome.findings = proof.findings
        outcome.wrong_rows, outcome.double_entries = proof.wrong_rows, proof.double_entries
        outcome.not_accounted = proof.not_accounted + (not drained)
        outcome.lost_actions = proof.lost_actions
        outcome.actions, outcome.refused = len(burst.acknowledged), burst.refused
        outcome.changes = PriceChange.objects.count()
        outcome.seconds = round(time.monotonic() - began, 2)
        return outcome

    def new_book(self, chance: random.Random) -> None:
        tables = [
            model._meta.db_table
            for name in ("services", "clients", "price_changes")
            for model in apps.get_app_config(name).get_models()
        ]
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE auth_user, {', '.join(tables)} RESTART IDENTITY CASCADE")
        a_book(SUBSCRIPTIONS, SERVICES, PLANS)
        rows = Subscription.objects
        soon = timezone.now() + timedelta(seconds=chance.uniform(0.3, 1.0))
        reason = {"price_reason": "chosen"}
        rows.filter(pk__endswith="1").update(price_state="locked", **reason)
        rows.filter(pk__endswith="2").update(price_state="locked", locked_until=soon, **reason)
        rows.filter(pk__endswith="3").update(price_state="negotiated", price=77, **reason)
        rows.filter(pk__endswith="04").update(ended_at=timezone.now())

    def end_workers(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.join()
        self.workers.clear()

    # Who is killed ------------------------------------------------------------------------------

    def start_worker(self) -> None:
        name = next(self.names)
        arguments = (name, self.ambush, self.logs / "workers.log", self.fault)
        self.workers[name] = self.forks.Process(target=victims.work, args=arguments)
        self.workers[name].start()

    def start_call(self, verb: str, burst: "Burst") -> Any:
        call = (verb, burst.call_of(verb))
        arguments = (next(self.names), self.ambush, self.logs / "calls.log", *call)
        victim = self.forks.Process(target=victims.decide, args=arguments)
        victim.start()
        return victim

    def wait_for_prey(self, burst: "Burst") -> bool:
        """Whether somebody came to the point, at the latest a moment after the burst."""
        ends = None
        while True:
            if self.ambush.prey() is not None:
                return True
            sweep()
            if ends is None and not burst.running():
                ends = time.monotonic() + 1.0
            if ends is not None and time.monotonic() > ends:
                return self.ambush.prey() is not None
            time.sleep(0.02)

    def kill(self, kind: str, prey: str | None, victim: Any) -> None:
        if kind == "web":
            victim.kill()
            victim.join()
        elif kind == "worker":
            name = prey if prey in self.workers else min(self.workers)
            worker = self.workers.pop(name)
            worker.kill()
            worker.join()
            self.start_worker()
        elif kind == "database session":
            self.kill_session(prey or min(self.workers))
        elif kind == "PostgreSQL":
            strike(self.runner.postgres.processes())
            self.restart(self.runner.postgres)
        else:
            strike(self.runner.valkey.processes())
            self.restart(self.runner.valkey)
        connection.close()
        self.wait_for_database()

    def restart(self, server: Postgres | Valkey) -> None:
        with self.runner.home.lock():
            server.start()

    def kill_session(self, name: str) -> None:
        """kill -9 of one session: PostgreSQL ends all others, and recovers as after a crash."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [name])
            found = cursor.fetchone()
        if found:
            os.kill(found[0], signal.SIGKILL)
            time.sleep(0.05)

    def wait_for_database(self) -> None:
        ends = time.monotonic() + 60
        while True:
            try:
                one("SELECT 1")
                return
            except (OperationalError, InterfaceError):
                connection.close()
                if time.monotonic() > ends:
                    raise
                time.sleep(0.05)

    def drained(self) -> bool:
        ends = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < ends:
            if not due():
                return True
            sweep()
            time.sleep(0.05)
        return False


RARE = {"change started", "rows listed", "revert started", "locks ended", "repricing finished"}


def strike(processes: list[Process]) -> None:
    for process in processes:
        process.signal(signal.SIGKILL)
    until(lambda: not any(process.alive for process in processes), 10)


def due() -> bool:
    waiting = [Status.SCHEDULED, Status.APPLYING]
    return (
        Repricing.objects.due().exists()
        or PriceChange.objects.filter(status__in=waiting).exists()
        or LockEnd.objects.filter(until__lte=timezone.now()).exists()
    )


_swept = 0.0


def sweep() -> None:
    """What beat sends; the broker may be gone for now."""
    global _swept
    if time.monotonic() - _swept > 0.15:
        _swept = time.monotonic()
        with contextlib.suppress(Exception):
            app.send_task("services.tasks.set_price", expires=2, retry=False)
            app.send_task("services.tasks.set_comment", expires=2, retry=False)


def pause(chance: random.Random, longest: float = 0.3) -> None:
    time.sleep(min(0.01 * chance.paretovariate(1.1), longest))


def collide(drained: Callable[[], bool]) -> bool:
    """Two that a missing lock loses for ever, in an order that the scheduler does not decide.

    A row is created before an edit and committed after its repricing; another is created while
    an edit is open, and committed after its repricing too. Nothing comes later and heals them.
    """
    before, behind = Service.objects.order_by("pk")[:2]
    with a_person() as early, a_person() as editor, a_person() as late:
        early.execute(INSERT, [before.pk])
        edit = in_background(move_list_price, before)
        editor.execute(EDIT, [behind.pk])
        creation = execute_in_background(late, INSERT, [behind.pk])
        creation.until_it_waits_or_ends()
        editor.commit()
        creation.result()
        if edit.until_it_waits_or_ends().running:
            early.commit()
            edit.result()
        done = drained()
        early.commit()
        late.commit()
    return done


INSERT = """
INSERT INTO services_subscription (client_id, service_id, plan_id, comment)
SELECT (SELECT max(id) FROM clients_client), %s, (SELECT max(id) FROM services_plan), ''
"""
EDIT = "UPDATE services_service SET full_price = full_price + 1 WHERE id = %s"


def move_list_price(service: Service) -> None:
    Service.objects.filter(pk=service.pk).update(full_price=service.full_price + 1)


# --- The burst ----------------------------------------------------------------------------------


class Burst:
    """What people do meanwhile, on three connections. `acknowledged` is what they were told."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.acknowledged: list[tuple[str, dict[str, Any]]] = []
        self.refused = 0
        self.moves = 0  # asked for, done or not
        self.services = list(Service.objects.order_by("pk").values_list("pk", flat=True))
        self.plans = list(Plan.objects.order_by("pk").values_list("pk", flat=True))
        self.clients = list(
            Subscription.objects.order_by("client_id")
            .values_list("client_id", flat=True)
            .distinct()
        )
        self.rows = list(Subscription.objects.order_by("pk").values_list("pk", flat=True))
        self.threads: list[threading.Thread] = []
        self.applied = self.half_done = self.asked = 0
        self.call: tuple[str, tuple[object, ...]] = ("", ())

    # Before: one change applied, one half done, one to be approved

    def prepare(self, point: str) -> None:
        tasks._quiet_until = time.monotonic() + 3600  # the sweep alone wakes workers
        self.applied = self.approved(kind="set", filter={}, adjustment="add", operand="1.50")
        repricing.reprice()
        chunk, repricing.CHUNK = repricing.CHUNK, victims.CHUNK
        try:
            values = {"adjustment": "percent", "operand": "5", "comment": "five more"}
            self.half_done = self.approved(kind="set", filter={}, **values)
            application.start_due()
            for _ in range(3):
                repricing._take_chunk("price", set())
        finally:
            repricing.CHUNK = chunk
        self.asked = self.planned(kind="set", filter={}, adjustment="add", operand="2").pk
        if point == "resumed":
            lifecycle.pause(self.half_done, "ann")

    def call_of(self, verb: str) -> tuple[object, ...]:
        if verb == "approve":
            fingerprint = PriceChange.objects.get(pk=self.asked).fingerprint
            arguments: tuple[object, ...] = (self.asked, fingerprint, "bob", "current")
        elif verb == "revert":
            arguments = (self.applied, "bob", True)
        else:
            arguments = (self.half_done, "bob")
        self.call = (verb, arguments)
        return arguments

    def again(self) -> None:
        """Who got no answer asks again. It is done now, or refused: done already, or too late."""
        verb, arguments = self.call
        try:
            getattr(lifecycle, verb)(*arguments)
        except ChangeError as error:
            if error.code not in ("wrong_state", "reverted_already", "moved_since_preview"):
                raise
        else:
            self.told(verb, change=arguments[0])

    def finish(self) -> None:
        """Nobody leaves a change paused or planned."""
        for change in PriceChange.objects.filter(status=Status.PAUSED):
            lifecycle.resume(change.pk, "ann")
        for change in PriceChange.objects.filter(status__in=[Status.PLANNED, Status.HELD]):
            lifecycle.cancel(change.pk, "ann")

    # During -------------------------------------------------------------------------------------

    def start(self) -> None:
        for person in (self.planner, self.desk, self.editor, self.creator):
            chance = random.Random(self.chance.random())
            thread = threading.Thread(target=self.person, args=(person(chance), chance))
            thread.start()
            self.threads.append(thread)

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "somebody's call hangs"

    def person(self, actions: Iterator[Callable[[], None]], chance: random.Random) -> None:
        try:
            for action in actions:
                try:
                    action()
                except (ChangeError, PriceStateError):
                    self.refused += 1
                except DatabaseError:
                    # The server died under it: nobody knows what became of it.
                    connection.close()
                    time.sleep(0.05)
                except InterfaceError:
                    connection.close()
                pause(chance)
        finally:
            connection.close()

    def told(self, what: str, **about: Any) -> None:
        self.acknowledged.append((what, about))

    def planned(self, **values: Any) -> PriceChange:
        return preview(definition.plan(values, "ann").pk)

    def approved(self, when_moved: str = "", **values: Any) -> int:
        change = self.planned(**values)
        lifecycle.approve(change.pk, change.fingerprint, "bob", when_moved or None)
        self.told("approve", change=change.pk)
        return int(change.pk)

    def planner(self, chance: random.Random) -> Iterator[Callable[[], None]]:
        """Price changes of all kinds."""
        made: list[int] = []

        def soon() -> str:
            return (timezone.now() + timedelta(seconds=chance.uniform(0.1, 0.5))).isoformat()

        def catalogue() -> None:
            values: dict[str, Any] = {"kind": "list_price", "service": chance.choice(self.services)}
            values["new_value"] = str(chance.randrange(50, 500))
            if chance.random() < 0.4:
                values = {"kind": "discount", "plan": chance.choice(self.plans)}
                values["new_value"] = str(chance.randrange(1, 90))
            values["for_new_only"] = chance.random() < 0.3
            if chance.random() < 0.5:
                values["effective_at"] = soon()
            made.append(self.approved(**values))

        def of_set() -> None:
            adjustment = chance.choice(["amount", "add", "percent", "lock", "release", "follow"])
            values: dict[str, Any] = {"kind": "set", "adjustment": adjustment}
            values["filter"] = chance.choice(
                [{}, {"service": chance.choice(self.services)}, {"plan": chance.choice(self.plans)}]
            )
            if adjustment in ("amount", "add", "percent"):
                values["operand"] = str(chance.randrange(1, 60))
            if chance.random() < 0.5:
                values["effective_at"] = soon()
            when = chance.choice(["hold", "frozen", "current", "frozen", "current"])
            made.append(self.approved(when, **values))

        def take_back() -> None:
            change = chance.choice([self.applied, self.half_done, *made])
            lifecycle.revert(change, "bob", True)
            self.told("revert", change=change)

        def cancel() -> None:
            change = chance.choice([self.half_done, *made])
            lifecycle.cancel(change, "bob")
            self.told("cancel", change=change)

        def hold_up() -> None:
            change = chance.choice([self.half_done, *made])
            lifecycle.pause(change, "bob")
            self.told("pause", change=change)
            pause(chance)
            lifecycle.resume(change, "bob")
            self.told("resume", change=change)

        yield of_set
        yield take_back
        yield catalogue
        for _ in range(5):
            yield chance.choice([catalogue, of_set, of_set, take_back, cancel, hold_up])

    def desk(self, chance: random.Random) -> Iterator[Callable[[], None]]:
        """Decisions on single subscriptions."""

        def negotiate() -> None:
            row, price = chance.choice(self.rows), f"{chance.randrange(1, 900)}.25"
            price_state.negotiate(row, price, "asked for it", "carl")
            self.told("negotiate", row=row, price=price)

        def lock() -> None:
            row, until = chance.choice(self.rows), None
            if chance.random() < 0.5:
                until = timezone.now() + timedelta(seconds=chance.uniform(0.1, 0.6))
            price_state.lock(row, until, "asked for it", "carl")
            self.told("lock", row=row)

        def follow() -> None:
            row = chance.choice(self.rows)
            price_state.follow(row, "carl")
            self.told("follow", row=row)

        def move() -> None:
            row, plan = chance.choice(self.rows), chance.choice(self.plans)
            self.moves += 1
            if Subscription.objects.filter(pk=row).update(plan_id=plan):
                self.told("move", row=row, plan=plan)

        def end() -> None:
            row = chance.choice(self.rows)
            if Subscription.objects.filter(pk=row, ended_at=None).update(ended_at=timezone.now()):
                self.told("end", row=row)

        def price_by_sql() -> None:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE services_subscription SET price = price + 1 WHERE id = %s",
                    [chance.choice(self.rows)],
                )

        for _ in range(16):
            yield chance.choice([negotiate, negotiate, lock, lock, follow, move, end, price_by_sql])

    def editor(self, chance: random.Random) -> Iterator[Callable[[], None]]:
        """Plain edits of list prices, by SQL; some stay open for a while."""

        def edit() -> None:
            service, value = chance.choice(self.services), chance.randrange(50, 500)
            with transaction.atomic():
                if not Service.objects.filter(pk=service).update(full_price=value):
                    return
                pause(chance)
                if chance.random() < 0.3:
                    time.sleep(0.1)
            moved = Repricing.objects.filter(service_id=service, new_value=value).exists()
            if moved:
                self.told("edit", service=service, value=value)

        for _ in range(6):
            yield edit

    def creator(self, chance: random.Random) -> Iterator[Callable[[], None]]:
        """New subscriptions; some are not committed for a while."""

        def create() -> None:
            with transaction.atomic():
                row = Subscription.objects.create(
                    client_id=chance.choice(self.clients),
                    service_id=chance.choice(self.services),
                    plan_id=chance.choice(self.plans),
                )
                pause(chance)
                if chance.random() < 0.4:
                    time.sleep(0.15)
            self.told("create", row=row.pk)

        for _ in range(8):
            yield create

    def touch_listed_rows(self) -> None:
        """Somebody gets in before a chunk: rows that a list says stand otherwise now."""
        listed = sorted(
            {row for ids in ListedRows.objects.values_list("ids", flat=True) for row in ids}
        )
        for row in self.chance.sample(listed, min(6, len(listed))):
            with contextlib.suppress(PriceStateError, OperationalError), transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '50ms'")
                if self.chance.random() < 0.5:
                    price_state.lock(row, None, "before the chunk", "dora")
                else:
                    price_state.negotiate(row, "3.33", "before the chunk", "dora")
