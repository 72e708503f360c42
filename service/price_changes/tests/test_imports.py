"""An import goes by what is in force, whether a worker has copied it or not."""

import io

import pytest
from django.db import transaction

from price_changes.models import PriceChange
from price_changes.tests.changes import SECOND, approved, clock, drained, planned
from services.models import Plan, Service, Subscription, WholeLedger
from services.tests.factories import a_plan, a_service, a_subscription
from services.transfer.csv_file import BadBook
from services.transfer.exporting import export_book
from services.transfer.importing import import_book

pytestmark = pytest.mark.django_db

FILES = ["exported since", "exported before", "of new subscriptions"]


@pytest.fixture
def due(request, moved_clock):
    """A book with a change that has come, and that no worker has begun; and its export of before.

    One of its two subscriptions has ended since, and is not in that export.
    """
    phone, plan = a_service(20), a_plan(0)
    row, _ = [
        a_subscription(
            service=phone, plan=plan, source="crm", external_id=str(n), started_at=clock() - SECOND
        )
        for n in range(2)
    ]
    at = clock() + 60 * SECOND
    drained()
    before = b"".join(line for line in exported().splitlines(True) if b'"crm","0"' not in line)
    Subscription.objects.filter(pk=row.pk).update(ended_at=at + 60 * SECOND)
    changes = {
        "list price": {"kind": "list_price", "service": phone.pk, "new_value": "22"},
        "discount": {"kind": "discount", "plan": plan.pk, "new_value": "10"},
    }
    change = approved(planned(effective_at=at, **changes[request.param]))
    moved_clock.to(at + 120 * SECOND)
    return change, before


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("due", ["list price", "discount"], indirect=True)
def test_it_is_read_as_if_workers_had_come(due, file, update):
    _, before = due
    content = before if file == "exported before" else exported()
    if file == "of new subscriptions":
        content = content.replace(b'"crm"', b'"other"')
    late = played(content, update, at_once=False)
    assert late == played(content, update, at_once=True)


@pytest.mark.parametrize("update", [False, True])
def test_one_plan_may_have_what_a_late_one_has_left(update):
    taking, leaving = (a_plan(percent, "discount") for percent in (10, 20))
    for plan in (taking, leaving):
        a_subscription(plan=plan, source="crm", external_id=str(plan.pk), started_at=clock())
    for plan, percent in ((leaving, 30), (taking, 20)):
        approved(planned(kind="discount", plan=plan.pk, new_value=percent))
    content = exported()
    late = played(content, update, at_once=False)
    assert late == played(content, update, at_once=True)
    assert not isinstance(late[0], str)


@pytest.mark.parametrize("update", [False, True])
def test_a_plan_with_a_discount_that_is_approved_for_another_one_is_refused(update):
    row = a_subscription(plan=a_plan(10), source="crm", external_id="1")
    at = clock() + 3600 * SECOND
    approved(planned(kind="discount", plan=row.plan_id, new_value=20, effective_at=at))
    content = exported().replace(b"discount,10,", b"discount,20,").replace(b"225.00", b"200.00")
    content = content.replace(b'"crm"', b'"other"')
    with pytest.raises(BadBook, match=f"plan {row.plan_id} .discount. will have it by what"):
        import_book(io.BytesIO(content), update=update)
    assert (Plan.objects.count(), Subscription.objects.count()) == (1, 1)


@pytest.mark.parametrize("due", ["list price", "discount"], indirect=True)
def test_its_own_export_is_no_edit(due):
    change, _ = due
    imported = import_book(io.BytesIO(exported()), update=True)
    assert (imported.subscriptions_same, imported.services_changed, imported.plans_new) == (2, 0, 0)
    drained()
    change.refresh_from_db()
    assert change.status == "applied"
    assert list(PriceChange.objects.all()) == [change]
    assert Plan.objects.count() == 1


def exported():
    out = io.BytesIO()
    export_book(out)
    return out.getvalue()


def played(content, update, at_once):
    """The import's answer, and the book after it; the import is taken back."""
    with transaction.atomic():
        if at_once:
            drained()
        try:
            with transaction.atomic():
                said = import_book(io.BytesIO(content), update=update)
        except BadBook as problems:
            said = str(problems)
        drained()
        before = Subscription.objects.filter(source="crm").values("pk")
        entries = WholeLedger.objects.filter(change_id__isnull=False, subscription_id__in=before)
        entries = entries.values_list("subscription_id", "price", "price_state")
        subscriptions = Subscription.objects.order_by("pk").values_list(
            "source", "external_id", "plan__discount_percent", "price", "price_state", "ended_at"
        )
        found = (
            said,
            list(PriceChange.objects.order_by("pk").values_list("kind", "status", "new_value")),
            list(Service.objects.order_by("pk").values_list("name", "full_price")),
            list(Plan.objects.order_by("pk").values_list("plan_type", "discount_percent")),
            list(subscriptions),
            list(entries.order_by("subscription_id", "effective_at", "id")),
        )
        transaction.set_rollback(True)
    return found
