"""Pages for everybody: for a screen reader, by the keyboard alone, in the reader's own colours."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from playwright.sync_api import expect

from desk.tests.looking import NARROW, WIDE, a_book_with_all, addresses
from price_changes.running import lifecycle
from price_changes.tests.changes import planned
from pricebook.tests.test_browser import browser_type_launch_args, visit
from services.models import Service
from services.repricing import chunks, reprice
from services.repricing.drain import start_due
from services.tests.factories import a_book

__all__ = ["browser_type_launch_args", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

TAG = re.compile(r"<([a-z0-9]+)((?:\s+[a-z-]+(?:=\"[^\"]*\")?)*)\s*>")
ATTRIBUTE = re.compile(r'([a-z-]+)(?:="([^"]*)")?')
TITLE = re.compile(r"<title>(.*?)</title>")
LIVE = {"status", "alert", "log"}  # the roles of live regions
# Forms, each with values that are wrong.
WRONG = {
    "log-in/": {"username": "ann", "password": "wrong"},
    "clients/new/": {"email": "none"},
    "clients/{client}/add/": {"started_at_0": "31.02.2026"},
    "subscriptions/{subscription}/negotiate/": {"price": "1,234"},
    "subscriptions/{subscription}/lock/": {"until_0": "2026-02-31"},
    "services/{service}/price/": {"value": "4,50 rubles"},
    "changes/new/list_price/": {"new_value": "1,234", "effective_at_1": "10:00"},
    "changes/new/set/?adjustment=percent": {"operand": "-101", "where_price_from": "x"},
    "changes/{planned}/reject/": {"reason": ""},
    "changes/brake/": {"does": "pull", "reason": ""},
    "files/upload/": {},
}


def tags(page: str) -> list[tuple[str, dict[str, str]]]:
    """The tags of a page, each with its attributes."""
    return [(name, dict(ATTRIBUTE.findall(attributes))) for name, attributes in TAG.findall(page)]


@pytest.mark.django_db(transaction=False)
def test_each_page_tells_a_screen_reader_what_it_is() -> None:
    book, titles = a_book_with_all(), []
    ann, stranger = Browser(), Browser()
    ann.force_login(User.objects.create_superuser("ann"))
    charts = 0
    for name, path in addresses(book):
        page = (stranger if name == "log_in" else ann).get(path, follow=True).content.decode()
        found = tags(page)
        titles += TITLE.findall(page)
        assert sum(tag == "h1" for tag, _ in found) == 1, path
        ids = [each["id"] for _, each in found if "id" in each]
        assert len(ids) == len(set(ids)), path
        for tag, each in found:
            if tag == "th":
                assert "scope" in each, (path, each)
            if tag == "canvas":
                # Its figures are the table's, which everybody reads.
                charts += 1
                assert each["data-table"] in ids, path
                assert '<div class="canvas" aria-hidden="true"><canvas' in page, path
            named = each.get("aria-labelledby", "") + " " + each.get("aria-describedby", "")
            assert set(named.split()) <= set(ids), (path, each)
    assert charts > 10
    assert len(titles) == len(set(titles)) == len(addresses(book))
    assert all(title.endswith(" · Pricebook") for title in titles)
    assert "Move: Phone, discount -10\xa0% · ООО Ромашка" in "\n".join(titles)


@pytest.mark.django_db(transaction=False)
def test_what_is_wrong_with_a_form_is_told_above_it_and_at_each_field() -> None:
    book = a_book_with_all()
    ann, stranger = Browser(), Browser()
    ann.force_login(User.objects.create_superuser("ann"))
    for path, values in WRONG.items():
        browser = stranger if path == "log-in/" else ann
        answer = browser.post("/desk/" + path.format(**book), values)
        page = answer.content.decode()
        assert answer.status_code in (200, 400), path
        assert TITLE.findall(page)[0].startswith("Error: "), path
        found = tags(page)
        ids = {each["id"]: each for _, each in found if "id" in each}
        [summary] = [each for _, each in found if "data-first" in each]
        assert (summary["role"], summary["tabindex"]) == ("alert", "-1"), path
        wrong = [each for _, each in found if each.get("aria-invalid") == "true"]
        leads = [each["href"][1:] for _, each in found if each.get("href", "").startswith("#id_")]
        assert len(leads) >= (0 if path == "log-in/" else 1), path
        for name in leads:
            assert ids[name].get("aria-invalid") == "true", (path, name)
        said = {each for each in ids if each.endswith("_error")}
        told = {name for _, each in found for name in each.get("aria-describedby", "").split()}
        assert said <= told <= set(ids), path
        assert wrong or path == "log-in/", path


def test_the_focus_goes_where_reading_goes_on(visit: Any) -> None:
    book = a_book_with_all()
    ann = visit(viewport={"width": NARROW, "height": 900}).log_in("ann")
    page = ann.open(f"/desk/services/{book['service']}/price/")
    page.get_by_label("New list price").fill("1,234")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("New list price")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("25")
    page.keyboard.press("Enter")
    page.locator("[name=_confirm]").press("Enter")
    expect(page.locator(".messages")).to_be_focused()
    assert Service.objects.get(pk=book["service"]).full_price == 25

    menu = page.locator(".menu summary")
    menu.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Home", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    expect(page.get_by_role("link", name="Home", exact=True)).to_be_hidden()


SAID = """() => {
    window.heard = []
    new MutationObserver(() => heard.push(document.querySelector(".announced").textContent))
        .observe(document.querySelector(".announced"), {childList: true})
}"""


@pytest.mark.usefixtures("by_chunks")
def test_a_change_that_runs_is_announced_once_for_each_state(visit: Any, monkeypatch: Any) -> None:
    a_book(60, services=1, plans=1)
    monkeypatch.setattr(chunks, "CHUNK", 20)
    change = planned(kind="set", adjustment="percent", operand=10)
    lifecycle.approve(change.pk, change.fingerprint, "ann", "hold")
    page = visit().log_in("ann").open(f"/desk/changes/{change.pk}/")
    live = page.locator("[data-live]")
    expect(live.first).to_contain_text("Scheduled")
    assert live.locator("[role=status], [role=alert], [aria-live]").count() == 0
    page.evaluate(SAID)
    clone = page.get_by_role("link", name="Plan one like it")
    clone.focus()
    start_due()
    home = visit().log_in("bob").open("/")
    home.evaluate(SAID)
    done, before = page.get_by_text("of 60 rows done"), "0 of 60 rows done"
    for _each in range(2):
        chunks.take_chunk("price", set())
        expect(done).not_to_have_text(before)
        before = done.inner_text()
        expect(home.get_by_text(before.partition(" ·")[0])).to_be_visible()
    expect(clone).to_be_focused()
    page.get_by_role("link", name="Pause").focus()
    reprice()
    expect(page.get_by_role("main")).to_be_focused()
    assert page.evaluate("heard") == ["Applying", "Applied"]
    none = "Nothing is being repriced: every change whose time has come has been applied."
    expect(home.get_by_text(none).first).to_be_visible()
    assert home.evaluate("heard") == [none]


STYLE = """(selector) => {
    const {borderTopStyle, borderTopWidth, borderBottomColor} = getComputedStyle(
        document.querySelector(selector))
    return [borderTopStyle, borderTopWidth, borderBottomColor]
}"""
FOCUS = """() => {
    const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement)
    return [document.activeElement.textContent.trim(), `${outlineWidth} ${outlineStyle}`]
}"""
VERBS = {
    "subscriptions/{subscription}/": {"Move", "Lock", "Negotiate", "Correct", "End"},
    "services/{service}/": {"Change the list price", "Plan a price change", "Edit"},
    "changes/{planned}/": {"Approve", "Reject", "Cancel the change", "Plan one like it"},
    "changes/{planned}/approve/": {"Approve", "Leave it as it is"},
    "changes/brake/": {"Pull the brake"},
    "files/": {"Look at it", "Exports"},
}


def test_each_verb_is_reached_and_told_apart_without_a_mouse_or_colours(visit: Any) -> None:
    """In the reader's own colours, where grounds are gone, edges say what they have said."""
    book = a_book_with_all()
    ann = visit(viewport={"width": WIDE, "height": 900}, forced_colors="active").log_in("ann")
    for path, verbs in VERBS.items():
        page = ann.open("/desk/" + path.format(**book))
        page.get_by_role("main").focus()
        reached: dict[str, str] = {}
        for _each in range(40):
            page.keyboard.press("Tab")
            text, outline = page.evaluate(FOCUS)
            if text in reached and verbs <= set(reached):
                break
            reached[text] = outline
        assert verbs <= set(reached), path
        assert {reached[each] for each in verbs} == {"3px solid"}, path

    def style(selector: str) -> list[str]:
        return page.evaluate(STYLE, selector)

    assert style(".menu [aria-current]")[:2] == ["solid", "1px"]
    assert style(".menu a:not([aria-current])")[0] == "none"
    page = ann.open("/desk/changes/")
    assert style(".badge.warn")[0] == "dashed"
    page = ann.open("/desk/changes/new/set/?adjustment=percent")
    assert style(".tabs [aria-current]")[2] != style(".tabs a:not([aria-current])")[2]
    page = ann.open("/desk/subscriptions/?price_from=x")
    assert style(".note.error")[0] == "double"
    ann.faults.clear()  # the browser notes a 400
