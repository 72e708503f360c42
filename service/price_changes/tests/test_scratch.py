import pytest
from price_changes.tests.changes import *
from price_changes.tests.test_sets import a_raise, row
from services.models import *
from services.repricing import chunks
from services import ledger
pytestmark = pytest.mark.django_db(transaction=True)
def show(row, change):
    for e in LedgerEntry.objects.filter(subscription_id=row.pk).order_by("pk"):
        print("   ", e.pk, e.price, e.price_state, str(e.effective_at)[11:23], str(e.recorded_at)[11:23], e.change_id, e.period_only, str(e.ended_at)[11:23])
    r = Subscription.objects.get(pk=row.pk); print("   row", r.price, r.price_state, r.ended_at)
    change.refresh_from_db(); print("   ", change.status, change.note)
    from price_changes.running import outcomes
    print("   ", list(Skip.objects.filter(repricing__change_id=change.pk).values_list("reason","rows","subscription_id")))
@pytest.mark.parametrize("size", [4000, 0])
def test_it(row, monkeypatch, size):
    monkeypatch.setattr(chunks, "AT_ONCE", size)
    for late in (False, True):
        print("late", late)
        from services.tests.factories import a_client, a_plan, a_service, a_subscription
        one = a_subscription(a_client(), a_service(20), a_plan(0))
        at = clock()
        change = scheduled(at, kind="set", adjustment="add", operand=5, filter={"subscription": one.pk})
        if not late: drained()
        t = clock()
        Subscription.objects.filter(pk=one.pk).update(ended_at=at - SECOND/1000)
        if late: drained()
        show(one, change)
        print(ledger.as_of(t, known_at=t)) if 0 else None
        from services.ledger.page import one_as_of
        print(one_as_of(t, one.pk, known_at=t)[0]["price"], one_as_of(t, one.pk)[0] and one_as_of(t, one.pk)[0]["price"])
