"""`as_of` an instant to come: what will be paid, by what is scheduled, locked and ending."""

import io
from decimal import Decimal

import pytest
from django.core.management import call_command

from price_changes.running import lifecycle
from price_changes.tests.changes import (
    SECOND,
    applied,
    approved,
    clock,
    drained,
    planned,
    reverted,
    scheduled,
)
from services import price_state
from services.tests.factories import a_client, a_plan, a_reader, a_service, a_subscription
from services.tests.test_price_state_command import records

pytestmark = pytest.mark.django_db

DAY = 24 * 3600 * SECOND


def the_list(at, **asked):
    return a_reader().get("/api/subscriptions/", {"as_of": at.isoformat(), **asked}).json()


def prices(answer):
    return {row["id"]: Decimal(str(row["price"])) for row in answer["result"]}


def test_a_client_is_told_what_it_will_pay_when():
    now, client, phone = clock(), a_client(), a_service(20)
    follows = a_subscription(client, phone, a_plan(50))
    ends = a_subscription(client, phone, ended_at=now + 15 * DAY)
    begins = a_subscription(client, phone, started_at=now + 25 * DAY)
    locked = a_subscription(client, phone)
    price_state.lock(locked.pk, now + 20 * DAY, "promised", "ann")
    change = planned(
        kind="list_price", service=phone.pk, new_value="24", effective_at=now + 10 * DAY
    )
    approved(change)
    a_subscription(service=phone)  # another one's

    ahead = {
        0: {follows.pk: 10, ends.pk: 20, locked.pk: 20},
        11: {follows.pk: 12, ends.pk: 24, locked.pk: 20},
        16: {follows.pk: 12, locked.pk: 20},
        21: {follows.pk: 12, locked.pk: 24},
        26: {follows.pk: 12, locked.pk: 24, begins.pk: 24},
    }
    for days, paid in ahead.items():
        answer = the_list(now + days * DAY + SECOND, client=client.pk)
        assert prices(answer) == paid, f"in {days} days"
        assert answer["total_amount"] == sum(paid.values())
        assert answer["waiting_for"] == []
        one = f"/api/subscriptions/{follows.pk}/"
        at = (now + days * DAY + SECOND).isoformat()
        assert a_reader().get(one, {"as_of": at}).json()["price"] == paid[follows.pk]
        why = a_reader().get(f"{one}explain/", {"at": at}).json()
        assert why["price"] == paid[follows.pk]
        assert (why["change"] or {}).get("id") == (change.pk if days > 10 else None)


def test_a_set_that_is_not_in_the_figures_is_named():
    row, at = a_subscription(service=a_service(20)), clock() + 10 * DAY
    change = planned(kind="set", adjustment="add", operand="5", effective_at=at, title="Five more")
    approved(change, "current")
    assert the_list(at - SECOND)["waiting_for"] == []
    answer = the_list(at + SECOND)
    assert prices(answer) == {row.pk: 20}
    [waits] = answer["waiting_for"]
    assert (waits["id"], waits["title"]) == (change.pk, "Five more")
    one = a_reader().get(f"/api/subscriptions/{row.pk}/", {"as_of": at.isoformat()}).json()
    assert one["waiting_for"] == answer["waiting_for"]

    printed = records("as_of", at.isoformat())
    assert [line["price"] for line in printed] == [20]
    said = io.StringIO()
    call_command("price_state", "as_of", at.isoformat(), stdout=io.StringIO(), stderr=said)
    assert f"Not, or not fully, in these figures: price change {change.pk} “Five more”" in (
        said.getvalue()
    )


def test_a_revert_of_a_revert_that_is_not_in_the_figures_is_named_too():
    row, at = a_subscription(service=a_service(20)), clock() + 10 * DAY
    change = applied(planned(kind="set", adjustment="add", operand="5"), "current")
    again = lifecycle.revert(reverted(change).pk, "carl")
    lifecycle.approve(again.pk, again.fingerprint, "bob", effective_at=at)
    assert the_list(at - SECOND)["waiting_for"] == []
    answer = the_list(at + SECOND)
    assert prices(answer) == {row.pk: 20}
    assert [waits["id"] for waits in answer["waiting_for"]] == [again.pk]


@pytest.mark.django_db(transaction=True)
def test_what_waits_is_no_longer_named_when_it_is_applied_and_an_etag_of_before_is_void():
    row, at = a_subscription(service=a_service(20)), clock()
    change = scheduled(at, "current", kind="set", adjustment="add", operand="5")
    asked = {"as_of": clock().isoformat()}
    before = a_reader().get("/api/subscriptions/", asked)
    assert [waits["id"] for waits in before.json()["waiting_for"]] == [change.pk]
    seen = {"If-None-Match": before["ETag"]}
    assert a_reader().get("/api/subscriptions/", asked, headers=seen).status_code == 304
    drained()
    after = a_reader().get("/api/subscriptions/", asked, headers=seen)
    assert after.status_code == 200
    assert (prices(after.json()), after.json()["waiting_for"]) == ({row.pk: 25}, [])


@pytest.mark.django_db(transaction=True)
def test_an_etag_of_the_future_is_void_when_something_is_scheduled():
    phone = a_service(20)
    a_subscription(service=phone)
    at = clock() + 10 * DAY
    asked = {"as_of": (at + SECOND).isoformat()}
    before = a_reader().get("/api/subscriptions/", asked)
    approved(planned(kind="list_price", service=phone.pk, new_value="24", effective_at=at))
    seen = {"If-None-Match": before["ETag"]}
    after = a_reader().get("/api/subscriptions/", asked, headers=seen)
    assert (after.status_code, set(prices(after.json()).values())) == (200, {24})


@pytest.mark.django_db(transaction=True)
def test_an_etag_of_the_future_is_void_when_a_set_is_scheduled_which_writes_nothing_of_the_book():
    a_subscription(service=a_service(20))
    at = clock() + 10 * DAY
    change = planned(kind="set", adjustment="add", operand="5", effective_at=at)
    asked = {"as_of": (at + SECOND).isoformat()}
    before = a_reader().get("/api/subscriptions/", asked)
    approved(change, "current")
    seen = {"If-None-Match": before["ETag"]}
    after = a_reader().get("/api/subscriptions/", asked, headers=seen)
    assert after.status_code == 200
    assert [waits["id"] for waits in after.json()["waiting_for"]] == [change.pk]
