"""A round: a fresh book, a burst of work, a kill at a named point, a restart, the drain, the proof.

The seed decides all of a round, except what the scheduler of the machine decides.
"""

import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from celery_app import app
from price_changes.models import PriceChange
from price_changes.tests.kills import victims
from price_changes.tests.kills.burst import Burst, pause
from price_changes.tests.kills.faults import FAULTS
from price_changes.tests.kills.proof import Proof, one, prove
from price_changes.tests.kills.web import Asked, Web
from pricebook.local.postgres import Postgres
from pricebook.local.processes import Process, until
from pricebook.local.runner import Runner
from pricebook.local.valkey import Valkey
from services.models import LockEnd, Repricing, Service, Subscription
from services.tests.factories import a_book
from services.tests.interleaving import a_person, execute_in_background, in_background

Status = PriceChange.Status

POINTS_OF_WORKERS = [
    "change started",
    "rows listed",
    "rows entered",
    "set in force",
    "revert started",
    "steps planned",
    "chunk begun",
    "rows judged",
    "rows locked",
    "chunk moved",
    "steps saved",
    "chunk counted",
    "chunk committed",
    "repricing finished",
    "locks ended",
    "message not acknowledged",
]
# The points of a request, each with its verb. Any answer may fail to be sent.
POINTS_OF_PEOPLE = {
    "change planned": ["plan"],
    "approved": ["approve"],
    "paused": ["pause"],
    "resumed": ["resume"],
    "change stopped": ["cancel"],
    "revert planned": ["revert"],
    "answer not sent": ["plan", "approve", "cancel", "revert"],
}
# Passed once or twice in a round: the others wait for the first, second or fourth passing.
RARE = {
    "change started",
    "rows listed",
    "rows entered",
    "set in force",
    "revert started",
    "locks ended",
    "repricing finished",
}
# The victims. A worker pauses at the point; it is killed, or its session, or a server.
CHEAP = ["worker", "database session", "PostgreSQL", "Valkey"]
# The web server takes longer to start again than a round of the others.
TURN = [*CHEAP, "web", *CHEAP, "worker"]

SUBSCRIPTIONS, SERVICES, PLANS = 120, 3, 2
DRAIN_SECONDS = 45.0


@dataclass
class Round:
    """One line of the outcome."""

    seed: int
    kind: str
    point: str
    fault: str | None = None
    hit: bool = False  # a process was at the point when the kill came
    actions: int = 0
    refused: int = 0
    changes: int = 0
    wrong_rows: int = 0
    double_entries: int = 0
    not_accounted: int = 0
    lost_actions: int = 0
    wrong_answers: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


def plan_of(seed: int) -> tuple[str, str]:
    """Kinds take turns, and each goes through its points, so 200 rounds meet all of them."""
    turn, place = divmod(seed, len(TURN))
    kind = TURN[place]
    number = turn * TURN.count(kind) + TURN[:place].count(kind)
    points = list(POINTS_OF_PEOPLE) if kind == "web" else POINTS_OF_WORKERS
    return kind, points[(number + 3 * TURN.index(kind)) % len(points)]


