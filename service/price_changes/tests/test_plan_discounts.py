"""A discount of a type belongs to one plan, from the approval that decides it.

So no reader is told a discount that a worker will find it cannot write.
"""

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.urls import reverse

from price_changes.errors import ChangeError
from price_changes.running import lifecycle
from price_changes.tests.changes import SECOND, approved, clock, drained, planned, scheduled
from services.models import CatalogueValue, Plan, Service, Subscription
from services.tests.factories import a_plan, a_subscription
from services.tests.interleaving import in_background

TEN = "discount"  # a type of plans

pytestmark = pytest.mark.django_db


def discount(plan, percent, **values):
    return planned(kind="discount", plan=plan.pk, new_value=percent, **values)


@pytest.fixture(params=["is to come", "has come, and is not copied", "is copied"])
def taken(request):
    """A plan of 10 % that has 20 % by an approval, now or later."""
    plan = a_plan(10, TEN)
    if request.param == "is to come":
        approved(discount(plan, 20, effective_at=clock() + 3600 * SECOND))
    else:
        scheduled(clock(), kind="discount", plan=plan.pk, new_value=20)
    if request.param == "is copied":
        drained()
    return plan


WRITES = {
    "a new one": lambda other: Plan.objects.create(plan_type=TEN, discount_percent=20),
    "many new ones": lambda other: Plan.objects.bulk_create(
        [Plan(plan_type=TEN, discount_percent=percent) for percent in (19, 20)]
    ),
    "an edit": lambda other: Plan.objects.filter(pk=other.pk).update(discount_percent=20),
    "another type": lambda other: Plan.objects.filter(plan_type="student").update(plan_type=TEN),
}


class TestASecondPlan:
    @pytest.mark.parametrize("write", WRITES)
    def test_cant_be_written(self, taken, write):
        a_plan(20, "student")
        other = a_plan(30, TEN)
        before = list(Plan.objects.order_by("pk").values_list())
        with (
            pytest.raises(IntegrityError, match=r"plan_unique|there can.t be two"),
            transaction.atomic(),
        ):
            WRITES[write](other)
        assert list(Plan.objects.order_by("pk").values_list()) == before

    def test_is_refused_by_the_form_with_its_name(self, taken, admin_client):
        url = reverse("admin:services_plan_add")
        answer = admin_client.post(url, {"plan_type": TEN, "discount_percent": "20"})
        assert answer.status_code == 200
        assert f"plan {taken.pk} (" in answer.content.decode()

    def test_is_refused_before_it_is_saved(self, taken):
        with pytest.raises(ValidationError, match=f"plan {taken.pk} "):
            Plan(plan_type=TEN, discount_percent=20).full_clean()
        Plan(plan_type="student", discount_percent=20).full_clean()
        taken.refresh_from_db()
        taken.full_clean()

    def test_cant_be_planned(self, taken):
        with pytest.raises(ChangeError) as refused:
            discount(a_plan(30, TEN), 20)
        assert (refused.value.code, refused.value.status_code) == ("plan_exists", 409)

    def test_may_have_what_the_other_one_does_not_keep(self, taken):
        drained()
        is_copied = Plan.objects.get(pk=taken.pk).discount_percent == 20
        same_as_before = Plan(plan_type=TEN, discount_percent=10)
        if is_copied:
            same_as_before.save()
        else:
            with pytest.raises(IntegrityError):
                same_as_before.save()


class TestAnApproval:
    def test_is_refused_where_a_plan_came_after_the_preview(self):
        change = discount(a_plan(10, TEN), 20)
        other = a_plan(20, TEN)
        with pytest.raises(ChangeError, match=f"plan {other.pk} is discount with") as refused:
            approved(change)
        assert (refused.value.code, refused.value.status_code) == ("plan_exists", 409)
        change.refresh_from_db()
        assert change.status == "planned"
        assert not CatalogueValue.objects.filter(change_id=change.pk).exists()

    def test_of_the_second_of_two_is_refused(self):
        at = clock() + 3600 * SECOND
        first, second = (discount(a_plan(n, TEN), 50, effective_at=at + n * SECOND) for n in (1, 2))
        approved(second)
        with pytest.raises(ChangeError, match="50 %"):
            approved(first)

    def test_may_give_what_another_plan_will_have_left_once_it_has(self):
        leaving, coming = a_plan(20, TEN), a_plan(10, TEN)
        late = scheduled(clock(), kind="discount", plan=leaving.pk, new_value=30)
        change = approved(discount(coming, 20))
        drained()
        for each in (late, change):
            each.refresh_from_db()
        assert (late.status, change.status) == ("applied", "applied")
        assert list(Plan.objects.order_by("pk").values_list("discount_percent", flat=True)) == [
            30,
            20,
        ]

    def test_may_follow_a_cancel(self):
        at = clock() + 3600 * SECOND
        cancelled = approved(discount(a_plan(10, TEN), 20, effective_at=at))
        lifecycle.cancel(cancelled.pk, "ann")
        assert approved(discount(a_plan(30, TEN), 20)).approval


def test_a_late_cancel_does_not_give_back_what_another_plan_has_taken():
    plan = a_plan(20, TEN)
    change = scheduled(clock(), kind="discount", plan=plan.pk, new_value=30)
    other = a_plan(10, TEN)
    approved(discount(other, 20, effective_at=clock() + 3600 * SECOND))
    with pytest.raises(ChangeError) as refused:
        lifecycle.cancel(change.pk, "ann")
    assert refused.value.code == "plan_exists"
    change.refresh_from_db()
    assert change.status == "scheduled"


