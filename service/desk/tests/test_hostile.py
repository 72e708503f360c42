"""No address and no form of the desk fails, whatever it is sent."""

from __future__ import annotations

import logging
from itertools import cycle
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from django.urls import reverse

from clients.models import Client
from desk.tests.test_rights import PAGES, Page, address, story  # noqa: F401 - a fixture
from price_changes.models import PriceChange
from services.reading.filters import FILTERS

pytestmark = pytest.mark.django_db

HUGE = 2**70
VALUES = (
    "\0", str(HUGE), "0" * 5_000, "9" * 5_000, "-1", "0", "\u0663", "NaN", "1e999",
    "0000-01-01", "2026-02-30", "10000-01-01", "9999-12-31T23:59:59+14:00", "\ud7ff\u202e",
    "<script>alert(1)</script>\"'", "//evil.example/", "[", "x" * 100_000, "service:" + "9" * 40,
)  # fmt: skip
LISTS = [*FILTERS, "ordering", "cursor", "page_size"]
SETS = [f"where_{name}" for name in FILTERS]
PLAN = [
    "service", "plan", "new_value", "operand", "adjustment", "title", "reason", "comment",
    "effective_at", "effective_at_0", "effective_at_1", "time_zone", "locked_until",
    "locked_until_0", "whole_book", "floor", "rounding_step", "count", *SETS,
]  # fmt: skip
INSTANTS = ["from", "to", "by", "kind", "change", "after", "service", "plan", "client"]
ASKED = {
    "home": ["by"],
    "search": ["q", "part"],
    **dict.fromkeys(("subscriptions", "clients", "services", "plans"), LISTS),
    "client": ["active", "ended", "history", "back"],
    "subscription": ["before", "back"],
    "service": ["count", "back"],
    "changes": ["state", "about", "since", "until", "q", "after"],
    "change": ["planned", "back"],
    "change_clients": ["q"],
    "change_rows": ["only", "after", "client"],
    "plan_change": PLAN,
    "change_count": PLAN,
    "export": ["format", "number", "state", "service", "plan", "started_from", "started_to"],
    "imports": ["kind", "before", "after"],
    "import": ["outcome", "after", "before"],
    "then": ["at", "subscription", "cursor", "service", "plan", "client"],
    "bridge": INSTANTS,
    "bridge_rows": INSTANTS,
    "evidence": ["month"],
    "evidence_file": ["month"],
    "log_in": ["next"],
}
OF_QUESTION = ["_confirm", "_token", "_seen", "_back"]
SENT = {
    "log_in": ["username", "password", "next"],
    "language": ["language", "next"],
    "brake": ["does", "reason"],
    "plan_change": PLAN,
    "change_verb": ["seen", "fingerprint", "reason", "when_moved", "effective_at_0", "then"],
    "upload": ["like", "kind", "mapping", "sheet", "encoding", "decimal", "dates"],
    "forget_mapping": ["name"],
    "do_import": ["do", "name", "column-0"],
    "change_list_price": ["value", *OF_QUESTION],
    "change_discount": ["value", *OF_QUESTION],
    "subscription_verb": [
        "price", "reason", "until_0", "until_1", "ended_at_0", "since_0", "service", "plan",
        *OF_QUESTION,
    ],
    "add_subscription": ["service", "plan", "started_at_0", "price", "comment", *OF_QUESTION],
    "add_client": ["company_name", "email", "source", "external_id"],
    "edit_client": ["company_name", "email", "source", "external_id"],
    "edit_subscription": ["comment", "source", "external_id"],
    "add_service": ["name", "full_price", "source", "external_id"],
    "add_plan": ["plan_type", "discount_percent"],
    "edit_service": ["name", "source", "external_id"],
    "edit_plan": ["plan_type", "source"],
}  # fmt: skip


@pytest.fixture
def root(caplog: Any) -> Browser:
    caplog.set_level(logging.CRITICAL, "django.request")
    browser = Browser(raise_request_exception=False)
    browser.force_login(User.objects.create_superuser("ann"))
    return browser


