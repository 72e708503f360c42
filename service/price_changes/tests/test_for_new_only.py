"""Changes for new subscriptions only keep existing prices from the instant on, with no worker.

The copies are poisoned, and reads write nothing, so all that is shown is evaluated.
"""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.urls import reverse

from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.running import lifecycle, outcomes, starting
from price_changes.tests.changes import (
    SECOND,
    applied,
    approved,
    clock,
    drained,
    planned,
    scheduled,
)
from price_changes.tests.test_in_force import POISON, clean, poisoned
from pricebook.local.processes import until
from services import ledger, price_state
from services.audit import book_check
from services.models import CatalogueValue, Subscription, WholeLedger
from services.reading.filters import BookFilter
from services.reading.total import total_amount
from services.repricing import chunks
from services.repricing.planning import plan_due
from services.tests.factories import a_client, a_plan, a_reader, a_service, a_subscription

pytestmark = pytest.mark.django_db
MICROSECOND = SECOND / 1_000_000


class Kept:
    """A list price of 150 for new subscriptions only that is in force, with no worker."""

    def __init__(self, **values) -> None:
        self.client, self.phone, self.plan = a_client(), a_service(100), a_plan(20)
        self.row = a_subscription(self.client, self.phone, self.plan)
        self.other = a_subscription(self.client, self.phone, self.plan)
        self.at = clock()
        self.change = scheduled(
            self.at,
            kind="list_price",
            service=self.phone.pk,
            new_value="150",
            for_new_only=True,
            **values,
        )
        self.new = a_subscription(self.client, self.phone, self.plan)
        poisoned(self.row, self.other, self.new, service=self.phone)

    def stands(self, row: Subscription | None = None) -> tuple[Decimal, str]:
        found = Subscription.objects.in_force().get(pk=(row or self.row).pk)
        return found.price, found.price_state

    def written(self, row: Subscription | None = None) -> tuple[Decimal, str]:
        found = Subscription.objects.get(pk=(row or self.row).pk)
        return found.price, found.price_state

    @property
    def why(self) -> str:
        return f"Price change {self.change.pk} is for new subscriptions only"


@pytest.fixture
def kept() -> Kept:
    return Kept()


class TestReaders:
    def test_show_the_lock_and_the_price_of_before(self, kept):
        reader = a_reader()
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL transaction_read_only = on")
            body = reader.get(reverse("subscription-list"), {"client": kept.client.pk}).json()
            rows = {row["id"]: row for row in body["result"]}
            told = rows[kept.row.pk]
            assert (told["price"], told["price_state"]) == (80, "locked")
            assert told["price_reason"] == kept.why
            assert rows[kept.new.pk]["price"] == 120
            assert (rows[kept.new.pk]["price_state"], rows[kept.new.pk]["price_reason"]) == (
                "follows",
                "",
            )
            assert body["total_amount"] == 280
            assert total_amount(BookFilter(service=kept.phone.pk)).amount == 280
            for url in (
                f"/api/subscriptions/?as_of={clock().isoformat().replace('+', '%2B')}",
                f"/api/subscriptions/{kept.row.pk}/",
                f"/api/services/{kept.phone.pk}/",
                "/api/totals/?by=plan",
            ):
                clean(reader.get(url).content.decode())
            then = reader.get(reverse("subscription-list"), {"as_of": clock().isoformat()}).json()
            told = next(row for row in then["result"] if row["id"] == kept.row.pk)
            assert (told["price"], told["price_state"]) == (80, "locked")
            assert told["price_reason"] == kept.why
            assert then["total_amount"] == 280
            transaction.set_rollback(True)

    def test_explain_it_before_and_after_the_worker(self, kept):
        def told():
            why = ledger.explain(kept.row.pk)
            return why.price, why.price_state, why.since, why.change.id, why.price_reason, why.text

        before = told()
        assert before[:5] == (80, "locked", kept.at, kept.change.pk, kept.why)
        assert ledger.explain(kept.row.pk, kept.at - MICROSECOND).price_state == "follows"
        drained()
        assert told() == before
        assert kept.written() == (80, "locked")

    def test_know_the_end_of_the_lock(self):
        kept = Kept(locked_until=clock() + 7200 * SECOND)
        until = clock() + SECOND / 2  # as if that had been asked for
        for each in (PriceChange.objects.filter(pk=kept.change.pk), CatalogueValue.objects):
            each.exclude(locked_until=None).update(locked_until=until)
        assert kept.stands() == (80, "locked")
        assert Subscription.objects.in_force().get(pk=kept.row.pk).locked_until == until
        while clock() < until:
            pass
        assert kept.stands() == (120, "follows")
        assert ledger.explain(kept.row.pk, until - MICROSECOND).price == 80
        drained()
        assert kept.written() == (120, "follows")

    def test_keep_nobody_any_more_when_it_is_cancelled(self, kept):
        lifecycle.cancel(kept.change.pk, "bob")
        cancelled = clock()
        for _ in range(2):
            assert kept.stands() == (80, "follows")
            assert ledger.explain(kept.row.pk, cancelled - SECOND / 1000).price == 80
            assert ledger.explain(kept.new.pk, cancelled).price == 80
            drained()

    def test_let_those_follow_whom_a_worker_had_locked(self, kept):
        drained()
        assert kept.written() == (80, "locked")
        lifecycle.revert(kept.change.pk, "bob", approve_too=True)
        assert kept.stands() == (80, "follows")
        assert total_amount(BookFilter(service=kept.phone.pk)).amount == 240


