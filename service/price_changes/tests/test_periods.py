"""Starts and ends in the ledger: the feed tells who pays, and price changes ignore them.

The biller here folds the feed as docs/api.md tells it to, and shares no code with the product.
"""

from datetime import datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from django.utils.dateparse import parse_datetime

from price_changes.running import outcomes
from price_changes.tests.changes import (
    SECOND,
    accounted,
    applied,
    clock,
    drained,
    planned,
    reverted,
    scheduled,
    started,
)
from pricebook.tests.servers import until
from services import ledger, price_state
from services.audit import book_check
from services.ledger import recorded
from services.ledger.page import one_as_of
from services.models import Subscription, WholeLedger
from services.tests.factories import a_client, a_plan, a_reader, a_service, a_subscription
from services.tests.interleaving import a_person

DAY = 24 * 3600 * SECOND


class Biller:
    """A program that follows `GET /api/ledger/` from the beginning, and bills by nothing else."""

    def __init__(self) -> None:
        self.entries: list[dict] = []
        self.after = ""
        self.complete_until: datetime | None = None

    def reads_on(self) -> list[dict]:
        came = []
        while True:
            asked = {"limit": 7} | ({"after": self.after} if self.after else {})
            page = a_reader().get("/api/ledger/", asked).json()
            came += page["result"]
            self.after = page["next"]
            if page["complete_until"]:
                self.complete_until = parse_datetime(page["complete_until"])
            if len(page["result"]) < 7:
                self.entries += came
                return came

    def bills(self, at: datetime) -> dict[int, Decimal]:
        """The subscriptions that pay at an instant, and what."""
        told: dict[int, list[dict]] = {}
        for entry in self.entries:
            told.setdefault(entry["subscription_id"], []).append(entry)
        found = {pk: self._paid(entries, at) for pk, entries in told.items()}
        return {pk: price for pk, price in found.items() if price is not None}

    def _paid(self, entries: list[dict], at: datetime) -> Decimal | None:
        last = entries[-1]
        if (
            last["started_at"] is None
            or at < instant(last["started_at"])
            or (last["ended_at"] and instant(last["ended_at"]) <= at)
        ):
            return None
        for entry in entries:
            since = entry["unpaid_since"]
            if since and instant(since) <= at < instant(entry["effective_at"]):
                return None
        by_then = [entry for entry in entries if instant(entry["effective_at"]) <= at]
        if not by_then:
            return None
        price = max(by_then, key=lambda entry: (instant(entry["effective_at"]), entry["id"]))
        return None if price["price"] is None else Decimal(str(price["price"]))


def instant(value: str) -> datetime:
    found = parse_datetime(value)
    assert found is not None
    return found


def the_book(at: datetime, column: str = "price") -> dict[int, Any]:
    """The same by the product."""
    with connection.cursor() as cursor:
        sql, params = ledger.as_of(at)
        cursor.execute(f"SELECT subscription_id, {column} FROM ({sql}) told", params)
        return dict(cursor.fetchall())


def update(row: Subscription, **values: object) -> None:
    Subscription.objects.filter(pk=row.pk).update(**values)


