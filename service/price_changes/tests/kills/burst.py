"""The actions of people during a round: price changes, decisions on single rows, edits, new rows.

It is short, with heavy-tailed pauses: long busy runs repair themselves and prove nothing. The
round's seed decides all actions, except what the scheduler of the machine decides.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from price_changes.errors import ChangeError, MovedSincePreview
from price_changes.models import ListedRows, PriceChange
from price_changes.planning import definition
from price_changes.running import lifecycle, starting
from price_changes.running.lifecycle import preview
from price_changes.tests.kills import victims
from services import price_state, repricing, tasks
from services.models import Plan, Repricing, Service, Subscription
from services.price_state import PriceStateError
from services.repricing import chunks

Status = PriceChange.Status


def pause(chance: random.Random, longest: float = 0.3) -> None:
    time.sleep(min(0.01 * chance.paretovariate(1.1), longest))


class Burst:
    """Actions of people on four connections; `acknowledged` has the answers that they got."""

    def __init__(self, chance: random.Random, verb: str | None) -> None:
        """`verb`: that of a request to come, whose change no other action may use."""
        self.chance = chance
        self.verb = verb
        self.acknowledged: list[tuple[str, dict[str, Any]]] = []
        self.refused = 0
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

    # Before: one change applied, one half done, one to be approved

    def prepare(self) -> None:
        tasks._quiet_until = time.monotonic() + 3600  # the sweep alone wakes workers
        self.applied = self.approved(
            kind="set", filter={"service": self.services[0]}, adjustment="add", operand="1.50"
        )
        repricing.reprice()
        usual = chunks.CHUNK, chunks.AT_ONCE
        chunks.CHUNK, chunks.AT_ONCE = victims.CHUNK, victims.AT_ONCE
        try:
            values = {"adjustment": "percent", "operand": "5", "comment": "five more"}
            plan = {"plan": self.plans[-1]}
            self.half_done = self.approved(kind="set", filter=plan, **values)
            starting.start_due()
            for _ in range(3):
                chunks.take_chunk("price", set())
        finally:
            chunks.CHUNK, chunks.AT_ONCE = usual
        self.asked = self.planned(kind="set", filter={}, adjustment="add", operand="2").pk
        if self.verb == "resume":
            lifecycle.pause(self.half_done, "ann")

    @property
    def free(self) -> list[int]:
        """The changes that any action may take back, stop or cancel."""
        return [] if self.verb else [self.applied, self.half_done]

    def finish(self) -> None:
        """Leave no change paused or planned."""
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
        while True:
            try:
                lifecycle.approve(change.pk, change.fingerprint, "bob", when_moved or None)
                break
            except MovedSincePreview:  # locks end within this second; a new preview is approved
                change.refresh_from_db()
        self.told("approve", change=change.pk)
        return int(change.pk)

    def planner(self, chance: random.Random) -> Iterator[Callable[[], None]]:
        """Price changes of all kinds."""
        made = self.free

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
            of_service = {"service": chance.choice(self.services)}
            of_plan = {"plan": chance.choice(self.plans)}
            values["filter"] = chance.choice([of_service, of_service, of_plan, {}])
            if adjustment in ("amount", "add", "percent"):
                values["operand"] = str(chance.randrange(1, 60))
            if chance.random() < 0.5:
                values["effective_at"] = soon()
            when = chance.choice(["hold", "frozen", "current", "frozen", "current"])
            made.append(self.approved(when, **values))

        def one_of_them() -> int:
            return chance.choice(made) if made else 0

        def take_back() -> None:
            change = one_of_them()
            lifecycle.revert(change, "bob", True)
            self.told("revert", change=change)

        def cancel() -> None:
            change = one_of_them()
            lifecycle.cancel(change, "bob")
            self.told("cancel", change=change)

        def hold_up() -> None:
            change = one_of_them()
            lifecycle.pause(change, "bob")
            self.told("pause", change=change)
            pause(chance)
            lifecycle.resume(change, "bob")
            self.told("resume", change=change)

        yield of_set
        yield take_back
        yield catalogue
        for _ in range(4):
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
            if until is None or timezone.now() < until:  # else it may have ended as it was written
                self.told("lock", row=row)

        def follow() -> None:
            row = chance.choice(self.rows)
            price_state.follow(row, "carl")
            self.told("follow", row=row)

        def move() -> None:
            row, plan = chance.choice(self.rows), chance.choice(self.plans)
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

        for _ in range(14):
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

        for _ in range(5):
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

        for _ in range(6):
            yield create

    def touch_listed_rows(self) -> None:
        """Write listed rows before their chunk comes, so that they stand otherwise than listed."""
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