class TestWriters:
    """Between the instant and the worker they go by what is in force."""

    @pytest.mark.parametrize("ends", [False, True])
    @pytest.mark.parametrize("reason", ["", "a promise"])
    def test_who_writes_a_part_of_the_lock_leaves_the_others(self, kept, ends, reason):
        end = clock() + 7200 * SECOND if ends else None
        given = {"locked_until": end} if ends else {}
        given |= {"price_reason": reason} if reason else {}
        Subscription.objects.filter(pk=kept.row.pk).update(**given or {"comment": "called"})
        for rows in (Subscription.objects.in_force(), Subscription.objects):
            found = rows.get(pk=kept.row.pk)
            assert (found.price, found.price_state, found.locked_until) == (80, "locked", end)
            assert found.price_reason == (reason or kept.why)
            drained()
        assert not book_check.check().differs

    @pytest.mark.parametrize("given", [{"price_reason": "a promise"}, {"comment": "called"}])
    def test_who_writes_no_price_leaves_one_that_is_taken_back_to_follow(self, kept, given):
        drained()
        lifecycle.revert(kept.change.pk, "bob", approve_too=True)
        Subscription.objects.filter(pk=kept.row.pk).update(**given)
        for _ in range(2):
            assert kept.written() == kept.stands() == (80, "follows")
            drained()
        assert not book_check.check().differs

    def test_who_cuts_the_lock_lets_it_follow(self, kept):
        Subscription.objects.filter(pk=kept.row.pk).update(locked_until=clock())
        assert kept.written() == (120, "follows")
        drained()
        assert kept.written() == (120, "follows")
        assert ledger.explain(kept.row.pk, kept.at).price == 80
        assert not book_check.check().differs

    def test_who_is_moved_to_another_plan_follows_there(self, kept):
        Subscription.objects.filter(pk=kept.row.pk).update(plan=a_plan(50))
        moved = clock()
        drained()
        assert kept.written() == (75, "follows")
        assert ledger.explain(kept.row.pk, kept.at).price == 80
        assert ledger.explain(kept.row.pk, moved).price == 75

    def test_a_lock_keeps_the_price_that_is_kept(self, kept):
        price_state.lock(kept.row.pk, None, "as agreed", "ann")
        Subscription.objects.filter(pk=kept.other.pk).update(
            price_state="locked", price_reason="as agreed"
        )
        drained()
        assert kept.written() == kept.written(kept.other) == (80, "locked")
        assert Subscription.objects.get(pk=kept.row.pk).price_reason == "as agreed"

    def test_whoever_is_released_follows_from_then_on(self, kept):
        price_state.release(kept.row.pk, "ann")
        Subscription.objects.filter(pk=kept.other.pk).update(price_state="follows", price=None)
        released = clock()
        drained()
        for row in (kept.row, kept.other):
            assert kept.written(row) == (120, "follows")
            assert ledger.explain(row.pk, kept.at).price == 80
            assert ledger.explain(row.pk, released).price == 120

    def test_an_end_lets_it_be_kept(self, kept):
        Subscription.objects.filter(pk=kept.row.pk).update(ended_at=clock() + 3600 * SECOND)
        drained()
        assert kept.written() == (80, "locked")
        entries = WholeLedger.objects.filter(subscription_id=kept.row.pk, change_id=kept.change.pk)
        assert entries.count() == 1

    def test_an_end_before_the_instant_was_never_kept(self, kept):
        drained()
        Subscription.objects.filter(pk=kept.row.pk).update(
            started_at=kept.at - 9 * SECOND, ended_at=kept.at - SECOND
        )
        assert kept.written() == (80, "follows")

    @pytest.mark.parametrize("worker", ["has come", "has not come"])
    def test_who_comes_later_with_a_start_before_it_is_kept(self, kept, worker):
        if worker == "has come":
            drained()
        row = a_subscription(kept.client, kept.phone, kept.plan, started_at=kept.at - SECOND)
        assert kept.stands(row) == (80, "locked")
        drained()
        assert kept.written(row) == (80, "locked")

    @pytest.mark.parametrize("swept", ["before it", "after it"])
    def test_the_end_of_a_lock_leads_to_being_kept(self, swept):
        row = a_subscription(service=a_service(100))
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE services_subscription SET price_state = 'locked', price = 70,"
                " locked_until = book_clock() + interval '0.2 s' WHERE id = %s"
                " RETURNING locked_until",
                [row.pk],
            )
            (end,) = cursor.fetchone()
        assert until(lambda: clock() > end, 5)
        scheduled(
            clock(), kind="list_price", service=row.service_id, new_value="150", for_new_only=True
        )
        found = Subscription.objects.in_force().get(pk=row.pk)
        assert (found.price, found.price_state) == (100, "locked")
        if swept == "after it":
            starting.start_due()
            plan_due()
            chunks.take_chunk("price", set())
            row.refresh_from_db()
            assert row.price == 70
        drained()
        row.refresh_from_db()
        assert (row.price, row.price_state) == (100, "locked")


