"""Bulks while a change is due and no worker is alive: their prices are those of single writes.

The copy of the list price is poisoned: a price made of it would show that it was read.
"""

import json

import pytest

from price_changes.tests.changes import SECOND, clock
from price_changes.tests.test_in_force import Due
from services import ledger
from services.models import Subscription
from services.tests.factories import a_plan, a_subscription
from services.tests.programs import a_writer

pytestmark = pytest.mark.django_db


@pytest.fixture
def due():
    return Due()


def line(due, number, **given):
    named = {"client": due.client.pk, "service": due.phone.pk, "plan": due.plan.pk}
    return {"source": "bulk", "external_id": str(number), **named, **given}


def bulk(*lines):
    answer = a_writer().post("/api/subscriptions/bulk/", {"lines": list(lines)})
    return [each["id"] for each in json.loads(answer.getvalue())["lines"]]


def single(given):
    return a_writer().post("/api/subscriptions/", given | {"source": "single"}).json()["id"]


def prices(id):
    """The price, its state, and those of the entries."""
    one = Subscription.objects.get(pk=id)
    entries = [(entry["price"], entry["price_state"]) for entry in ledger.history(id)]
    return one.price, one.price_state, entries


def test_new_ones_pay_what_is_in_force_and_ended_ones_what_was(due):
    now = clock()
    began, ended = (now - 90 * SECOND).isoformat(), (now - 60 * SECOND).isoformat()
    lines = [line(due, 1), line(due, 2, started_at=began), line(due, 3, ended_at=ended)]
    lines[2]["started_at"] = began
    ids = bulk(*lines)
    assert [prices(id) for id in ids] == [prices(single(each)) for each in lines]
    assert [prices(id)[0] for id in ids] == [120, 120, 80]


def test_one_that_is_moved_pays_what_is_in_force(due):
    other = [a_subscription(due.client, due.phone, a_plan(), external_id="1", source="bulk")]
    bulk(line(due, 1))
    assert prices(other[0].pk)[:2] == (120, "follows")
