"""An approval counts again, and must be of the figures that are true at that time."""

import subprocess
import sys
from decimal import Decimal

import pytest

from price_changes.errors import ChangeError, MovedSincePreview
from price_changes.models import PriceChange
from price_changes.planning import preview as previews
from price_changes.planning import recount
from price_changes.planning.recount import Recount
from price_changes.running import lifecycle, outcomes
from price_changes.tests.changes import (
    SECOND,
    applied,
    approved,
    clock,
    drained,
    move_instant,
    planned,
)
from pricebook.tests.tiers import always
from services import price_state
from services.models import Plan, Service, Subscription
from services.tests.factories import a_book, a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db


def later(seconds=3600):
    return clock() + seconds * SECOND


def list_price(service, value, **more):
    return planned(kind="list_price", service=service.pk, new_value=value, **more)


def refusal(change, when_moved=None):
    """The error of an approval that is refused because figures have moved."""
    with pytest.raises(MovedSincePreview) as error:
        approved(change, when_moved)
    return error.value


def moved(error):
    """Figure → (was, now); for changes that were scheduled since, their numbers."""
    return {each["figure"]: (each["was"], each["now"]) for each in error.about["moved"]}


def edited(service, full_price):
    Service.objects.filter(pk=service.pk).update(full_price=full_price)
    drained()


class TestAnotherOldValue:
    @pytest.mark.parametrize("has_instant", [False, True])
    def test_of_a_list_price(self, has_instant):
        support = a_service(5)
        row = a_subscription(service=support)
        change = list_price(support, "6", **({"effective_at": later()} if has_instant else {}))
        edited(support, 2550)

        error = refusal(change)

        assert (error.code, error.status_code) == ("moved_since_preview", 409)
        assert moved(error)["old_value"] == (5, 2550)
        assert "value before 5.00 → 2,550.00" in error.detail
        kept = PriceChange.objects.get(pk=change.pk)
        assert (kept.status, kept.approved_by) == ("planned", "")
        assert (kept.old_value, kept.new_value) == (2550, 6)
        assert kept.preview["total_before"] == "2550.00"
        assert kept.fingerprint == error.about["fingerprint"] != change.fingerprint
        assert kept.fingerprint in error.detail
        drained()
        assert Subscription.objects.get(pk=row.pk).price == 2550
        assert approved(kept).status == "scheduled"

    def test_that_moves_no_row(self):
        """All are negotiated: the rows are the same, but the value before differs."""
        support = a_service(5)
        price_state.negotiate(a_subscription(service=support).pk, 4, "deal", "ann")
        change = list_price(support, "6")
        edited(support, 2550)
        assert Recount.of(change).refuses_all  # as the page before the approval says
        assert moved(refusal(change)) == {"old_value": (5, 2550)}

    def test_that_came_back_is_none(self):
        support = a_service(5)
        a_subscription(service=support)
        change = list_price(support, "6")
        edited(support, 2550)
        edited(support, 5)
        assert approved(change).status == "scheduled"

    def test_of_a_discount(self):
        plan = a_plan(5)
        a_subscription(service=a_service(100), plan=plan)
        change = planned(kind="discount", plan=plan.pk, new_value=50)
        Plan.objects.filter(pk=plan.pk).update(discount_percent=7)
        drained()
        assert moved(refusal(change))["old_value"] == (5, 7)
        kept = PriceChange.objects.get(pk=change.pk)
        assert kept.old_value == 7
        assert approved(kept).status == "scheduled"

    def test_of_the_revert_of_a_list_price(self):
        phone = a_service(20)
        a_subscription(service=phone)
        change = applied(list_price(phone, 22))
        back = lifecycle.revert(change.pk, "carl")
        assert (back.old_value, back.new_value) == (22, 20)
        edited(phone, 30)
        # The edit came later, so it stays in force without the change.
        assert moved(refusal(back)) == {
            "old_value": (22, 30),
            "new_value": (20, 30),
            "moves": (1, 0),
            "total_before": (22, 30),
            "total_after": (20, 30),
        }
        kept = PriceChange.objects.get(pk=back.pk)
        assert (kept.old_value, kept.new_value, kept.preview["moves"]) == (30, 30, 0)
        assert approved(kept).status == "scheduled"

    def test_is_in_a_new_preview_too(self):
        support = a_service(5)
        a_subscription(service=support)
        change = list_price(support, "6")
        edited(support, 2550)
        again = lifecycle.preview(change.pk)
        assert (again.old_value, again.preview["total_before"]) == (2550, "2550.00")

    def test_of_a_service_that_was_deleted_is_for_the_start_to_tell(self):
        service = a_service(5)
        change = list_price(service, "6")
        service.delete()
        assert approved(change).status == "scheduled"
        drained()
        change.refresh_from_db()
        assert (change.status, change.note) == ("cancelled", "The service was deleted.")