class Rounds:
    """The servers, the workers and the book of all rounds of a run."""

    def __init__(self, runner: Runner, directory: Path) -> None:
        self.runner = runner
        self.logs = directory / "log"
        self.ambush = victims.Ambush(directory / "run")
        self.names = (f"victim {number}" for number in itertools.count(1))
        self.forks = multiprocessing.get_context("forkserver")
        self.forks.set_forkserver_preload([victims.__name__])
        self.workers: dict[str, Any] = {}
        self.web = Web(runner)

    def play(self, seeds: Iterable[int]) -> Iterator[Round]:
        for seed in seeds:
            self.web.start()  # if it does not run; it is ready by the first round that asks
            yield self.round(seed)

    # One round ----------------------------------------------------------------------------------

    def round(self, seed: int) -> Round:
        began = time.monotonic()
        kind, point = plan_of(seed)
        outcome = Round(seed, kind, point)
        chance = random.Random(seed)
        verb = chance.choice(POINTS_OF_PEOPLE[point]) if kind == "web" else None
        self.new_book(chance)
        self.start_workers()
        burst = Burst(chance, verb)
        burst.prepare()
        if kind == "web":
            self.web.until_it_answers()
        rare = kind == "web" or point in RARE
        self.ambush.arm(point, 1 if rare else chance.choice([1, 1, 2, 4]))
        asked = self.web.ask(Asked.by(verb, burst, seed)) if verb else None
        if asked is not None:
            until(lambda: self.ambush.prey() is not None or not asked.running, 30)
        burst.start()
        outcome.hit = self.wait_for_prey(burst)
        prey = self.ambush.prey()
        if outcome.hit:
            burst.touch_listed_rows()
            pause(chance)
        self.kill(kind, prey)
        self.ambush.release()
        self.web.start()  # if it has died
        burst.join()
        again = [] if asked is None else list(asked.again(self.web))
        burst.finish()
        drained = self.drained() and collide(self.drained)
        outcome.actions, outcome.refused = len(burst.acknowledged), burst.refused
        return judged(outcome, began, drained, prove(burst.acknowledged, again))

    def show(self, fault: str) -> Round:
        """Play the one interleaving that shows a fault, without a burst that could hide it."""
        began = time.monotonic()
        sown = FAULTS[fault]
        outcome = Round(0, sown.killed, sown.point or "", fault)
        self.new_book(random.Random(0))
        self.start_workers()
        burst = Burst(random.Random(0), None)
        burst.prepare()
        if sown.in_worker is not None:
            outcome.hit = self.let_a_faulty_worker_drain(fault, burst)
        with sown.in_database():
            burst.finish()
            drained = self.drained() and collide(self.drained)
        return judged(outcome, began, drained, prove(burst.acknowledged, []))

    def let_a_faulty_worker_drain(self, fault: str, burst: Burst) -> bool:
        """Drain by a faulty worker, without the others; it dies at the fault's point, if any."""
        move_list_price(Service.objects.latest("pk"))
        burst.touch_listed_rows()
        if point := FAULTS[fault].point:
            self.ambush.arm(point, 1)
        arguments = (next(self.names), self.ambush, self.logs / "workers.log", fault)
        worker = self.forks.Process(target=victims.drain, args=arguments)
        worker.start()
        until(lambda: self.ambush.prey() is not None or not worker.is_alive(), 60)
        hit = worker.is_alive()
        worker.kill()
        worker.join()
        self.ambush.release()
        return hit

    def new_book(self, chance: random.Random) -> None:
        tables = [
            model._meta.db_table
            for name in ("services", "clients", "price_changes", "events")
            for model in apps.get_app_config(name).get_models()
            if model._meta.managed
        ]
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE auth_user, {', '.join(tables)} RESTART IDENTITY CASCADE")
        self.web.make_key()
        a_book(SUBSCRIPTIONS, SERVICES, PLANS)
        rows = Subscription.objects
        soon = timezone.now() + timedelta(seconds=chance.uniform(0.3, 1.0))
        reason = {"price_reason": "chosen"}
        rows.filter(pk__endswith="1").update(price_state="locked", **reason)
        rows.filter(pk__endswith="2").update(price_state="locked", locked_until=soon, **reason)
        rows.filter(pk__endswith="3").update(price_state="negotiated", price=77, **reason)
        rows.filter(pk__endswith="04").update(ended_at=timezone.now())

    # The victims --------------------------------------------------------------------------------

    def start_workers(self) -> None:
        while len(self.workers) < 2:
            self.start_worker()
        until(lambda: all(map(self.ambush.is_ready, self.workers)), 60)

    def start_worker(self) -> None:
        name = next(self.names)
        arguments = (name, self.ambush, self.logs / "workers.log")
        self.workers[name] = self.forks.Process(target=victims.work, args=arguments)
        self.workers[name].start()

    def end(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.join()
        self.web.kill()

    def wait_for_prey(self, burst: "Burst") -> bool:
        """Whether a process came to the point, at the latest a moment after the burst."""
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

    def kill(self, kind: str, prey: str | None) -> None:
        if kind == "web":
            self.web.kill()
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


def judged(outcome: Round, began: float, drained: bool, proof: Proof) -> Round:
    if not drained:
        proof.findings.append(f"not drained within {DRAIN_SECONDS} s")
    outcome.findings = proof.findings
    outcome.wrong_rows, outcome.double_entries = proof.wrong_rows, proof.double_entries
    outcome.not_accounted = proof.not_accounted + (not drained)
    outcome.lost_actions, outcome.wrong_answers = proof.lost_actions, proof.wrong_answers
    outcome.changes = PriceChange.objects.count()
    outcome.seconds = round(time.monotonic() - began, 2)
    return outcome


def strike(processes: list[Process]) -> None:
    for process in processes:
        process.signal(signal.SIGKILL)
    until(lambda: not any(process.alive for process in processes), 10)


def due() -> bool:
    waiting = [Status.SCHEDULED, Status.APPLYING]
    return (
        Repricing.objects.due().exists()
        or PriceChange.objects.filter(status__in=waiting).exists()
        or LockEnd.objects.exists()  # all within a second; else one would be due while we judge
    )


_swept = 0.0


def sweep() -> None:
    """Send what beat sends; the broker may be down for now."""
    global _swept
    if time.monotonic() - _swept > 0.15:
        _swept = time.monotonic()
        with contextlib.suppress(Exception):
            app.send_task("services.tasks.set_price", retry=False)
            app.send_task("services.tasks.set_comment", retry=False)


def collide(drained: Callable[[], bool]) -> bool:
    """Create two rows that a missing lock loses for ever, in an order that we decide.

    One is created before an edit and committed after its repricing; the other is created while an
    edit is open, and committed after its repricing too. Nothing comes later and corrects them.
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
