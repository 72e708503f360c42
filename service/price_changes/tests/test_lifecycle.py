"""A change from the plan to the outcome, on a small book, with the workers' own functions."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Count, Sum

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.running import lifecycle, outcomes
from price_changes.running.lifecycle import preview
from price_changes.tests.changes import accounted, applied, approved, clock, paid, planned
from services import repricing
from services.models import Plan, Repricing, Service, Subscription, WholeLedger
from services.repricing import chunks
from services.tests.factories import a_book, a_service, a_subscription

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def book():
    return a_book(subscriptions=60, services=3, plans=2)


def prices(book):
    return dict(book.values_list("pk", "price"))


def ledger_says(book):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (subscription_id) subscription_id, price FROM services_wholeledger"
            " ORDER BY subscription_id, id DESC"
        )
        last = dict(cursor.fetchall())
    return {pk: last[pk] for pk in prices(book)}


class TestAListPrice:
    def test_moves_as_the_preview_showed(self, book):
        service = Service.objects.first()
        change = planned(kind="list_price", service=service.pk, new_value="150.10")
        rows = book.filter(service=service)
        assert change.preview["rows"] == change.preview["moves"] == rows.count()
        before = rows.aggregate(sum=Sum("price"))["sum"]
        assert Decimal(change.preview["total_before"]) == before
        assert prices(book) == ledger_says(book)
        applied(change)
        assert change.status == "applied"
        after = rows.aggregate(sum=Sum("price"))["sum"]
        assert Decimal(change.preview["total_after"]) == after != before
        assert outcomes.outcome(change)["applied"] == rows.count()
        assert accounted(change)
        assert prices(book) == ledger_says(book)
        assert not book.mispriced().exists()

    def test_taken_back_gives_the_value_in_force_without_it(self, book):
        service = Service.objects.first()
        before = prices(book)
        first = applied(planned(kind="list_price", service=service.pk, new_value=150))
        second = applied(planned(kind="list_price", service=service.pk, new_value=160))
        lifecycle.revert(first.pk, "ann", approve_too=True)
        repricing.reprice()
        first.refresh_from_db()
        assert first.status == "reverted"
        service.refresh_from_db()
        assert service.full_price == 160
        lifecycle.revert(second.pk, "ann", approve_too=True)
        repricing.reprice()
        assert prices(book) == before == ledger_says(book)

    def test_for_new_ones_only_locks_the_followers(self, book):
        service = Service.objects.first()
        before = prices(book)
        change = planned(kind="list_price", service=service.pk, new_value=150, for_new_only=True)
        assert change.preview["stop_following"] == book.filter(service=service).count()
        applied(change)
        assert prices(book) == before
        assert set(book.filter(service=service).values_list("price_state", flat=True)) == {"locked"}
        assert a_subscription(service=service).price == 150
        assert accounted(change)
        back = lifecycle.revert(change.pk, "ann", approve_too=True)
        repricing.reprice()
        back.refresh_from_db()
        assert back.status == "applied"
        assert prices(book) == before == ledger_says(book)
        assert not book.exclude(price_state="follows").exists()

    def test_a_plain_edit_is_one_too(self, book):
        service = Service.objects.first()
        with repricing.catalogue_edit(author="carl", comment="2027"):
            service.full_price = 151
            service.save()
        repricing.reprice()
        repricing.stamp()
        change = PriceChange.objects.get()
        assert (change.kind, change.status, change.approved_by) == ("list_price", "applied", "carl")
        assert outcomes.outcome(change)["applied"] == book.filter(service=service).count()
        entries = WholeLedger.objects.filter(change_id=change.pk)
        assert entries.count() == book.filter(service=service).count()
        assert set(entries.values_list("effective_at", flat=True)) == {change.effective_at}
        lifecycle.revert(change.pk, "ann", approve_too=True)
        repricing.reprice()
        repricing.stamp()
        assert not book.mispriced().exists()
        assert not book.filter(comment="2027").exists()


class TestASet:
    def test_moves_as_the_preview_showed_and_back(self, book):
        service = Service.objects.first()
        before = dict(book.values_list("pk", "price"))
        change = planned(
            kind="set",
            filter={"service": service.pk},
            adjustment="percent",
            operand=10,
            comment="thank you",
        )
        rows = book.filter(service=service)
        assert change.preview["stop_following"] == rows.count()
        applied(change)
        assert change.status == "applied", change.note
        assert Decimal(change.preview["total_after"]) == rows.aggregate(s=Sum("price"))["s"]
        assert accounted(change)
        assert prices(book) == ledger_says(book)
        assert set(rows.values_list("price_state", flat=True)) == {"negotiated"}
        touched = rows.first()
        Subscription.objects.filter(pk=touched.pk).update(price=1)
        back = lifecycle.revert(change.pk, "ann", approve_too=True)
        assert back.preview["stays"] == {"touched_since": 1}
        repricing.reprice()
        repricing.stamp()
        assert prices(book) == before | {touched.pk: Decimal(1)} == ledger_says(book)
        assert outcomes.outcome(back)["skipped"] == {"touched_since": 1}
        assert accounted(back)

    def test_holds_when_rows_have_moved(self, book, moved_clock):
        at = clock() + HOUR
        change = approved(planned(kind="set", adjustment="add", operand=5, effective_at=at))
        Service.objects.update(full_price=777)
        repricing.reprice()
        moved_clock.to(at)
        repricing.reprice()
        change.refresh_from_db()
        assert change.status == "held"
        assert "preview it again" in change.note
        change = preview(change.pk)
        applied(change)
        assert change.status == "applied", change.note
        assert accounted(change)

    def test_frozen_moves_the_approved_rows_that_nobody_moved(self, book, moved_clock):
        at = clock() + HOUR
        change = planned(kind="set", adjustment="amount", operand=5, effective_at=at)
        approved(change, "frozen")
        one = book.first()
        Subscription.objects.filter(pk=one.pk).update(price_state="negotiated", price=9)
        moved_clock.to(at)
        repricing.reprice()
        change.refresh_from_db()
        assert change.status == "applied"
        assert Subscription.objects.get(pk=one.pk).price == paid(one, clock()) == 9
        outcome = outcomes.outcome(change)
        assert (outcome["applied"], outcome["skipped"]) == (59, {"moved_since": 1})
        assert accounted(change)

    @pytest.mark.parametrize("when_moved", ["hold", "frozen", "current"])
    def test_moves_what_was_written_after_its_instant_too(self, book, when_moved):
        change = planned(kind="set", adjustment="amount", operand=5)
        approved(change, when_moved)
        one = book.first()
        Subscription.objects.filter(pk=one.pk).update(price_state="negotiated", price=9)
        repricing.reprice()
        change.refresh_from_db()
        assert change.status == "applied"
        assert Subscription.objects.get(pk=one.pk).price == 9
        assert [paid(one, change.effective_at), paid(one, clock())] == [5, 9]
        outcome = outcomes.outcome(change)
        assert (outcome["applied"], outcome["skipped"]) == (60, {})

    def test_an_empty_set_is_refused(self, db):
        with pytest.raises(ChangeError, match="nothing to change"):
            planned(kind="set", adjustment="amount", operand=5, filter={"client": 1})

    def test_a_negative_price_is_refused(self, book):
        with pytest.raises(ChangeError) as refused:
            planned(kind="set", adjustment="add", operand=-100_000)
        assert refused.value.code == "price_out_of_range"


@pytest.mark.usefixtures("by_chunks")
class TestPauseAndCancel:
    def begun(self, monkeypatch, book):
        monkeypatch.setattr(chunks, "CHUNK", 5)
        change = planned(kind="set", adjustment="percent", operand=10)
        approved(change)
        assert application_started()
        moved = chunks.take_chunk("price", set())  # five, or fewer where their stretch ends
        assert 0 < moved <= 5
        return change, moved

    def test_paused_leaves_the_rest_alone_and_goes_on(self, monkeypatch, book):
        before = prices(book)
        change, moved = self.begun(monkeypatch, book)
        PriceChange.objects.update(note="A note of the start.")
        paused = lifecycle.pause(change.pk, "ann")
        assert paused.remark == "Paused by ann. A note of the start."
        repricing.reprice()
        assert sum(1 for pk, price in prices(book).items() if price != before[pk]) == moved
        lifecycle.resume(change.pk, "bob")
        repricing.reprice()
        change.refresh_from_db()
        assert change.status == "applied"
        assert (change.paused_by, change.resumed_by) == ("ann", "bob")
        assert change.started_at < change.paused_at < change.resumed_at
        assert change.remark == change.note == "A note of the start."
        assert accounted(change)

    def test_cancelled_takes_back_what_was_applied(self, monkeypatch, book):
        before = prices(book)
        change, moved = self.begun(monkeypatch, book)
        lifecycle.cancel(change.pk, "ann")
        repricing.reprice()
        change.refresh_from_db()
        assert change.status == "cancelled"
        assert prices(book) == before == ledger_says(book)
        assert moved < 60
        found = outcomes.outcome(change)
        assert (found["applied"], found["skipped"]) == (60, {})  # it was in force for all
        assert accounted(change)


def application_started():
    from price_changes.running import starting

    return starting.start_due()


@pytest.mark.usefixtures("by_chunks")
def test_of_two_that_overlap_the_later_instant_decides(book):
    early = approved(planned(kind="set", adjustment="amount", operand=5), "current")
    application_started()
    lifecycle.pause(early.pk, "ann")
    before = prices(book)
    late = applied(planned(kind="set", adjustment="amount", operand=7), "current")
    assert late.status == "scheduled"  # it depends on the rows of the paused one
    assert prices(book) == before
    lifecycle.resume(early.pk, "ann")
    repricing.reprice()
    assert set(prices(book).values()) == {Decimal(7)}
    assert {paid(row, early.effective_at) for row in book} == {5}
    for change in (early, late):
        outcome = outcomes.outcome(change)
        assert (outcome["applied"], outcome["skipped"], outcome["superseded"]) == (60, {}, 0)
    counts = Repricing.objects.aggregate(n=Count("pk"))
    assert counts["n"] == 2


def test_actions_that_the_state_does_not_allow_name_those_that_do(book):
    change = planned(kind="list_price", service=a_service().pk, new_value=1)
    with pytest.raises(ChangeError) as refused:
        lifecycle.revert(change.pk, "ann")
    assert (refused.value.status_code, refused.value.about["allowed"]) == (409, ["applied"])
    with pytest.raises(ChangeError) as refused:
        lifecycle.approve(change.pk, "f" * 32, "ann")
    assert refused.value.code == "stale_fingerprint"


def test_who_approves_a_planned_instant_does_not_move_it(book):
    values = {"kind": "list_price", "service": Service.objects.first().pk, "new_value": "150"}
    change = planned(**values, effective_at="2999-01-01T00:00:00Z")
    with pytest.raises(ChangeError) as refused:
        lifecycle.approve(change.pk, change.fingerprint, "bob", effective_at="2999-01-02T00:00:00Z")
    assert refused.value.code == "instant_is_planned"
    change = planned(**values)
    lifecycle.approve(change.pk, change.fingerprint, "bob", effective_at="2999-01-02T00:00:00Z")
    change.refresh_from_db()
    assert (change.status, change.effective_at.day) == ("scheduled", 2)


def test_a_discount_moves_its_plan(book):
    plan = Plan.objects.order_by("discount_percent").last()
    change = applied(planned(kind="discount", plan=plan.pk, new_value=50))
    assert change.status == "applied"
    assert not book.mispriced().exists()
    assert accounted(change)