class TestScheduledInBetween:
    def test_another_of_the_same_service(self):
        phone = a_service(22)
        a_subscription(service=phone)
        january = list_price(phone, 23, effective_at=later(7200))
        december = approved(list_price(phone, 24, effective_at=later()))

        assert Recount.of(january).refuses_all
        error = refusal(january)

        assert moved(error) == {"scheduled_before": (None, december.pk)}
        assert f"price change {december.pk} has been scheduled before it" in error.detail
        kept = PriceChange.objects.get(pk=january.pk)
        assert kept.preview["scheduled_before"] == [december.pk]
        assert approved(kept).status == "scheduled"

    @pytest.mark.parametrize(
        "values",
        [
            {"kind": "discount", "new_value": 50},
            {"kind": "set", "adjustment": "add", "operand": 1},
            {"kind": "set", "adjustment": "add", "operand": 1, "filter": {"price_from": 1}},
        ],
    )
    def test_one_that_may_move_the_same_rows(self, values):
        row = a_subscription(service=a_service(20), plan=a_plan(5))
        change = list_price(row.service, 23, effective_at=later(7200))
        if values["kind"] == "discount":
            values = values | {"plan": row.plan_id}
        other = approved(planned(**values, effective_at=later()))
        assert moved(refusal(change)) == {"scheduled_before": (None, other.pk)}

    def test_one_that_is_due_and_that_no_worker_has_started(self):
        row = a_subscription(service=a_service(20), plan=a_plan(5))
        change = list_price(row.service, 23)
        other = approved(planned(kind="discount", plan=row.plan_id, new_value=50))
        assert moved(refusal(change)) == {
            "scheduled_before": (None, other.pk),
            "total_before": (Decimal("19.00"), Decimal("10.00")),
            "total_after": (Decimal("21.85"), Decimal("11.50")),
        }

    def test_one_of_other_rows_is_nothing_to_it(self):
        """Otherwise each list price of a round would make the next one refused."""
        at = later()
        services = [a_subscription(service=a_service(20)).service for _ in range(3)]
        changes = [list_price(service, 23, effective_at=at) for service in services]
        for_others = {"filter": {"service": services[0].pk}, "effective_at": later(60)}
        approved(planned(kind="set", adjustment="add", operand=1, **for_others))
        assert [approved(change).status for change in changes[1:]] == ["scheduled"] * 2

    def test_one_that_comes_after_it_is_nothing_to_it(self):
        phone = a_service(22)
        a_subscription(service=phone)
        change = list_price(phone, 23, effective_at=later())
        approved(list_price(phone, 24, effective_at=later(7200)))
        assert approved(change).status == "scheduled"

    def test_one_that_was_there_and_is_cancelled_changes_no_figure(self):
        phone = a_service(22)
        a_subscription(service=phone)
        before = approved(list_price(phone, 24, effective_at=later()))
        change = list_price(phone, 23, effective_at=later(7200))
        assert change.preview["scheduled_before"] == [before.pk]
        lifecycle.cancel(before.pk, "ann")
        assert approved(change).status == "scheduled"

    def test_one_that_was_there_and_is_applied_changes_the_old_value(self):
        phone = a_service(22)
        a_subscription(service=phone)
        before = approved(list_price(phone, 24, effective_at=later()))
        change = list_price(phone, 23, effective_at=later(7200))
        move_instant(before, clock())
        drained()
        assert moved(refusal(change))["old_value"] == (22, 24)

    def test_of_a_set_is_counted_with_what_will_be_in_force(self):
        phone = a_service(22)
        a_subscription(service=phone)
        change = planned(kind="set", adjustment="add", operand=1, effective_at=later(7200))
        approved(list_price(phone, 24, effective_at=later()))
        with pytest.raises(MovedSincePreview, match=r"total before 22.00 → 24.00"):
            approved(change, "hold")
        change.refresh_from_db()
        assert approved(change, "hold").status == "scheduled"