@pytest.mark.django_db(transaction=True)
class TestWhoBillsByTheFeed:
    def test_knows_every_start_and_end(self):
        """T5: ended, ending, not begun, created ahead, opened again, deleted, in several ways."""
        phone, now = a_service(20), clock()
        rows = [a_subscription(service=phone, started_at=now - 90 * DAY) for _ in range(9)]
        biller = Biller()
        assert len(biller.reads_on()) == 9

        update(rows[0], ended_at=clock())
        update(rows[1], ended_at=now + 30 * DAY)
        update(rows[2], started_at=now + 60 * DAY)
        ahead = a_subscription(service=phone, started_at=now + 90 * DAY)
        update(rows[3], ended_at=now - 20 * DAY)
        update(rows[3], ended_at=None)
        rows[4].ended_at = now + 5 * DAY
        rows[4].save()
        rows[5].ended_at = now + 6 * DAY
        Subscription.objects.bulk_update([rows[5]], ["ended_at"])
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE services_subscription SET started_at = %s, ended_at = %s WHERE id = %s",
                [now - 9 * DAY, now - 8 * DAY, rows[6].pk],
            )
        update(rows[7], ended_at=now - 7 * DAY)
        gone = rows[7].pk
        rows[7].delete()
        update(rows[8], comment="nothing of this is in the ledger")

        came = biller.reads_on()
        assert len(came) == 11
        assert rows[8].pk not in {entry["subscription_id"] for entry in came}
        for days in (-91, -89, -21, -19, -10, -9, -8.5, -8, -7.5, -6, 0, 4, 5, 6, 29, 31, 61, 91):
            at = now + days * DAY
            assert biller.bills(at) == the_book(at), f"{days} days from now"
        assert gone in the_book(now - 8 * DAY)
        assert ahead.pk in the_book(now + 91 * DAY)

    def test_knows_them_beside_prices_and_moves(self):
        phone, now = a_service(20), clock()
        row = a_subscription(service=phone, started_at=now - 90 * DAY)
        update(row, ended_at=now + 30 * DAY)
        applied(planned(kind="list_price", service=phone.pk, new_value="24"))
        update(row, client=a_client(), ended_at=None)
        update(row, price_state="negotiated", price=7, ended_at=now + 50 * DAY)
        between = clock()
        update(row, plan=a_plan(50))
        update(row, ended_at=now - 30 * DAY)
        update(row, ended_at=now + 9 * DAY)
        biller = Biller()
        biller.reads_on()
        for at in (now - DAY, between, clock(), now + 8 * DAY, now + 10 * DAY):
            assert biller.bills(at) == the_book(at)
        assert (the_book(between), the_book(clock())) == ({}, {row.pk: 12})

    def test_is_told_whose_they_are_elsewhere_and_in_what_currency(self, settings):
        row = a_subscription(source="CRM", external_id="A-1")
        pk = row.pk
        row.delete()
        came = Biller().reads_on()
        assert [
            (each["subscription_id"], each["source"], each["external_id"]) for each in came
        ] == [(pk, "CRM", "A-1")] * 2
        assert {each["currency"] for each in came} == {settings.CURRENCY}


@pytest.mark.django_db(transaction=True)
class TestWhetherSilenceMeansThatNothingIsNew:
    """T10: `complete_until` is before all that the feed has not shown."""

    def test_it_does_up_to_the_question(self):
        a_subscription()
        before = clock()
        biller = Biller()
        biller.reads_on()
        assert before < biller.complete_until < clock()

    def test_not_while_more_waits_to_be_read(self):
        for _ in range(2):
            a_subscription()
        page = a_reader().get("/api/ledger/", {"limit": 1}).json()
        assert page["complete_until"] is None

    def test_not_behind_a_transaction_that_is_open(self):
        row, biller = a_subscription(), Biller()
        biller.reads_on()
        with a_person() as person:
            before = clock()
            person.execute("SELECT pg_current_xact_id()")
            begun = clock()
            update(row, plan=a_plan(50))
            assert biller.reads_on() == []
            assert before <= biller.complete_until <= begun
            person.rollback()
        assert len(biller.reads_on()) == 1
        assert biller.complete_until > begun

    def test_not_behind_what_was_written_late_of_an_earlier_instant(self):
        """The worker has come, and its entries are after a transaction that began later."""
        phone = a_service(20)
        a_subscription(service=phone)
        biller = Biller()
        biller.reads_on()
        at = clock()
        scheduled(at, kind="list_price", service=phone.pk, new_value="24")
        with a_person() as person:
            person.execute("SELECT pg_current_xact_id()")
            drained()
            assert biller.reads_on() == []
            assert biller.complete_until <= at
        # An autovacuum that writes statistics delays the feed for a moment, like any writer.
        until(lambda: any(entry["price"] == 24 for entry in biller.reads_on()))

    def test_not_behind_a_change_that_no_worker_has_copied(self):
        phone = a_service(20)
        a_subscription(service=phone)
        at = clock()
        scheduled(at, kind="list_price", service=phone.pk, new_value="24")
        biller = Biller()
        biller.reads_on()
        assert biller.complete_until == at
        started()
        biller.reads_on()
        assert biller.complete_until == at
        drained()
        biller.reads_on()
        assert biller.complete_until > at

    def test_not_behind_a_set_that_waits_for_its_worker(self):
        a_subscription()
        at = clock()
        scheduled(at, "current", kind="set", adjustment="add", operand="5")
        biller = Biller()
        biller.reads_on()
        assert biller.complete_until == at

    def test_is_not_said_by_who_may_not_see_who_writes(self, monkeypatch):
        """The reader is a database user who may not read the statistics of others."""
        a_subscription()
        seen = "pid, datname, NULL::timestamptz AS backend_start, xact_start, backend_type"
        statistics = f"(SELECT {seen} FROM {{0}})"
        hidden = recorded.WRITERS.replace(
            "pg_stat_activity", statistics.format("pg_stat_activity WHERE false")
        )
        assert hidden != recorded.WRITERS
        monkeypatch.setattr(recorded, "WRITERS", hidden)
        assert ledger.feed().complete_until is not None
        with a_person() as person:
            person.execute("SELECT pg_current_xact_id()")
            assert ledger.feed().complete_until is None


