"""A row for a chunk of followers stands for an entry of each, wherever entries are read."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from price_changes.kinds.rows import ChangeRow
from price_changes.models import PriceChange
from price_changes.running import lifecycle, starting
from price_changes.running.drift import drift
from price_changes.showing.rows import moved_rows
from price_changes.tests.changes import applied, approved, planned
from services import ledger, price_state, repricing
from services.ledger.entries import COLUMNS
from services.models import (
    LedgerEntry,
    MovedFollowers,
    Plan,
    Repricing,
    RepricingStep,
    Service,
    Subscription,
    WholeLedger,
    book_clock,
)
from services.repricing import chunks
from services.repricing.movers import PRICE
from services.repricing.one import reprice_one
from services.repricing.planning import plan_due
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription
from services.tests.moved_clock import MovedClock

pytestmark = pytest.mark.django_db


@pytest.fixture
def service() -> Service:
    return a_service(full_price=100)


def edit(service: Service, price: int) -> int:
    """Edit a list price and move its followers; return the change."""
    Service.objects.filter(pk=service.pk).update(full_price=price)
    repricing.reprice()
    return PriceChange.objects.filter(service_id=service.pk).latest("pk").pk


def whole(**filters: Any) -> list[dict[str, Any]]:
    return list(WholeLedger.objects.filter(**filters).order_by("id").values(*COLUMNS))


class TestOneRow:
    def test_is_of_one_pair_and_has_its_followers_in_order(self, service: Service) -> None:
        full, half = a_plan(), a_plan(50)
        rows = [a_subscription(service=service, plan=plan) for plan in (full, half, full)]
        locked = a_subscription(service=service)
        price_state.lock(locked.pk, None, "promised", "ann")
        change = edit(service, 120)
        found: list[object] = list(
            MovedFollowers.objects.order_by("plan_id").values_list(
                "change_id", "plan_id", "price", "old_price", "number", "subscription_ids"
            )
        )
        assert found == [
            (change, full.pk, 120, 100, 2, [rows[0].pk, rows[2].pk]),
            (change, half.pk, 60, 50, 1, [rows[1].pk]),
        ]
        for moved in MovedFollowers.objects.all():
            assert moved.subscription_ids[0] == moved.first_id
            assert moved.subscription_ids[-1] == moved.last_id
            assert moved.entry_ids == sorted(moved.entry_ids)
            assert moved.entry_ids[-1] < moved.pk
        assert not LedgerEntry.objects.filter(change_id=change).exists()

    def test_is_of_one_chunk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunks, "CHUNK", 10)
        book = a_book(35, services=1, plans=1)
        edit(Service.objects.get(), 1000)
        numbers = MovedFollowers.objects.order_by("id").values_list("number", flat=True)
        assert list(numbers) == [10, 10, 10, 5]
        moved = [id for row in MovedFollowers.objects.order_by("id") for id in row.subscription_ids]
        assert moved == list(book.order_by("id").values_list("pk", flat=True))

    def test_says_what_its_entry_would(self, service: Service) -> None:
        row = a_subscription(service=service, ended_at=book_clock() + timedelta(days=9))
        at = book_clock()
        change = edit(service, 120)
        [_, entry] = whole(subscription_id=row.pk)
        work = Repricing.objects.get(change_id=change)
        assert entry | {"id": 0, "recorded_at": 0} == {
            "id": 0,
            "subscription_id": row.pk,
            "client_id": row.client_id,
            "service_id": service.pk,
            "plan_id": row.plan_id,
            "price": 120,
            "price_state": "follows",
            "locked_until": None,
            "started_at": row.started_at,
            "ended_at": row.ended_at,
            "unpaid_since": None,
            "period_only": False,
            "effective_at": work.effective_at,
            "recorded_at": 0,
            "change_id": change,
            "author": "",
            "correction_id": None,
        }
        assert at <= entry["effective_at"] <= entry["recorded_at"]

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE services_movedfollowers SET price = 1",
            "DELETE FROM services_movedfollowers",
        ],
    )
    def test_is_neither_changed_nor_deleted(self, service: Service, statement: str) -> None:
        a_subscription(service=service)
        edit(service, 120)
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
        assert MovedFollowers.objects.filter(price=120).exists()


class TestAnotherChange:
    def test_that_comes_before_the_first_is_through_writes_no_entry_of_that_again(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full, half = a_plan(), a_plan(50)
        rows = [a_subscription(service=service, plan=plan) for plan in (full, half)]
        monkeypatch.setattr(chunks, "STEPS", 1)
        Service.objects.filter(pk=service.pk).update(full_price=120)
        plan_due()
        assert chunks.take_chunk(PRICE, set()) == 1
        [moved] = MovedFollowers.objects.all()
        [row] = [row for row in rows if row.plan_id == moved.plan_id]
        Plan.objects.filter(pk=row.plan_id).update(discount_percent=10)
        plan_due()
        # Another worker has the other pair.
        other = RepricingStep.objects.get(repricing__change_id=moved.change_id)
        assert chunks.take_chunk(PRICE, {other.pk}) == 1
        repricing.reprice()
        assert [entry["price"] for entry in whole(subscription_id=row.pk)] == [
            row.price,
            moved.price,
            108,
        ]
        work = Repricing.objects.get(change_id=moved.change_id)
        assert (work.checked, work.repriced) == (2, 2)

    def test_that_comes_while_a_set_is_paused_waits_for_its_copies(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = a_subscription(service=service)
        monkeypatch.setattr(chunks, "AT_ONCE", 0)
        change = approved(planned(kind="set", adjustment="add", operand=5), "current")
        starting.start_due()
        lifecycle.pause(change.pk, "carl")
        by_list_price = edit(service, 120)
        assert not MovedFollowers.objects.exists()  # the set has the row since its listing
        lifecycle.resume(change.pk, "carl")
        repricing.reprice()
        row.refresh_from_db()
        assert row.price == 105
        assert row.price_state == "negotiated"
        *_, last = sorted(
            whole(subscription_id=row.pk), key=lambda entry: (entry["effective_at"], entry["id"])
        )
        assert (last["price"], last["price_state"]) == (105, "negotiated")
        assert not [entry for entry in whole() if entry["change_id"] == by_list_price]

    def test_that_moves_a_row_behind_a_revert_that_waits_for_its_worker_stays(
        self, service: Service
    ) -> None:
        row = a_subscription(service=service)
        price_state.negotiate(row.pk, Decimal(55), "Asked", "ann")
        change = applied(planned(kind="set", adjustment="follow"), "current")
        lifecycle.revert(change.pk, "ann", approve_too=True)
        Service.objects.filter(pk=service.pk).update(full_price=120)
        assert reprice_one(row.pk)
        repricing.reprice()
        row.refresh_from_db()
        *_, last = sorted(
            whole(subscription_id=row.pk), key=lambda entry: (entry["effective_at"], entry["id"])
        )
        assert (last["price"], last["price_state"]) == (row.price, row.price_state)
        explained = ledger.explain(row.pk)
        assert explained
        assert (explained.price, explained.price_state) == (row.price, row.price_state)

    def test_that_one_row_was_moved_by_is_counted_though_it_is_gone(self, service: Service) -> None:
        row = a_subscription(service=service)
        Service.objects.filter(pk=service.pk).update(full_price=120)
        assert reprice_one(row.pk)
        assert MovedFollowers.objects.get().subscription_ids == [row.pk]
        row.delete()
        repricing.reprice()
        work = Repricing.objects.get(service=service)
        assert (work.checked, work.repriced) == (1, 1)

    def test_that_moved_a_row_before_a_set_was_listed_is_not_what_the_set_finds(
        self, service: Service, moved_clock: MovedClock
    ) -> None:
        row = a_subscription(service=service)
        at = moved_clock.now() + timedelta(hours=1)
        values = {"kind": "set", "adjustment": "add", "operand": 5, "effective_at": at}
        approved(planned(**values), "current")
        moved_clock.to(at + timedelta(hours=1))
        Service.objects.filter(pk=service.pk).update(full_price=120)
        assert reprice_one(row.pk)
        repricing.reprice()
        row.refresh_from_db()
        assert row.price == 105
        assert row.price_state == "negotiated"


@pytest.mark.parametrize("late", [False, True])
def test_who_was_let_go_and_moved_since_is_kept_again_whoever_came_when(
    service: Service, late: bool
) -> None:
    """Each of several changes due at once has an entry; a follower's price does not show it."""
    row = a_subscription(service=service)
    change = applied(
        planned(kind="list_price", service=service.pk, new_value=150, for_new_only=True)
    )
    back = lifecycle.revert(change.pk, "ann", approve_too=True)
    repricing.reprice()
    for price in (120, 130):
        Service.objects.filter(pk=service.pk).update(full_price=price)
        if not late:
            repricing.reprice()
    repricing.reprice()
    lifecycle.revert(back.pk, "ann", approve_too=True)
    repricing.reprice()
    row.refresh_from_db()
    explained = ledger.explain(row.pk)
    assert explained
    assert (row.price, row.price_state) == (explained.price, explained.price_state)
    assert row.price == 100
    assert row.price_state == "locked"