class TestDrift:
    """Rows that come and go. 200 of them, so that one is half a per cent."""

    @pytest.fixture
    def book(self):
        return a_book(200, services=1, plans=1)

    @pytest.fixture
    def service(self, book):
        return book.first().service

    def come(self, service, rows):
        plan = Plan.objects.get()
        for _ in range(rows):
            a_subscription(service=service, plan=plan)

    def test_below_it_a_list_price_is_approved(self, service):
        change = list_price(service, 150)
        self.come(service, 2)
        assert applied(change).status == "applied"
        assert outcomes.outcome(change)["applied"] == 202

    def test_above_it_a_list_price_is_not(self, service):
        change = list_price(service, 150)
        self.come(service, 3)
        error = refusal(change)
        assert moved(error) == {
            "rows": (200, 203),
            "moves": (200, 203),
            "total_before": (20_000, 20_300),
            "total_after": (30_000, 30_450),
        }
        assert "rows 200 → 203; rows that move 200 → 203; total before 20,000.00 → 20,300.00" in (
            error.detail
        )

    def test_is_a_setting(self, service, settings):
        settings.APPROVAL_DRIFT = Decimal("1.5")
        change = list_price(service, 150)
        self.come(service, 3)
        assert approved(change).status == "scheduled"

    def test_of_0_is_not_one_row(self, book, service, settings):
        settings.APPROVAL_DRIFT = Decimal(0)
        change = list_price(service, 150)
        gone = book.last()
        gone.delete()
        self.come(service, 1)
        error = refusal(change)
        assert moved(error) == {}
        assert "other rows, which add up to the same figures" in error.detail
        assert approved(PriceChange.objects.get(pk=change.pk)).status == "scheduled"

    def test_is_of_the_rows(self, book, service):
        """Also of those that are free, and stay."""
        change = list_price(service, 150)
        for _ in range(3):
            row = a_subscription(service=service, plan=book[0].plan)
            price_state.negotiate(row.pk, 0, "deal", "ann")
        assert moved(refusal(change)) == {"rows": (200, 203)}

    def test_is_of_those_that_move(self, book, service):
        """They are few among all rows, and their price stays: they are locked."""
        for row in book[:190]:
            price_state.negotiate(row.pk, 100, "deal", "ann")
        change = list_price(service, 150, for_new_only=True)
        price_state.negotiate(book.last().pk, 100, "deal", "ann")
        assert moved(refusal(change)) == {"moves": (10, 9)}

    def test_is_of_the_total_before(self, book):
        """It is small beside the total after. One row is half a per cent of the rows."""
        for row in book:
            price_state.negotiate(row.pk, 1, "deal", "ann")
        change = planned(kind="set", adjustment="amount", operand=100)
        price_state.negotiate(book.first().pk, 4, "deal", "ann")
        assert moved(refusal(change, "current")) == {"total_before": (200, 203)}

    def test_is_of_the_total_after(self, book):
        """It is small beside the total before."""
        change = planned(kind="set", adjustment="add", operand=-99)
        price_state.negotiate(book.first().pk, 103, "deal", "ann")
        assert moved(refusal(change, "current")) == {
            "total_before": (20_000, 20_003),
            "total_after": (200, 203),
        }

    def test_is_of_the_difference(self, book):
        """Each price moves little, so rows and totals hardly change."""
        change = planned(kind="set", adjustment="amount", operand=101)
        price_state.negotiate(book.first().pk, 97, "deal", "ann")
        assert moved(refusal(change, "current")) == {"total_before": (20_000, 19_997)}

    def test_of_the_difference_is_measured_by_what_moves(self, book):
        """Rises and falls may cancel out; beside a difference of 0, one row would be too much."""
        for n, row in enumerate(book):
            price_state.negotiate(row.pk, 90 if n % 2 else 110, "deal", "ann")
        change = planned(kind="set", adjustment="amount", operand=100)
        assert change.preview["total_before"] == change.preview["total_after"] == "20000.00"
        price_state.negotiate(book.first().pk, 105, "deal", "ann")
        assert approved(change, "current").status == "scheduled"

    def test_below_it_a_set_is_approved_as_current_alone(self, book):
        change = planned(kind="set", adjustment="add", operand=5)
        price_state.negotiate(book.first().pk, 101, "deal", "ann")
        for when_moved in ("hold", "frozen"):
            error = refusal(change, when_moved)
            assert moved(error) == {
                "total_before": (20_000, 20_001),
                "total_after": (21_000, 21_001),
            }
            change = PriceChange.objects.get(pk=change.pk)
            price_state.negotiate(book.first().pk, 100, "deal", "ann")
            lifecycle.preview(change.pk)
            change.refresh_from_db()
            price_state.negotiate(book.first().pk, 101, "deal", "ann")
        assert approved(change, "current").status == "scheduled"

    def test_above_it_a_set_is_not_approved_as_current_either(self, book):
        change = planned(kind="set", adjustment="add", operand=5)
        book.filter(pk__in=book.values_list("pk", flat=True)[:3]).delete()
        assert moved(refusal(change, "current"))["rows"] == (200, 197)

    @pytest.mark.parametrize(("touched", "status"), [(2, "scheduled"), (3, "planned")])
    def test_of_the_revert_of_a_set(self, book, touched, status):
        change = applied(planned(kind="set", adjustment="add", operand=5))
        back = lifecycle.revert(change.pk, "carl")
        for row in book[:touched]:
            price_state.negotiate(row.pk, 105, "deal", "ann")
        if status == "planned":
            assert moved(refusal(back))["moves"] == (200, 197)
        else:
            approved(back)
        back.refresh_from_db()
        assert back.status == status

    def test_of_a_set_whose_rows_are_all_gone_is_an_empty_set(self, book):
        change = planned(kind="set", adjustment="add", operand=5, filter={"comment_prefix": "row"})
        book.update(comment="")
        with pytest.raises(ChangeError) as error:
            approved(change, "current")
        assert error.value.code == "empty_set"
        assert PriceChange.objects.get(pk=change.pk).status == "planned"

    def test_of_a_price_that_would_be_out_of_range_says_that(self, book):
        change = planned(kind="set", adjustment="add", operand=-50)
        price_state.negotiate(book.first().pk, 10, "deal", "ann")
        with pytest.raises(ChangeError) as error:
            approved(change, "current")
        assert error.value.code == "price_out_of_range"