def told(answer: Any, *what: Any) -> list[str]:
    """The faults of an answer: a failure, or a way to another site."""
    said = [str(each)[:60] for each in what]
    if answer.status_code >= 500:
        return [f"{answer.status_code} {said} {answer.exc_info[1] if answer.exc_info else ''}"]
    content = b"".join(answer) if answer.streaming else answer.content
    to = answer.get("Location", "")
    if to.startswith("//") or b'href="//evil' in content or b"<script>alert" in content:
        return [f"leads away: {said}"]
    return []


def pages() -> list[Page]:
    return list({page.name: page for page in PAGES}.values())


def test_no_query_fails(root, story):  # noqa: F811
    wrong, values = [], cycle(VALUES)
    for page in pages():
        path, names = address(page, story).partition("?")[0], ASKED.get(page.name, ["x"])
        for name, value in zip(names, values, strict=False):
            wrong += told(root.get(path, {name: value}), page.name, name, value)
        wrong += told(root.get(path, {name: ["1", "2"] for name in names}), page.name, "twice")
        wrong += told(root.put(path), page.name, "PUT")
        wrong += told(root.post(path, HTTP_REFERER="http://testserver//evil.example/"), page.name)
    assert not wrong, "\n".join(wrong)


def test_no_number_in_a_path_fails(root, story):  # noqa: F811
    wrong = []
    for page in pages():
        if page.args:
            path = reverse(f"desk:{page.name}", args=[HUGE if each in story else each
                                                      for each in page.args])  # fmt: skip
            wrong += told(root.get(path), page.name) + told(root.post(path), page.name, "POST")
    assert not wrong, "\n".join(wrong)


def test_no_form_fails(root, story):  # noqa: F811
    wrong, values = [], cycle(VALUES)
    for page in [each for each in pages() if each.name in SENT]:
        path, names = address(page, story).partition("?")[0], SENT[page.name]
        good = {name: value.format(**story) for name, value in page.posted.items()}
        for name, value in zip(names, values, strict=False):
            sent: dict[str, Any] = {**good, name: value}
            if page.name == "upload":
                sent["file"] = SimpleUploadedFile("x\0<b>.xlsx", value.encode()[:1000])
            wrong += told(root.post(path, sent), page.name, page.args, name, value)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("place", ["0" * 5_000, "0" * 25 + "9" * 25])
def test_a_long_number_is_none(root, story, place):  # noqa: F811
    """Python reads no number of so many digits, and the database none that is so large."""
    for name, args, asked in (
        ("changes", (), "after"),
        ("changes", (), "about"),
        ("imports", (), "before"),
        ("import", ("job",), "after"),
        ("plan_change", ("set",), "where_client"),
        ("change_count", ("set",), "where_client"),
    ):
        path = reverse(f"desk:{name}", args=[story.get(each, each) for each in args])
        value = f"service:{place}" if asked == "about" else place
        assert not told(root.get(path, {asked: value}), name, asked)
    path = reverse("desk:upload")
    file = SimpleUploadedFile("x.csv", b"x")
    assert not told(root.post(path, {"file": file, "like": place}), "upload")


def test_a_list_is_taken_out_and_nothing_brought_in(root):
    """The API makes a client at the address that lists them."""
    path = reverse("desk:export", args=["clients"])
    answer = root.post(path, {"company_name": "New"}, content_type="application/json")
    assert answer.status_code == 405


@pytest.mark.parametrize(
    ("name", "args", "given", "table"),
    [
        ("add_client", (), {"company_name": "New"}, Client),
        ("plan_change", ("list_price",), {"service": "{service}", "new_value": "7"}, PriceChange),
    ],
)
def test_two_clicks_make_one(root, story, name, args, given, table):  # noqa: F811
    path, before = reverse(f"desk:{name}", args=args), table.objects.count()
    token = root.get(path).context["token"]
    sent = {each: value.format(**story) for each, value in given.items()} | {"_token": token}
    first, second = root.post(path, sent), root.post(path, sent)
    assert first["Location"] == second["Location"]
    assert table.objects.count() == before + 1
    other = "company_name" if name == "add_client" else "new_value"
    third = root.post(path, sent | {other: "9"}, follow=True)
    assert "with other values" in third.content.decode()
    assert table.objects.count() == before + 1
