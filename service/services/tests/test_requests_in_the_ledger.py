"""The request that wrote an entry: in its history, and in the answer to the request."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from pricebook.tests.pages import OpenedForm
from services import ledger, price_state, repricing
from services.ledger.requests import Noting
from services.models import LedgerEntry, Service, Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription
from services.tests.programs import a_writer

pytestmark = pytest.mark.django_db


def requests_of(one):
    return [entry["request_id"] for entry in ledger.history(one.pk)]


def test_each_write_over_the_api_is_noted():
    erp = a_writer()
    named = {"client": a_client().pk, "service": a_service().pk, "plan": a_plan().pk}
    later = (timezone.now() + timedelta(days=9)).isoformat()
    known = {"source": "crm", "external_id": "1"}
    made = erp.post("/api/subscriptions/", named | known, headers={"X-Request-ID": "request-1"})
    one = Subscription.objects.get(pk=made.json()["id"])
    assert made["X-Request-ID"] == "request-1"
    for number, (path, body) in enumerate(
        [
            (f"{one.pk}/negotiate/", {"price": 5, "reason": "a friend"}),
            (f"{one.pk}/move/", {"plan": a_plan(50).pk}),
            (f"{one.pk}/end/", {"ended_at": later}),
            (f"{one.pk}/restart/", {}),
            ("bulk/", {"lines": [known | {"ended_at": later}]}),
        ],
        start=2,
    ):
        id = {"X-Request-ID": f"request-{number}"}
        answer = erp.post(f"/api/subscriptions/{path}", body, headers=id, format="json")
        assert answer.status_code == 200, path
    own = [f"request-{number}" for number in range(1, 7)]
    assert requests_of(one) == own
    shown = erp.get(f"/api/subscriptions/{one.pk}/ledger/").json()["result"]
    assert [entry["request_id"] for entry in shown] == own
    with_new_id = erp.post(f"/api/subscriptions/{one.pk}/restart/")
    assert requests_of(one)[-1] == with_new_id["X-Request-ID"]


def test_each_write_of_the_admin_is_noted(admin_client: Browser):
    one = a_subscription(service=a_service(100), plan=a_plan(0))
    page = reverse("admin:services_subscription_change", args=[one.pk])
    saved = OpenedForm(admin_client, page).send(plan=a_plan(50).pk)
    assert saved.redirect_chain
    admin_client.post(
        reverse("admin:services_subscription_delete", args=[one.pk]),
        {"post": "yes"},
        headers={"X-Request-ID": "deleted-here"},
    )
    first, moved, gone = requests_of(one)
    assert first is None
    assert len(moved) == 32
    assert gone == "deleted-here"


def test_workers_and_commands_have_none():
    one = a_subscription(service=a_service(100))
    Service.objects.update(full_price=50)
    repricing.reprice()
    price_state.lock(one.pk, None, "promised", "ann")
    assert requests_of(one) == [None, None, None]
    assert not LedgerEntry.objects.exclude(request_id=None).exists()


@pytest.mark.django_db(transaction=True)
def test_a_note_lasts_as_long_as_its_transaction_and_no_longer():
    one = a_subscription()
    rows = Subscription.objects.filter(pk=one.pk)
    with connection.execute_wrapper(Noting("request-1")), transaction.atomic():
        with transaction.atomic():
            rows.update(client=a_client())
            transaction.set_rollback(True)
        rows.update(client=a_client())
    rows.update(client=a_client())
    assert requests_of(one) == [None, "request-1", None]