@pytest.mark.django_db
class TestPriceChanges:
    def test_have_not_moved_whose_end_is_put_before_them(self):
        row = a_subscription(service=a_service(20))
        before = clock()
        applied(planned(kind="set", adjustment="add", operand="5"), "current")
        as_set = clock()
        update(row, ended_at=before)
        ended = {"state": "ended"}
        now = a_reader().get("/api/subscriptions/", ended).json()["result"]
        then = a_reader().get("/api/subscriptions/", ended | {"as_of": clock().isoformat()})
        assert then.json()["result"] == now
        assert [one["price"] for one in now] == [20]

        def told(at, known_at):
            return one_as_of(at, row.pk, known_at=known_at)[0]["price"]

        assert told(clock(), clock()) == 20
        assert told(as_set, as_set) == 25  # it had not ended, for all that was known

    def test_have_not_moved_whose_end_is_put_before_them_by_what_was_known(self):
        row = a_subscription(service=a_service(20))
        first = clock()
        price_state.negotiate(row.pk, 30, "a deal", "ann")
        second = clock()
        applied(planned(kind="set", adjustment="add", operand="5"), "current")
        known = []
        for end in (second, first):
            update(row, ended_at=end)
            known.append(clock())
        prices = [one_as_of(clock(), row.pk, known_at=at)[0]["price"] for at in known]
        assert prices == [30, 20]

    def test_take_back_a_price_though_an_end_was_given_since(self):
        """A revert restores it: nobody has touched the price."""
        rows = [a_subscription(service=a_service(20)) for _ in range(3)]
        change = applied(planned(kind="set", adjustment="add", operand="5"), "current")
        update(rows[0], ended_at=clock() + 30 * DAY)
        update(rows[1], started_at=clock() - 30 * DAY)
        back = reverted(change)
        assert outcomes.outcome(back)["applied"] == 3
        prices = Subscription.objects.values_list("price", "price_state")
        assert set(prices) == {(Decimal(20), "follows")}

    def test_take_back_a_price_though_an_end_came_behind_a_revert(self):
        row = a_subscription(service=a_service(20))
        first = applied(planned(kind="set", adjustment="add", operand="5"), "current")
        over = applied(planned(kind="set", adjustment="add", operand="1"), "current")
        reverted(over)
        update(row, ended_at=clock() + 30 * DAY)
        assert outcomes.outcome(reverted(first))["applied"] == 1
        row.refresh_from_db()
        assert (row.price, row.price_state) == (20, "follows")

    def test_move_who_was_given_an_end_while_they_waited(self):
        """An entry that repeats the price in force is not taken for the change's own."""
        phone = a_service(20)
        row = a_subscription(service=phone)
        change = scheduled(clock(), kind="list_price", service=phone.pk, new_value="24")
        started()
        update(row, ended_at=clock() + 30 * DAY)
        period = WholeLedger.objects.latest("id")
        assert (period.period_only, period.price, period.change_id) == (True, 24, None)
        assert not book_check.check().differs
        drained()
        assert outcomes.outcome(change)["applied"] == 1
        moved = WholeLedger.objects.get(change_id=change.pk)
        assert (moved.price, moved.ended_at) == (24, period.ended_at)
        assert not book_check.check().differs

    def test_owe_each_its_entry_to_who_was_given_an_end_while_they_waited(self):
        phone = a_service(20)
        row = a_subscription(service=phone)
        changes = [
            scheduled(clock(), kind="list_price", service=phone.pk, new_value=value)
            for value in ("24", "25")
        ]
        started()
        update(row, ended_at=clock() + 30 * DAY)
        drained()
        entries = WholeLedger.objects.filter(period_only=False).order_by("effective_at")
        told = list(entries.values_list("price", "change_id"))
        assert told == [(20, None), (24, changes[0].pk), (25, changes[1].pk)]

    def test_owe_nothing_of_before_it_came_to_who_was_given_an_earlier_start(self):
        """The entry of that start has the pair that the row had first, and is no move."""
        phone, first, second = a_service(20), a_plan(10), a_plan(50)
        row = a_subscription(service=phone, plan=first)
        at = clock()
        scheduled(at, kind="list_price", service=phone.pk, new_value="24")
        scheduled(clock(), kind="list_price", service=phone.pk, new_value="30")
        between = clock()
        update(row, plan=second)
        came = WholeLedger.objects.latest("id").effective_at
        update(row, started_at=at - 30 * DAY)
        scheduled(clock(), kind="list_price", service=phone.pk, new_value="40")
        drained()
        of_second = WholeLedger.objects.filter(plan_id=second.pk, period_only=False)
        assert of_second.earliest("effective_at").effective_at == came
        assert (the_book(between), the_book(clock())) == ({row.pk: 27}, {row.pk: 20})

    @pytest.mark.parametrize("ended", [True, False])
    @pytest.mark.parametrize("values", [["24"], ["24", "25"]])
    def test_owe_nothing_to_who_was_recorded_after_them(self, values, ended):
        """With a start of before: the writer has entered the price there, and each move since."""
        phone, started_at = a_service(20), clock() - DAY
        changes = [
            scheduled(clock(), kind="list_price", service=phone.pk, new_value=value)
            for value in values
        ]
        end = {"ended_at": clock()} if ended else {}
        a_subscription(service=phone, started_at=started_at, **end)
        for _ in range(2):  # and again when the workers have come
            entries = list(WholeLedger.objects.order_by("effective_at", "id"))
            prices = [entry.price for entry in entries if entry.period_only]
            assert prices == [Decimal(value) for value in ["20", *values]]
            assert [entry.change_id for entry in entries] == [None] * (len(values) + 2)
            drained()
        assert [outcomes.outcome(change)["applied"] for change in changes] == [0] * len(changes)
        assert all(accounted(change) for change in changes)

    def test_leave_a_late_entry_to_the_client_of_the_instant(self):
        phone = a_service(20)
        row = a_subscription(service=phone)
        first, second = row.client, a_client()
        at = clock()
        scheduled(at, kind="list_price", service=phone.pk, new_value="24")
        scheduled(clock(), kind="list_price", service=phone.pk, new_value="25")
        between = clock()
        update(row, client=second)
        drained()
        assert WholeLedger.objects.filter(effective_at=at).latest("id").client_id == first.pk
        paid = [the_book(at, "client_id")[row.pk] for at in (between, clock())]
        assert paid == [first.pk, second.pk]


