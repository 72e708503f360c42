"""The bridge over the API: steps by name, by service and client, and the rows behind a step."""

from decimal import Decimal
from io import BytesIO

import pytest
from openpyxl import load_workbook

from keys.tests.asking import with_key
from keys.tests.making import a_key
from price_changes.tests.api import a_program
from price_changes.tests.changes import SECOND, approved, clock, drained, planned, reverted
from services import price_state
from services.models import Correction
from services.tests.factories import a_client, a_plan, a_service, a_subscription

pytestmark = pytest.mark.django_db
BRIDGE, ROWS = "/api/totals/bridge/", "/api/totals/bridge/rows/"


@pytest.fixture
def story():
    """A book in which each kind of step has happened once; the instants before and after."""
    ann, phone, paper = a_client(company_name="Ann"), a_service(20), a_service(7)
    follows = a_subscription(ann, phone)
    ends, deal, moves, locked = (a_subscription(service=phone) for _ in range(4))
    since = clock()
    change = planned(
        kind="list_price", service=phone.pk, new_value="24", title="Spring", effective_at=None
    )
    approved(change)
    drained()
    phone.refresh_from_db()
    phone.full_price = 25
    phone.save()
    drained()
    price_state.negotiate(deal.pk, Decimal(11), "deal", "ann")
    price_state.lock(locked.pk, clock() + 3600 * SECOND, "asked", "ann")
    moves.service = paper
    moves.save()
    a_subscription(ann, paper, a_plan(50))
    type(ends).objects.filter(pk=ends.pk).update(ended_at=clock())
    drained()
    return {"since": since, "change": change, "phone": phone, "follows": follows, "ann": ann}


def asked(story, path=BRIDGE, program=None, **given):
    given = {"from": story["since"].isoformat(), **given}
    return (program or a_program()).get(path, given)


def steps(told):
    return {
        (each["kind"], (each["change"] or {}).get("title")): float(each["amount"])
        for each in told["steps"]
    }


def test_names_each_step_and_adds_up_to_the_cent(story):
    told = asked(story, by="service").json()
    assert (told["total_from"], told["count_from"]) == (100, 5)
    assert steps(told) == {
        ("started", None): 3.5,
        ("ended", None): -25,
        ("moved", None): -18,
        ("change", "Spring"): 20,
        ("change", ""): 5,
        ("negotiated", None): -14,
    }
    assert told["total_to"] == told["total_from"] + sum(steps(told).values()) == 71.5
    edit = next(
        each["change"] for each in told["steps"] if each["change"] and each["change"]["edit"]
    )
    assert "24.00 → 25.00" in edit["says"]
    for group in told["result"]:
        assert group["total_to"] == group["total_from"] + sum(steps(group).values())
    [of_client] = asked(story, by="client", client=story["ann"].pk).json()["result"]
    assert of_client["name"] == "Ann"
    assert steps(of_client) == {("started", None): 3.5, ("change", "Spring"): 4, ("change", ""): 1}


def test_says_what_is_scheduled_and_who_is_behind_a_step(story):
    later = clock() + 7200 * SECOND
    next_one = planned(
        kind="list_price", service=story["phone"].pk, new_value="30", effective_at=later - SECOND
    )
    approved(next_one)
    told = asked(story, to=later.isoformat()).json()
    assert [each["rows"] for each in told["steps"] if each["change_id"] == next_one.pk] == [2]
    of_step = {"kind": "change", "change": story["change"].pk}
    first = asked(story, ROWS, **of_step, page_size=3).json()
    rows = first["result"] + a_program().get(first["next"]).json()["result"]
    assert len(rows) == 5
    assert {row["amount"] for row in rows} == {4}
    sheet = asked(story, ROWS, format="xlsx", kind="moved")
    book = load_workbook(BytesIO(b"".join(sheet.streaming_content)))
    assert [cell.value for cell in book.worksheets[0]["E"]] == ["amount", -18]
    assert asked(story, format="excel-csv", locale="ru").status_code == 200


def test_what_took_a_change_back_is_named():
    since, phone = clock(), a_service(20)
    a_subscription(service=phone, started_at=since - SECOND)
    change = planned(kind="list_price", service=phone.pk, new_value="24", effective_at=None)
    approved(change)
    drained()
    back = reverted(change)
    told = asked({"since": since}).json()["steps"]
    found = {
        each["change_id"]: (float(each["amount"]), each["change"]["takes_back"]) for each in told
    }
    assert found == {change.pk: (4, None), back.pk: (-4, change.pk)}


def test_one_that_is_opened_again_has_not_started():
    since, phone = clock(), a_service(20)
    one = a_subscription(service=phone, started_at=since - SECOND)
    for end in (clock(), None):
        type(one).objects.filter(pk=one.pk).update(ended_at=end)
    told = asked({"since": since}).json()
    assert steps(told) == {("restarted", None): 20, ("ended", None): -20}


def test_the_end_of_a_lock_is_a_step_of_its_own():
    phone = a_service(20)
    one = a_subscription(service=phone)
    price_state.lock(one.pk, clock() + 3600 * SECOND, "promised", "ann")
    phone.full_price = 25
    phone.save()
    told = asked({"since": clock()}, to=(clock() + 7200 * SECOND).isoformat()).json()
    assert steps(told) == {("lock_ended", None): 5}


def test_a_correction_is_a_step_of_its_own(story):
    Correction.objects.create(
        subscription_id=story["follows"].pk,
        since=story["since"] - SECOND,
        until=clock(),
        price=1,
        reason="wrong",
        author="ann",
    )
    told = asked(story).json()
    assert steps(told)["corrected", None] == 24
    assert told["total_from"] == 81


def test_bad_input_is_named():
    for given, code in [
        ({"from": ""}, "bad_instant"),
        ({"from": "2027-01-01T00:00:00"}, "instant_without_zone"),
        ({"to": "1999-01-01T00:00Z"}, "not_after_from"),
        ({"by": "colour"}, "bad_parameter"),
        ({"state": "active"}, "unknown_parameter"),
        ({"client": "x"}, "bad_parameter"),
    ]:
        answer = asked({"since": clock()}, **given)
        assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_shows_only_what_the_caller_may_see(story):
    _, key = a_key("sums", "totals:read")
    told = with_key(key).get(BRIDGE, {"from": story["since"].isoformat(), "by": "client"}).json()
    assert {each["change"] for each in told["steps"]} == {None}
    assert {each["name"] for each in told["result"]} == {None}
