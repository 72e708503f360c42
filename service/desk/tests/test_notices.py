"""The page of the clients who are to be told of a price change: a list to work off."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from django.urls import reverse
from openpyxl import load_workbook

from price_changes.models import Told
from price_changes.notices import standing, to_tell
from price_changes.tests.changes import planned
from price_changes.tests.test_notices import Book
from services.tests.factories import a_client, a_subscription

pytestmark = pytest.mark.django_db


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def browser() -> Browser:
    browser = Browser()
    browser.force_login(User.objects.create_superuser("dora"))
    return browser


def asked(browser, name, change, **posted):
    url = reverse(f"desk:{name}", args=[change.pk])
    answer = browser.post(url, posted, follow=True) if posted else browser.get(url, follow=True)
    return answer.status_code, answer.content.decode()


def marked(browser, change, **posted):
    return asked(browser, "mark_told", change, **posted)


def test_the_list_says_what_each_client_pays_then(book, browser, django_assert_max_num_queries):
    change = book.rises()
    to_tell(change)
    with django_assert_max_num_queries(14):
        status, page = asked(browser, "notices", change)
    assert status == 200
    for text in ("Ann", book.bob.user.email, "40.00", "48.00", "+8.00", "Not told"):
        assert text in page, text
    assert "Cat" not in page


def test_ticked_ones_and_the_rest_are_marked(book, browser):
    change = book.rises()
    day = {"told_on": book.today.isoformat()}
    _status, page = marked(
        browser, change, does="ticked", client=[book.ann.pk], note="letter", **day
    )
    assert "Marked 1 client as told." in page
    assert "by hand: letter" in page
    _status, page = marked(browser, change, does="all", seen="2", **day)
    assert "1 client is not told by now" in page, "the page had shown two"
    _status, page = marked(browser, change, does="all", seen="1", **day)
    assert "Marked 1 client as told. All have been told." in page
    _status, page = marked(
        browser, change, does="ticked", client=[book.ann.pk], note="letter", **day
    )
    assert "1 client stood so already." in page
    _status, page = marked(browser, change, does="untold", client=[book.ann.pk], note="came back")
    assert "not after all" in page
    assert [(each.client_id, each.told_on, each.note) for each in Told.objects.order_by("pk")] == [
        (book.ann.pk, book.today, "letter"),
        (book.bob.pk, book.today, ""),
        (book.ann.pk, None, "came back"),
    ]


@pytest.mark.parametrize(
    ("posted", "says"),
    [
        ({"does": "ticked", "told_on": "2026-01-05"}, "tick the clients first"),
        ({"does": "ticked", "told_on": "2026-01-05", "client": ["x"]}, "tick the clients first"),
        ({"does": "ticked", "told_on": "2026-01-05", "client": ["9" * 30]}, "Nothing was done"),
        ({"does": "ticked", "told_on": "2026-01-05", "client": ["987654"]}, "moves no price of"),
        ({"does": "ticked", "told_on": "", "client": ["{ann}"]}, "Give the day on which"),
        ({"does": "ticked", "told_on": "2026-02-30", "client": ["{ann}"]}, "Enter a valid date"),
        ({"does": "ticked", "told_on": "2999-01-05", "client": ["{ann}"]}, "up to today"),
        ({"does": "ticked", "told_on": "2026-01-05", "client": ["{ann}"], "note": 201 * "x"},
         "200"),
        ({"does": "burn", "told_on": "2026-01-05", "client": ["{ann}"]}, "by a button"),
        ({"does": "all", "told_on": "2026-01-05"}, "are not told by now"),
    ],
)  # fmt: skip
def test_a_mark_that_can_not_be_made_says_why(book, browser, posted, says):
    change = book.rises()
    if "client" in posted:
        posted = {**posted, "client": [each.format(ann=book.ann.pk) for each in posted["client"]]}
    status, page = marked(browser, change, **posted)
    assert status == 200
    assert says in page
    assert not Told.objects.exists()


@pytest.mark.parametrize(("language", "told_on"), [("en", "told_on"), ("ru", "День извещения")])
def test_the_list_goes_out_and_comes_back(book, browser, language, told_on):
    change = book.rises()
    url = reverse("desk:notices_file", args=[change.pk]) + "?format=xlsx"
    out = browser.get(url, headers={"Accept-Language": language})
    filled = load_workbook(io.BytesIO(b"".join(out)))
    sheet = filled.worksheets[0]
    names = [cell.value for cell in sheet[1]]
    for row in sheet.iter_rows(min_row=2, max_row=3):
        row[names.index(told_on)].value = book.today
    file = io.BytesIO()
    filled.save(file)
    uploaded = SimpleUploadedFile("told.xlsx", file.getvalue())
    _status, page = asked(browser, "upload_told", change, file=uploaded)
    assert "Marked 2 clients as told. All have been told." in page
    assert "by a file" in page
    assert standing(change).all_told


def test_a_page_of_before_an_approval_anew_marks_nobody(book, browser):
    change = book.rises()
    marks = {"does": "ticked", "client": [book.ann.pk], "told_on": book.today.isoformat()}
    for told_of in ((change.effective_at - timedelta(days=1)).isoformat(), "soon"):
        _status, page = marked(browser, change, told_of=told_of, **marks)
        assert "Nothing was done" in page
    assert not Told.objects.exists()
    assert f'name="told_of" value="{change.effective_at.isoformat()}"' in page
    _status, page = marked(browser, change, told_of=change.effective_at.isoformat(), **marks)
    assert "Marked 1 client as told." in page


def test_the_place_in_the_list_and_the_ticks_stay(book, browser):
    change = book.rises()
    here = reverse("desk:mark_told", args=[change.pk]) + "?list=told&client=Ann"
    told = {"does": "ticked", "client": [book.ann.pk], "told_on": book.today.isoformat()}
    answer = browser.post(here, told)
    assert answer["Location"].endswith("/notices/?list=told&client=Ann")
    page = browser.post(here, told | {"told_on": ""}).content.decode()
    assert f'value="{book.ann.pk}" checked' in page


def test_a_wrong_file_marks_nobody_and_names_each_place(book, browser):
    change = book.rises()
    text = (
        f"client,told_on\n{book.ann.pk},2026-01-05\n{book.cat.pk},2026-01-05\n{book.bob.pk},soon\n"
    )
    for name, content, says in (
        ("told.csv", text, ("line 4", "told_on", "is not a d")),
        ("told.csv", text.replace("soon", "2026-01-05"), ("line 3", "no client whose price")),
        ("told.csv", "client,told_on\n", ("no line of told.csv has a day",)),
        ("told.csv", "", ("empty",)),
    ):
        status, page = asked(
            browser, "upload_told", change, file=SimpleUploadedFile(name, content.encode())
        )
        assert status in (200, 400)
        for each in says:
            assert each in page
    assert not Told.objects.exists()


def test_a_change_without_a_list_says_so(book, browser):
    at = book.timeline.now + timedelta(days=3)
    change = planned(kind="list_price", service=book.phone.pk, new_value=24, effective_at=at)
    _status, page = asked(browser, "notices", change)
    assert "there is no list of them" in page
    _status, page = marked(
        browser, change, does="ticked", client=[book.ann.pk], told_on=book.today.isoformat()
    )
    assert "Nothing was done" in page


def test_pages_and_lists_of_the_list(book, browser, monkeypatch):
    monkeypatch.setattr("desk.notices.page.PAGE", 2)
    for name in ("Dan", "Eve", "Fred"):
        a_subscription(service=book.phone, client=a_client(name))
    change = book.rises()
    url = reverse("desk:notices", args=[change.pk])
    first = browser.get(url).content.decode()
    assert "Ann" in first
    assert "Dan" not in first
    last = list(to_tell(change))[1].client_id
    assert f"after={last}" in first
    assert "Dan" in browser.get(f"{url}?after={last}").content.decode()
    found = browser.get(f"{url}?client=Eve").content.decode()
    assert "Eve" in found
    assert "Dan" not in found
    assert "There is no list of clients “gone”" in browser.get(f"{url}?list=gone").content.decode()
