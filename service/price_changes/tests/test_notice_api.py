"""The notices of a price change over the API."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from price_changes.models import Told
from price_changes.notices import standing
from price_changes.tests.changes import planned
from price_changes.tests.test_notices import Book
from pricebook.kit.idempotency import HEADER

pytestmark = pytest.mark.django_db


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def ann() -> APIClient:
    client = APIClient()
    client.force_login(User.objects.create_superuser("ann"))
    return client


def url(change):
    return f"/api/price-changes/{change.pk}/notices/"


def test_lists_whom_to_tell_page_by_page(ann, book):
    change = book.rises()
    first = ann.get(url(change), {"page_size": 1}).json()
    assert first["standing"] == {
        "total": 2, "told_in_time": 0, "told_late": 0, "not_told": 2, "by": None, "all_told": False,
    }  # fmt: skip
    (row,) = first["result"]
    assert (row["client"], row["client_name"], row["rows"]) == (book.ann.pk, "Ann", 2)
    assert (row["old_total"], row["new_total"], row["told_on"]) == (40.0, 48.0, None)
    second = ann.get(first["next"]).json()
    assert [each["client"] for each in second["result"]] == [book.bob.pk]
    assert second["next"] is None


def test_marks_are_all_recorded_or_none(ann, book):
    change = book.rises()
    day = book.today.isoformat()
    told = [{"client": book.ann.pk, "told_on": day}, {"client": book.cat.pk, "told_on": day}]
    refused = ann.post(url(change), {"told": told}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (400, "not_to_be_told")
    assert not Told.objects.exists()
    told = [
        {"client": book.ann.pk, "told_on": day, "note": "4711"},
        {"client": book.bob.pk, "told_on": day},
    ]
    answer = ann.post(url(change), {"told": told, "way": "file"}, format="json").json()
    assert (answer["recorded"], answer["standing"]["all_told"]) == (2, True)
    shown = ann.get(url(change), {"told": "told"}).json()["result"]
    assert [(each["told_on"], each["way"], each["note"]) for each in shown] == [
        (day, "file", "4711"), (day, "file", ""),
    ]  # fmt: skip
    ann.post(url(change), {"told": [{"client": book.ann.pk, "told_on": None}]}, format="json")
    assert standing(change).not_told == 1


def test_a_repeated_request_marks_once(ann, book):
    change = book.rises()
    told = {"told": [{"client": book.ann.pk, "told_on": book.today.isoformat()}]}
    key = {HEADER: "marks-1"}
    answers = [ann.post(url(change), told, format="json", headers=key).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["recorded"] == 1
    assert Told.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing"),
        ({"told": []}, "missing"),
        ({"told": "all"}, "missing"),
        ({"told": [7]}, "bad_value"),
        ({"told": [{"client": 1}]}, "bad_value"),
        ({"told": [{"client": "one", "told_on": None}]}, "bad_id"),
        ({"told": [{"client": True, "told_on": None}]}, "bad_id"),
        ({"told": [{"client": 10**30, "told_on": None}]}, "bad_id"),
        ({"told": [{"client": 1, "told_on": "tomorrow"}]}, "bad_value"),
        ({"told": [{"client": 1, "told_on": 20260105}]}, "bad_value"),
        ({"told": [{"client": 1, "told_on": "2026-02-30"}]}, "bad_value"),
        ({"told": [{"client": 1, "told_on": None, "note": 7}]}, "bad_value"),
        ({"told": [{"client": 1, "told_on": None, "note": "a\x00b"}]}, "bad_text"),
        ({"told": [{"client": 1, "told_on": None, "day": "x"}]}, "bad_value"),
        ({"told": [{"client": 1, "told_on": None}], "way": "pigeon"}, "bad_value"),
        ({"told": [{"client": 1, "told_on": None}], "all": True}, "unknown_field"),
        ({"told": [{"client": 1, "told_on": None}], "effective_at": "soon"}, "not_an_instant"),
        ({"told": [{"client": 1, "told_on": None}], "effective_at": [1]}, "not_an_instant"),
    ],
)
def test_a_body_that_says_something_else_is_refused(ann, book, body, code):
    change = book.rises()
    answer = ann.post(url(change), body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.json()
    assert not Told.objects.exists()


def test_one_that_is_only_planned_has_no_list(ann, book):
    at = book.timeline.now.replace(year=book.timeline.now.year + 1)
    change = planned(kind="list_price", service=book.phone.pk, new_value=24, effective_at=at)
    told = {"told": [{"client": book.ann.pk, "told_on": book.today.isoformat()}]}
    for answer in (ann.get(url(change)), ann.post(url(change), told, format="json")):
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert ann.get(url(change), {"told": "maybe"}).json()["code"] == "bad_parameter"
    assert ann.get("/api/price-changes/987654/notices/").status_code == 404


def test_goes_out_as_a_sheet(ann, book):
    change = book.rises()
    answer = ann.get(url(change), {"format": "excel-csv", "locale": "de"})
    assert answer["Row-Count"] == "2"
    assert answer["Column-Sums"] == "old_total=60.00, new_total=72.00"
    assert "Bob;" in b"".join(answer).decode("utf-8-sig")