@pytest.mark.django_db(transaction=True)
def test_of_two_connections_the_second_waits_and_is_refused():
    change = discount(a_plan(10, TEN), 20, effective_at=clock() + 3600 * SECOND)
    with transaction.atomic():
        Plan.objects.create(plan_type=TEN, discount_percent=20)
        approval = in_background(approved, change).until_it_waits()
    with pytest.raises(ChangeError, match="there can't be two"):
        approval.result()
    assert not CatalogueValue.objects.filter(change_id=change.pk).exists()


def test_so_many_plans_come_as_there_can_be():
    plans = [
        Plan(plan_type=kind, discount_percent=percent)
        for kind in Plan.Type
        for percent in range(101)
    ]
    Plan.objects.bulk_create(plans)
    with connection.cursor() as cursor:
        cursor.execute("SELECT discounts_from_now(id) FROM services_plan")
        assert sorted(cursor.fetchall()) == sorted((Decimal(n),) for n in range(101) for _ in "123")


def in_force(*plans):
    found = Plan.objects.in_force().in_bulk([plan.pk for plan in plans])
    return [found[plan.pk].discount_percent for plan in plans]


class TestPlansThatExchangeDiscounts:
    """While no worker comes: the first leaves 20 %, the other takes it, and the first takes 10 %
    or 40 %."""

    @pytest.fixture(params=[10, 40])
    def exchanged(self, request):
        other, first = a_plan(10, TEN), a_plan(20, TEN)
        for plan in (other, first):
            a_subscription(plan=plan)
        changes = [
            scheduled(clock(), kind="discount", plan=first.pk, new_value=30),
            approved(discount(other, 20)),
            approved(discount(first, request.param)),
        ]
        assert in_force(other, first) == [20, request.param]
        return (other, first), changes, request.param

    def test_have_them_when_workers_have_come(self, exchanged):
        plans, changes, last = exchanged
        drained()
        for change in changes:
            change.refresh_from_db()
        assert [change.status for change in changes] == ["applied"] * 3
        copies = Plan.objects.in_bulk()
        assert in_force(*plans) == [20, last]
        assert [copies[plan.pk].discount_percent for plan in plans] == [20, last]

    @pytest.mark.parametrize("verb", ["cancel", "revert"])
    def test_can_be_taken_back_the_last_one_first(self, exchanged, verb):
        plans, changes, _ = exchanged
        for change, percents in ((changes[2], [20, 30]), (changes[1], [10, 30])):
            if verb == "cancel":
                lifecycle.cancel(change.pk, "ann")
            else:
                lifecycle.revert(change.pk, "ann", approve_too=True)
            assert in_force(*plans) == percents
        drained()
        copies = Plan.objects.in_bulk()
        assert [copies[plan.pk].discount_percent for plan in plans] == [10, 30]

    def test_have_their_prices_before_and_after(self, exchanged):
        asked = Subscription.objects.order_by("pk")
        told = list(asked.in_force().values_list("price", flat=True))
        drained()
        assert list(asked.values_list("price", flat=True)) == told


class TestAConflictFromBefore:
    """Two plans have one discount, as they could before the database refused it."""

    @pytest.fixture
    def conflict(self):
        plan, other = a_plan(10, TEN), a_plan(40, TEN)
        a_subscription(plan=plan)
        change = scheduled(clock(), kind="discount", plan=plan.pk, new_value=20)
        without_the_guard(Plan.objects.filter(pk=other.pk).update, discount_percent=20)
        return plan, other, change

    @pytest.mark.parametrize("which", [0, 1])
    def test_is_ended_by_an_edit(self, conflict, which):
        Plan.objects.filter(pk=conflict[which].pk).update(discount_percent=35)
        drained()
        assert Plan.objects.get(pk=conflict[which].pk).discount_percent == 35

    def test_is_ended_by_a_change_of_the_other_plan(self, conflict):
        plan, other, change = conflict
        approved(discount(other, 35))
        drained()
        change.refresh_from_db()
        assert (change.status, Plan.objects.get(pk=plan.pk).discount_percent) == ("applied", 20)

    def test_holds_the_change_when_its_worker_comes(self, conflict):
        plan, _, change = conflict
        drained()
        change.refresh_from_db()
        assert (change.status, in_force(plan)) == ("held", [10])

    def test_waits_with_a_note_where_there_is_no_way_back(self, conflict):
        _, other, change = conflict
        third = a_plan(50, TEN)
        scheduled(clock(), kind="discount", plan=third.pk, new_value=60)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE services_cataloguevalue SET value = 10 WHERE value = 60")
        Service.objects.update(full_price=1_000)
        drained()
        change.refresh_from_db()
        assert change.status == "scheduled"
        assert "there can't be two" in change.note
        assert Subscription.objects.in_force().get().price == 800
        Plan.objects.filter(pk=other.pk).update(discount_percent=35)
        drained()
        change.refresh_from_db()
        assert change.status == "applied"
        assert Subscription.objects.get().price == 800


def without_the_guard(write, *args, **values):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE services_cataloguevalue DISABLE TRIGGER catalogue_value_unique")
        write(*args, **values)
        cursor.execute("ALTER TABLE services_cataloguevalue ENABLE TRIGGER catalogue_value_unique")


def test_discounts_may_move_up_in_one_statement():
    a_plan(11, TEN), a_plan(10, TEN)
    Plan.objects.update(discount_percent=F("discount_percent") + 1)
    assert sorted(Plan.objects.values_list("discount_percent", flat=True)) == [11, 12]