@pytest.mark.django_db
class TestPricesAtAnEnd:
    def test_of_a_lock_that_is_cut_begin_with_the_cut(self):
        phone = a_service(20)
        row = a_subscription(service=phone)
        update(row, price_state="locked")
        applied(planned(kind="list_price", service=phone.pk, new_value="24"))
        locked = clock()
        update(row, locked_until=clock() - SECOND / 1000)
        row.refresh_from_db()
        assert (row.price, row.price_state, row.locked_until) == (24, "follows", None)
        assert (the_book(locked), the_book(clock())) == ({row.pk: 20}, {row.pk: 24})

    def test_before_a_negotiation_is_the_one_before_it(self):
        row = a_subscription(service=a_service(20), started_at=clock() - 9 * DAY)
        update(row, price_state="negotiated", price=24)
        update(row, ended_at=clock() - 2 * DAY)
        row.refresh_from_db()
        assert row.price == 20
        assert ledger.explain(row.pk).price == 20
        update(row, ended_at=None)
        row.refresh_from_db()
        assert (row.price, row.price_state) == (24, "negotiated")
        assert ledger.explain(row.pk).price == 24
        assert not book_check.check().differs

    def test_say_that_it_has_ended_and_since_when_the_price_was_so(self):
        phone = a_service(20)
        row = a_subscription(service=phone)
        change = applied(planned(kind="list_price", service=phone.pk, new_value="24"))
        update(row, ended_at=clock())
        why = ledger.explain(row.pk)
        assert why.text.startswith("It ended at ")
        assert (why.price, why.change.id, why.since) == (24, change.pk, change.effective_at)


