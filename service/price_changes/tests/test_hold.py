"""A change of the catalogue under hold is held at its instant if its approver saw another value.

Also what a scheduled change says while others come before it (T9).
"""

import io
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.urls import reverse

from price_changes import verbs
from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.running import lifecycle
from price_changes.tests.changes import (
    SECOND,
    approved,
    clock,
    drained,
    move_instant,
    planned,
    scheduled,
)
from services import ledger
from services.models import CatalogueValue, Plan, Service, Subscription
from services.reading.filters import BookFilter
from services.reading.total import total_amount
from services.tests.factories import a_plan, a_reader, a_service, a_subscription

pytestmark = pytest.mark.django_db
HOUR = 3600 * SECOND


def told(change):
    return a_reader().get(f"/api/price-changes/{change.pk}/").json()


def shown(change):
    out = io.StringIO()
    call_command("price_change", "show", str(change.pk), stdout=out)
    return out.getvalue()


class Book:
    def __init__(self) -> None:
        self.phone = a_service(20, "Phone")
        self.row = a_subscription(service=self.phone)

    def rises_to(self, value, at=None, when_moved=None, **more) -> PriceChange:
        change = planned(
            kind="list_price", service=self.phone.pk, new_value=value, effective_at=at, **more
        )
        return approved(change, when_moved)

    @property
    def price(self):
        return Subscription.objects.in_force().get(pk=self.row.pk).price


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def held(book) -> PriceChange:
    """A change 20 → 24 whose instant has come, with no worker; somebody has edited 20 to 22."""
    change = book.rises_to("24", clock() + HOUR)
    Service.objects.filter(pk=book.phone.pk).update(full_price=22)
    drained()
    move_instant(change, clock())
    return change


class TestHeld:
    def test_is_what_it_is_unless_somebody_says_otherwise(self, book):
        change = book.rises_to("24", clock() + HOUR)
        assert change.when_moved == "hold"
        value = CatalogueValue.objects.get(change_id=change.pk)
        assert (value.seen, value.held) == (20, None)

    def test_takes_no_effect_for_any_reader_before_and_after_the_worker(self, book, held):
        for _ in range(2):
            assert book.price == 22
            assert total_amount(BookFilter(service=book.phone.pk)).amount == 22
            assert ledger.explain(book.row.pk).price == 22
            assert ledger.total_as_of(clock()).amount == 22
            assert Service.objects.in_force().get(pk=book.phone.pk).full_price == 22
            assert a_subscription(service=book.phone).price == 22
            Subscription.objects.exclude(pk=book.row.pk).delete()
            drained()
        assert CatalogueValue.objects.get(change_id=held.pk).held

    def test_says_so_before_and_after_the_worker(self, book, held, admin_client):
        for _ in range(2):
            body = told(held)
            assert body["status"] == "held"
            assert "22.00" in body["note"]
            assert "20.00" in body["note"]
            assert {"preview", "approve", "cancel"} <= set(body["allowed"])
            assert "held: It found 22.00, and its approver had seen 20.00" in shown(held)
            url = reverse("admin:price_changes_pricechange_change", args=[held.pk])
            assert "It found 22.00" in admin_client.get(url).content.decode()
            listed = reverse("admin:price_changes_pricechange_changelist")
            assert "Held" in admin_client.get(listed).content.decode()
            drained()

    @pytest.mark.parametrize("worker", ["has come", "has not come"])
    def test_can_be_approved_anew(self, book, held, worker):
        if worker == "has come":
            drained()
        again = verbs.preview(held.pk)
        assert (again.old_value, again.new_value) == (22, 24)
        lifecycle.approve(held.pk, again.fingerprint, "bob")
        assert book.price == 24
        drained()
        assert (book.price, PriceChange.objects.get(pk=held.pk).status) == (24, "applied")

    def test_can_be_cancelled(self, book, held):
        lifecycle.cancel(held.pk, "bob")
        drained()
        assert (book.price, PriceChange.objects.get(pk=held.pk).status) == (22, "cancelled")

    def test_holds_those_that_count_on_it(self, book):
        first = book.rises_to("24", clock() + HOUR)
        second = book.rises_to("30", clock() + 2 * HOUR)
        Service.objects.filter(pk=book.phone.pk).update(full_price=22)
        drained()
        move_instant(first, clock())
        move_instant(second, clock())
        assert book.price == 22
        drained()
        assert book.price == 22
        assert not PriceChange.objects.filter(pk__in=[first.pk, second.pk]).exclude(status="held")

    def test_is_not_held_where_its_approver_saw_what_comes_before(self, book):
        first = book.rises_to("22", clock() + HOUR)
        second = book.rises_to("24", clock() + 2 * HOUR)
        move_instant(first, clock())
        move_instant(second, clock())
        assert book.price == 24
        drained()
        assert book.price == 24

    def test_is_held_where_what_comes_before_was_cancelled(self, book):
        first = book.rises_to("22", clock() + HOUR)
        second = book.rises_to("24", clock() + 2 * HOUR)
        lifecycle.cancel(first.pk, "bob")
        move_instant(second, clock())
        assert (book.price, told(second)["status"]) == (20, "held")

    def test_current_takes_effect_whatever_it_finds(self, book):
        change = book.rises_to("24", clock() + HOUR, "current")
        Service.objects.filter(pk=book.phone.pk).update(full_price=22)
        drained()
        move_instant(change, clock())
        assert book.price == 24
        drained()
        assert book.price == 24
        assert PriceChange.objects.get(pk=change.pk).status == "applied"

    def test_for_new_only_keeps_nobody_where_it_is_held(self, book):
        change = book.rises_to("24", clock() + HOUR, for_new_only=True)
        Service.objects.filter(pk=book.phone.pk).update(full_price=22)
        drained()
        move_instant(change, clock())
        for _ in range(2):
            found = Subscription.objects.in_force().get(pk=book.row.pk)
            assert (found.price, found.price_state) == (22, "follows")
            drained()

    def test_discounts_too(self):
        plan = Plan.objects.create(plan_type="student", discount_percent=10)
        row = a_subscription(service=a_service(100), plan=plan)
        change = approved(
            planned(kind="discount", plan=plan.pk, new_value="25", effective_at=clock() + HOUR)
        )
        Plan.objects.filter(pk=plan.pk).update(discount_percent=20)
        drained()
        move_instant(change, clock())
        assert Subscription.objects.in_force().get(pk=row.pk).price == 80
        assert told(change)["status"] == "held"

    def test_is_judged_without_end_in_sight_of_many_that_are_held(self, book):
        """Each is judged once, and not each time that a later one is."""
        changes = [book.rises_to(str(30 + n), clock() + HOUR + n * SECOND) for n in range(25)]
        Service.objects.filter(pk=book.phone.pk).update(full_price=22)
        move_instant(changes[-1], clock() + 2 * HOUR)
        assert [told(change)["will_be_held"] for change in changes] == [True] * 25