@pytest.mark.django_db(transaction=True)
def test_who_is_moved_by_another_change_since_a_preview_has_drifted(service: Service) -> None:
    plan = a_plan(50)
    for _ in range(2):
        a_subscription(service=service, plan=plan)
    a_subscription(plan=plan)
    change = planned(kind="list_price", service=service.pk, new_value=200)
    assert drift(change) == 0
    Plan.objects.filter(pk=plan.pk).update(discount_percent=40)
    repricing.reprice()
    assert drift(change) == 2


class TestWhoHasMovedSince:
    """A row that moved to another client, service or plan, or was deleted: its entry stays as it
    was.
    """

    def test_its_entry_stays_what_it_was(self, service: Service) -> None:
        row = a_subscription(service=service)
        edit(service, 120)
        before = whole(subscription_id=row.pk)
        other = a_service(full_price=7)
        Subscription.objects.filter(pk=row.pk).update(client=a_client(), service=other)
        edit(other, 8)
        pk = row.pk
        row.delete()
        now = whole(subscription_id=pk)
        assert now[: len(before)] == before
        assert [entry["price"] for entry in now] == [100, 120, 7, 8, None]
        assert [{name: entry[name] for name in COLUMNS} for entry in ledger.history(pk)] == now


@pytest.fixture(scope="class")
def lived(around_the_class: None) -> list[int]:
    """A book in which chance has decided for a while; its subscriptions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 7)
        live()
    connection.check_constraints()
    return list(WholeLedger.objects.values_list("subscription_id", flat=True).distinct())


def live() -> None:
    chance = random.Random(11)
    a_book(40, services=3, plans=2)
    services, plans = list(Service.objects.order_by("pk")), list(Plan.objects.order_by("pk"))
    for number in range(40):
        pk = chance.choice(list(Subscription.objects.values_list("pk", flat=True)))
        its = Subscription.objects.filter(pk=pk)
        what = chance.randrange(7)
        if what < 3:
            edit(chance.choice(services), 50 + number)
        elif what == 3:
            its.update(plan=chance.choice(plans), client=a_client())
        elif what == 4:
            its.update(price=Decimal(number), price_state="negotiated", price_reason="Asked")
        elif what == 5:
            filters = {"service": chance.choice(services).pk}
            applied(planned(kind="set", adjustment="add", operand=1, filter=filters), "current")
        elif what == 6:
            its.get().delete()


class TestReaders:
    def test_of_one_subscription_find_what_the_view_has(self, lived: list[int]) -> None:
        assert MovedFollowers.objects.count() > 20
        for pk in lived:
            assert [
                {name: entry[name] for name in COLUMNS} for entry in ledger.history(pk)
            ] == whole(subscription_id=pk)

    def test_of_a_history_page_by_page(self, lived: list[int]) -> None:
        pk = max(lived, key=lambda pk: len(whole(subscription_id=pk)))
        entries, after = [], 0
        while page := ledger.history(pk, after, 2):
            assert len(page) <= 2
            entries += page
            after = page[-1]["id"]
        assert entries == ledger.history(pk)
        assert len(entries) > 4

    def test_of_the_feed_get_each_entry_once(self, lived: list[int]) -> None:
        """By its function: the feed ends before this transaction, in which all was written."""
        expected = list(WholeLedger.objects.order_by("xact", "id").values(*COLUMNS))
        behind = "SELECT * FROM entries_behind(%s, %s, %s, %s)"
        for limit in (1, 2, 7, 50, 1000):
            found: list[WholeLedger] = []
            place = (0, 0)
            while page := list(WholeLedger.objects.raw(behind, [*place, 2**62, limit])):
                assert len(page) <= limit
                found += page
                place = (page[-1].xact, page[-1].id)
            told = [{name: getattr(entry, name) for name in COLUMNS} for entry in found]
            assert told == expected, limit

    def test_the_last_entry_of_each_is_how_it_stands(self, lived: list[int]) -> None:
        newest: dict[int, dict[str, Any]] = {}
        for entry in WholeLedger.objects.order_by("effective_at", "id").values(*COLUMNS):
            newest[entry["subscription_id"]] = entry
        now = {row.pk: (row.price, row.price_state) for row in Subscription.objects.all()}
        assert now == {
            pk: (entry["price"], entry["price_state"])
            for pk, entry in newest.items()
            if entry["price"] is not None
        }

    def test_of_the_rows_of_a_change_get_each_once_with_its_old_price(
        self, lived: list[int]
    ) -> None:
        stories = {
            pk: sorted(
                whole(subscription_id=pk), key=lambda each: (each["effective_at"], each["id"])
            )
            for pk in lived
        }
        shown = 0
        for change in PriceChange.objects.filter(started_at__isnull=False):
            expected: dict[int, tuple[Decimal, Decimal]] = {}
            for pk, entries in stories.items():
                for before, entry in itertools.pairwise(entries):
                    if entry["change_id"] == change.pk:
                        expected.setdefault(pk, (before["price"], entry["price"]))
            for limit in (1, 3, 1000):
                found: list[ChangeRow] = []
                while page := moved_rows(change, found[-1].subscription if found else 0, limit):
                    found += page
                told = {row.subscription: (row.old_price, row.new_price) for row in found}
                assert list(told) == sorted(told)
                assert len(told) == len(found)
                assert told == expected, limit
            shown += len(expected)
        assert shown > 100