@pytest.mark.django_db(transaction=True)
def test_the_migration_tells_the_periods_of_a_book_that_had_none_in_its_ledger():
    phone, now = a_service(20), clock()
    rows = [a_subscription(service=phone) for _ in range(4)]
    update(rows[0], started_at=now - 90 * DAY)
    update(rows[1], ended_at=now + 30 * DAY)
    update(rows[2], started_at=now + 60 * DAY)
    instants = [now + days * DAY for days in (-91, -89, 1, 29, 31, 61)]
    before = [the_book(at) for at in instants]
    assert len({str(book) for book in before}) > 4
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE services_ledgerentry DISABLE TRIGGER ledger_append_only")
        cursor.execute("DELETE FROM services_ledgerentry WHERE period_only")
        cursor.execute("UPDATE services_ledgerentry SET started_at = NULL, ended_at = NULL")
        cursor.execute("ALTER TABLE services_ledgerentry ENABLE TRIGGER ledger_append_only")
        assert the_book(instants[1]) == {}  # as it was
        migration = import_module("services.migrations.0022_periods")
        cursor.execute(migration.BEGUN_BEFORE)
        cursor.execute(migration.FILL)
    assert [the_book(at) for at in instants] == before
    biller = Biller()
    biller.reads_on()
    told = {pk for each in before for pk in each if pk != rows[3].pk}
    for at, book in zip(instants, before, strict=True):
        of_told = {pk: price for pk, price in book.items() if pk in told}
        assert {pk: price for pk, price in biller.bills(at).items() if pk in told} == of_told


@pytest.mark.django_db(transaction=True)
class TestAStartThatIsSaidLate:
    """A follower has paid the rule's price since, and a program that has read the feed bills it."""

    @pytest.fixture(params=["recorded with it", "given it later"])
    def late(self, request, moved_clock):
        """A subscription that began before two moves of its list price, and these."""
        phone = a_service(20)
        a_subscription(service=phone)
        starts = moved_clock.now()
        changes = []
        for value in ("24", "26"):
            moved_clock.passes(DAY)
            changes.append(applied(planned(
                kind="list_price", service=phone.pk, new_value=value
            )))  # fmt: skip
        moved_clock.passes(DAY)
        if request.param == "recorded with it":
            row = a_subscription(service=phone, started_at=starts)
        else:
            row = a_subscription(service=phone)
            moved_clock.passes(DAY)
            update(row, started_at=starts)
        moved_clock.passes(DAY)
        return row, starts, changes

    def test_is_billed_as_the_book_has_it(self, late):
        row, starts, changes = late
        moved_at = [change.effective_at for change in changes]
        instants = [starts, *moved_at, moved_at[-1] + DAY / 2]
        biller = Biller()
        biller.reads_on()
        for at, price in zip(instants, (20, 24, 26, 26), strict=True):
            assert (biller.bills(at), the_book(at)[row.pk]) == (the_book(at), price)
        assert row.pk not in biller.bills(starts - DAY)
        assert not book_check.check().differs
        assert [outcomes.outcome(change)["applied"] for change in changes] == [1, 1]

    def test_is_explained_by_the_changes_that_have_moved_it(self, late):
        row, _, changes = late
        for change in changes:
            told = ledger.explain(row.pk, change.effective_at + DAY / 2)
            assert told is not None
            assert told.change is not None
            assert (told.change.id, told.since) == (change.pk, change.effective_at)