class TestTheSetting:
    @pytest.mark.parametrize(
        "value",
        always(("101", "nan"), of=("-1", "101", "nan", "Infinity", "1,5", "1 %", "much", "")),
    )
    def test_of_what_is_no_part_of_a_hundred_does_not_start(self, value):
        code = f"import os; os.environ.update(APPROVAL_DRIFT={value!r}, DEBUG='1')\n"
        code += "import pricebook.settings"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode != 0
        assert f"APPROVAL_DRIFT={value!r} is not known; it is 0 to 100 per cent." in done.stderr

    def test_is_1_unless_it_is_set(self, settings):
        assert settings.APPROVAL_DRIFT == 1


class TestWhatIsRefusedBefore:
    """Refusals that need no count come without one."""

    def test_is_not_counted(self, monkeypatch, settings):
        change = list_price(a_subscription().service, 5)
        for module in (previews, recount):
            monkeypatch.setattr(module, "count", lambda change: pytest.fail("it was counted"))
        with pytest.raises(ChangeError) as error:
            lifecycle.approve(change.pk, "0" * 32, "bob")
        assert error.value.code == "stale_fingerprint"
        settings.APPROVAL_BY_ANOTHER = True
        with pytest.raises(ChangeError) as error:
            lifecycle.approve(change.pk, change.fingerprint, "ann")
        assert error.value.code == "needs_another_person"
        PriceChange.objects.update(status="cancelled")
        with pytest.raises(ChangeError) as error:
            approved(change)
        assert error.value.code == "wrong_state"


class TestARevertInOneStep:
    def test_is_counted_once(self, monkeypatch):
        """Nobody has seen the figures of its preview, so there is nothing to compare with."""
        phone = a_service(20)
        a_subscription(service=phone)
        change = applied(list_price(phone, 22))
        counted = []
        count = previews.count
        for module in (previews, recount):
            monkeypatch.setattr(
                module, "count", lambda *args, **how: counted.append(1) or count(*args, **how)
            )
        assert lifecycle.revert(change.pk, "carl", approve_too=True).status == "scheduled"
        assert len(counted) == 1