class TestWorkers:
    @pytest.mark.parametrize("cancelled", [False, True])
    @pytest.mark.parametrize("then", ["nothing", "a list price"])
    def test_enter_once_what_a_writer_has_entered_already(self, kept, cancelled, then):
        if cancelled:
            lifecycle.cancel(kept.change.pk, "carl")
        if then == "a list price":
            scheduled(clock(), "current", kind="list_price", service=kept.phone.pk, new_value="160")
        Subscription.objects.filter(pk=kept.row.pk).update(comment="called")
        drained()
        told = WholeLedger.objects.filter(subscription_id=kept.row.pk, change_id__isnull=False)
        changes = list(told.values_list("change_id", flat=True))
        assert kept.change.pk in changes
        assert len(changes) == len(set(changes))
        assert outcomes.outcome(kept.change)["applied"] == 2

    def test_keep_at_the_price_of_before_whatever_is_stored(self, kept):
        assert kept.written()[0] == POISON
        drained()
        assert kept.written() == (80, "locked")
        assert kept.written(kept.new) == (120, "follows")

    def test_keep_whom_an_earlier_change_moves_late(self):
        """Its copy has an entry that was written after the start of the keeping change."""
        plan, phone = a_plan(20), a_service(100)
        row = a_subscription(service=phone, plan=plan)
        scheduled(clock(), kind="discount", plan=plan.pk, new_value="30")
        scheduled(clock(), kind="list_price", service=phone.pk, new_value="150", for_new_only=True)
        last = scheduled(clock(), "current", kind="list_price", service=phone.pk, new_value="200")
        drained()
        row.refresh_from_db()
        assert (row.price, row.price_state) == (70, "locked")
        assert not WholeLedger.objects.filter(change_id=last.pk).exists()

    def test_keep_by_a_value_that_is_the_one_before_too(self):
        row = a_subscription(service=a_service(100))
        scheduled(
            clock(), kind="list_price", service=row.service_id, new_value="100", for_new_only=True
        )
        assert Subscription.objects.in_force().get(pk=row.pk).price_state == "locked"
        drained()
        row.refresh_from_db()
        assert row.price_state == "locked"
        assert PriceChange.objects.filter(status="applied").exists()