class TestWhatMayBeSaid:
    def test_no_rows_of_the_catalogue_are_frozen(self, book):
        change = planned(kind="list_price", service=book.phone.pk, new_value="24")
        with pytest.raises(ChangeError) as refused:
            approved(change, "frozen")
        assert refused.value.code == "unknown_value"
        assert refused.value.about["allowed"] == ["hold", "current"]

    def test_a_revert_is_current(self, book):
        change = book.rises_to("24")
        drained()
        back = lifecycle.revert(change.pk, "bob")
        with pytest.raises(ChangeError) as refused:
            approved(back, "hold")
        assert refused.value.code == "always_current"

    def test_the_form_of_the_approval_asks(self, book, admin_client):
        change = planned(kind="list_price", service=book.phone.pk, new_value="24")
        url = reverse("admin:price_changes_pricechange_approve", args=[change.pk])
        page = admin_client.get(url).content.decode()
        assert "If another value is there by then" in page
        assert "Frozen" not in page
        admin_client.post(url, {"fingerprint": change.fingerprint, "when_moved": "current"})
        change.refresh_from_db()
        assert (change.status, change.when_moved) == ("scheduled", "current")

    def test_the_command_takes_it(self, book):
        change = planned(
            kind="list_price", service=book.phone.pk, new_value="24", effective_at=clock() + HOUR
        )
        arguments = [str(change.pk), change.fingerprint, "--when-moved", "current"]
        call_command("price_change", "approve", *arguments, "--author", "bob", stdout=io.StringIO())
        change.refresh_from_db()
        assert change.when_moved == "current"


class TestScheduled:
    """T9: it says what it will do with all that comes before it, everywhere the same."""

    @pytest.mark.parametrize("when_moved", ["hold", "current"])
    def test_says_what_it_finds_by_now(self, book, admin_client, when_moved):
        change = book.rises_to("23", clock() + 2 * HOUR, when_moved)
        assert told(change)["finds"] == 20
        before = book.rises_to("24", clock() + HOUR)
        body = told(change)
        assert (body["old_value"], body["finds"], body["new_value"]) == (20, 24, 23)
        assert body["will_be_held"] == (when_moved == "hold")
        assert "24.00 → 23.00" in shown(change)
        assert "approved as 20.00 → 23.00, and will find 24.00" in shown(change)
        url = reverse("admin:price_changes_pricechange_change", args=[change.pk])
        for page in (
            url,
            reverse("admin:price_changes_pricechange_changelist"),
            reverse("desk:home"),
        ):
            text = admin_client.get(page).content.decode()
            assert "24.00 → 23.00" in text, page
            assert "20.00 → 23.00 USD" not in text, page
        assert "approved as 20.00 → 23.00" in admin_client.get(url).content.decode()
        assert ("will be held" in shown(change)) == (when_moved == "hold")
        assert "approved as" not in shown(before)

    def test_names_what_comes_before_it_and_what_will_overrule_it(self, book, admin_client):
        later = book.rises_to("23", clock() + 2 * HOUR)
        between = planned(
            kind="list_price",
            service=book.phone.pk,
            new_value="22",
            effective_at=clock() + HOUR,
        )
        assert between.preview["scheduled_after"] == [later.pk]
        assert f"will overrule it: price change {later.pk}" in shown(between)
        approved(between)
        assert f"Scheduled before it, and not in these figures: price change {between.pk}" in (
            shown(later)
        )
        for change, named in ((between, "will overrule it"), (later, "Scheduled before it")):
            url = reverse("admin:price_changes_pricechange_change", args=[change.pk])
            assert named in admin_client.get(url).content.decode()


def test_a_total_is_exact_while_one_is_held(book, held):
    scheduled(clock(), "current", kind="discount", plan=a_plan(20).pk, new_value="30")
    assert total_amount(BookFilter(service=book.phone.pk)).amount == Decimal(22)
