"""A chunk of a set's list judges its rows without a lock, and respects writes meanwhile."""

import re
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from price_changes.models import ListedRows
from price_changes.running import moving, outcomes, starting
from price_changes.tests.changes import approved, clock, planned
from services import price_state, repricing
from services.ledger.page import one_as_of
from services.models import LedgerEntry, RepricingStep, Skip, Subscription, WholeLedger
from services.repricing import chunks, locks
from services.tests.factories import a_book
from services.tests.interleaving import a_person, in_background
from services.tests.plans import explained

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_chunks")]


@pytest.fixture
def book():
    return a_book(subscriptions=20, services=2, plans=2)


class TestARowThatAPersonIsWriting:
    @pytest.fixture(autouse=True)
    def a_patient_worker(self, monkeypatch):
        monkeypatch.setattr(locks, "LOCK_TIMEOUT", "15s")

    def beside_a_person(self, book):
        """The row after a chunk that has waited for a person's transaction, who wrote 9.00."""
        change = planned(kind="set", adjustment="percent", operand=10)
        approved(change, "current")
        assert starting.start_due()
        row = book.first()
        with a_person() as person:
            person.execute(
                "UPDATE services_subscription SET price_state = 'negotiated', price = 9"
                " WHERE id = %s",
                [row.pk],
            )
            chunk = in_background(repricing.reprice, 10).until_it_waits()
            person.commit()
            chunk.result()
        row.refresh_from_db()
        return row

    def test_keeps_the_persons_price_upon_that_of_the_set(self, book):
        row = self.beside_a_person(book)
        assert row.price == Decimal(9)
        assert not Skip.objects.exists()
        entries = WholeLedger.objects.filter(subscription_id=row.pk)
        assert entries.exclude(change_id=None).get().price != 9
        assert entries.latest("id").price == 9

    def test_would_be_overwritten_by_a_chunk_that_trusts_what_it_has_read(self, monkeypatch, book):
        monkeypatch.setattr(
            moving,
            "MOVE",
            moving.MOVE.replace("AND subscription.ctid IS NOT DISTINCT FROM version", ""),
        )
        assert self.beside_a_person(book).price != Decimal(9)


def test_a_stretch_that_is_longer_than_a_chunk_is_done_in_several(monkeypatch, book):
    before = dict(book.values_list("pk", "price"))
    change = planned(kind="set", adjustment="percent", operand=10)
    approved(change, "current")
    assert starting.start_due()
    monkeypatch.setattr(chunks, "CHUNK", 2)
    repricing.reprice()
    after = dict(book.values_list("pk", "price"))
    assert all(after[pk] == round(price * Decimal("1.1"), 2) for pk, price in before.items())
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM price_changes_listedrows")
        assert cursor.fetchone() == (0,)
    assert Subscription.objects.filter(price_state="negotiated").count() == len(before)


@pytest.mark.usefixtures("small_steps_together")
class TestSmallStepsOfASet:
    """They share a transaction, and nothing of one that fails is left of it."""

    @pytest.fixture
    def change(self, book):
        change = planned(kind="set", adjustment="percent", operand=10)
        approved(change, "frozen")
        assert starting.start_due()
        return change

    def test_are_done_together(self, change):
        assert chunks.take_chunk("price", set()) == 20
        assert not ListedRows.objects.exists()
        assert outcomes.outcome(change)["applied"] == 20
        assert WholeLedger.objects.filter(change_id=change.pk).count() == 20

    def test_a_failing_one_is_skipped_and_counted_once(self, change, book):
        third = RepricingStep.objects.order_by("pk")[2]
        rows = book.filter(service=third.service_id, plan=third.plan_id).order_by("pk")
        touched, _, refused, *_ = rows
        price_state.negotiate(touched.pk, 9, "by hand", "ann")
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE services_subscription ADD CONSTRAINT refused CHECK"
                f" (id <> {refused.pk} OR price_state = 'follows') NOT VALID"
            )
        try:
            assert chunks.take_chunk("price", set()) == 10
            assert not Skip.objects.exists()
            assert repricing.reprice() == 8  # and one that the person has copied
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE services_subscription DROP CONSTRAINT refused")
        found = outcomes.outcome(change)
        assert (found["rows"], found["applied"], found["failed"]) == (20, 19, 1)
        assert found["skipped"] == {}
        assert one_as_of(clock(), refused.pk)[0]["price_state"] == "follows"
        stays, entered = LedgerEntry.objects.filter(subscription_id=refused.pk).order_by("-pk")[:2]
        assert (stays.change_id, stays.price) == (entered.change_id, refused.price)


class TestTheStatementOfAChunk:
    """The planner expects a row or two from a CTE, and may compare each row with each."""

    ROWS = 500

    def plan(self):
        a_book(subscriptions=self.ROWS, services=1, plans=1)
        change = planned(kind="set", adjustment="percent", operand=10)
        approved(change, "current")
        assert starting.start_due()
        with CaptureQueriesContext(connection) as queries, transaction.atomic():
            chunks.take_chunk("price", set())
            transaction.set_rollback(True)
        [move] = [query["sql"] for query in queries if "WITH item AS" in query["sql"]]
        return explained("WITH item" + move.partition("WITH item")[2])

    def most_compared(self, plan):
        removed = re.findall(r"Rows Removed by Join Filter: (\d+)", plan)
        return max(map(int, removed), default=0)

    def test_compares_no_row_with_each_other(self):
        plan = self.plan()
        assert self.most_compared(plan) <= self.ROWS

    def test_would_if_what_was_moved_were_joined_to_what_was_judged(self, monkeypatch):
        joined = "SELECT %(change)s, id, old_comment, old_stamp, old_reason FROM moved"
        assert joined in moving.MOVE
        monkeypatch.setattr(
            moving,
            "MOVE",
            moving.MOVE.replace(
                joined,
                "SELECT %(change)s, item_id, moved.old_comment, moved.old_stamp, moved.old_reason"
                " FROM moved JOIN judged ON item_id = moved.id",
            ).replace(
                "WHERE is_stamped OR old_reason <> ''",
                "WHERE is_stamped OR new_reason <> moved.old_reason || '-'",
            ),
        )
        assert self.most_compared(self.plan()) > self.ROWS