class TestTheInstantOfASet:
    """Refused: the order of two approvals would decide whether rows that the set frees are kept."""

    def setup_method(self) -> None:
        self.client, self.phone, self.plan = a_client(), a_service(100), a_plan(20)
        self.row = a_subscription(self.client, self.phone, self.plan)
        price_state.negotiate(self.row.pk, Decimal(30), "deal", "ann")
        self.at = clock() + 600 * SECOND

    def a_set(self, **filter_) -> PriceChange:
        which = filter_ or {"subscription": self.row.pk}
        given = {"adjustment": "follow", "filter": which, "effective_at": self.at}
        return approved(planned(kind="set", **given), "current")

    def for_new_only(self, at=None, **values) -> PriceChange:
        of: dict[str, Any] = {"kind": "list_price", "service": self.phone.pk, "new_value": "150"}
        given = (values or of) | {"for_new_only": True, "effective_at": at or self.at}
        return approved(planned(**given))

    def refused(self, **values) -> ChangeError:
        with pytest.raises(ChangeError) as refusal:
            self.for_new_only(**values)
        return refusal.value

    def test_is_refused_with_the_set_and_what_to_do(self):
        change = self.a_set()
        refusal = self.refused()
        assert (refusal.code, refusal.status_code) == ("instant_of_a_set", 409)
        assert refusal.about["others"] == [change.pk]
        assert f"Price change {change.pk} moves" in refusal.detail
        assert "a second later" in refusal.detail
        last = PriceChange.objects.latest("pk")
        assert (last.status, last.approval, last.for_new_only) == ("planned", None, True)
        assert not CatalogueValue.objects.filter(change_id=last.pk).exists()

    def test_is_refused_beside_a_revert_of_a_set(self):
        first = applied(planned(kind="set", adjustment="amount", operand="5", filter={}))
        back = lifecycle.revert(first.pk, "ann")
        lifecycle.approve(back.pk, back.fingerprint, "bob", effective_at=self.at)
        assert self.refused().about["others"] == [back.pk]

    def test_is_refused_for_the_discount_of_a_plan(self):
        self.a_set(service=self.phone.pk)
        assert (
            self.refused(kind="discount", plan=self.plan.pk, new_value="30").code
            == "instant_of_a_set"
        )

    def test_is_allowed_a_second_before_and_after_it(self, moved_clock):
        self.a_set()
        self.for_new_only(self.at + SECOND)
        moved_clock.to(self.at + 2 * SECOND)
        drained()
        self.row.refresh_from_db()
        assert (self.row.price, self.row.price_state) == (80, "locked")

    def test_is_allowed_if_the_set_is_cancelled_or_of_other_rows(self):
        lifecycle.cancel(self.a_set().pk, "ann")
        self.for_new_only()
        other = a_subscription(self.client, a_service(50), self.plan)
        price_state.negotiate(other.pk, Decimal(30), "deal", "ann")
        self.a_set(service=other.service_id)
        self.for_new_only()

    def test_a_set_that_is_approved_after_it_moves_what_it_keeps(self, moved_clock):
        self.for_new_only()
        self.a_set(price_state="negotiated")
        moved_clock.to(self.at + SECOND)
        drained()
        self.row.refresh_from_db()
        assert (self.row.price, self.row.price_state) == (120, "follows")
