"""A day at the desk in a real browser: an operator, an approver and a reader; and every page."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import translation
from django.utils.translation import gettext
from playwright.sync_api import Page, expect

from desk.tests.looking import (
    NARROW,
    NOT_PAGES,
    PAGES,
    WIDE,
    a_book_with_all,
    addresses,
    looked_at,
    name_of,
    pages_named,
)
from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.running.lifecycle import preview
from pricebook.kit.access import author
from pricebook.kit.scopes import APPROVE, PLAN, READ_SCOPES, SET_PRICE_STATE, permissions_of
from pricebook.tests.test_browser import Visit, browser_type_launch_args, visit
from services.models import Subscription
from services.repricing import reprice

__all__ = ["browser_type_launch_args", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

TALL = 900
READS = permissions_of(READ_SCOPES)


def ru(text: str) -> str:
    with translation.override("ru"):
        return gettext(text)


def may(visit: Visit, name: str, *permissions: str) -> Visit:
    """Somebody of the staff who has these permissions alone."""
    visit.log_in(name)
    user = User.objects.get(username=name)
    user.is_superuser = False
    user.save()
    codes = [each.partition(".")[2] for each in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    return visit


class Looked:
    """Each kind of page is looked over once, when somebody comes to it first."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def at(self, page: Page) -> None:
        name = name_of(page)
        assert name not in self.names, f"{page.url} is looked over already"
        self.names.append(name)
        looked_at(page, f"{len(self.names):02} {name}")


def test_the_day_of_an_operator_an_approver_and_a_reader(visit: Any, settings: Any) -> None:
    """Each page of the desk once, by two languages, two widths and two themes in turn."""
    book, looked = a_book_with_all(), Looked()
    settings.APPROVAL_BY_ANOTHER = True
    wide = {"locale": "en-US", "viewport": {"width": WIDE, "height": TALL}}
    narrow = {
        "locale": "ru-RU", "viewport": {"width": NARROW, "height": TALL}, "color_scheme": "dark",
    }  # fmt: skip

    stranger = visit(**narrow)
    looked_at(stranger.open("/"), "00 stranger")
    looked.at(stranger.open("/desk/log-in/?next=/"))

    # An operator finds a client, looks why they pay what they pay, and plans a change of a set.
    ann = may(visit(**wide), "ann", *READS, PLAN, SET_PRICE_STATE)
    page = ann.open("/")
    looked.at(page)
    page.keyboard.press("Control+k")
    page.keyboard.type("ромашко")
    expect(page.get_by_role("option", name="ООО Ромашка")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url("**/desk/search/?q=*")
    looked.at(page)
    page.get_by_role("link", name="ООО Ромашка").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("ООО Ромашка")
    looked.at(page)
    page.get_by_role("row", name="Phone").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Phone")
    expect(page.get_by_role("main")).to_contain_text("21.60 USD")
    looked.at(page)
    page.get_by_role("link", name="Price changes").click()
    looked.at(page)
    page.get_by_role("link", name="Plan a price change").click()
    looked.at(page)
    page.get_by_role("link", name="Per cent").click()
    page.get_by_label("Service", exact=True).select_option(label="Phone")
    page.get_by_label("Plus or minus per cent").fill("2,5")
    page.get_by_label("Title").fill("Raise of Phone")
    expect(page.locator("#counted")).to_contain_text("1 subscription pays 21.60 USD now.")
    looked.at(page)
    page.get_by_role("button", name="Plan and preview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Raise of Phone")
    looked.at(page)
    raising = PriceChange.objects.latest("pk")
    values = {"kind": "set", "filter": {}, "adjustment": "add", "operand": "1", "title": "Wrong"}
    wrong = preview(definition.plan(values, author(User.objects.get(username="ann"))).pk)

    # An approver has it in the inbox, approves what the preview shows, and rejects another.
    bob = may(visit(**narrow), "bob", *READS, APPROVE)
    page = bob.open("/")
    expect(page.get_by_text(ru("for you"))).to_have_count(3)
    page.locator(".inbox").get_by_role("link", name="Raise of Phone").click()
    page.get_by_role("link", name=ru("Approve"), exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("22,14 $")
    looked.at(page)
    page.get_by_role("button", name=ru("Approve"), exact=True).click()
    expect(page.locator("#change-state")).to_be_visible()
    reprice()
    raising.refresh_from_db()
    assert raising.status == "applied"
    page = bob.open("/")
    page.locator(".inbox").get_by_role("link", name="Wrong").click()
    page.get_by_role("link", name=ru("Reject"), exact=True).click()
    page.get_by_role("textbox").last.fill("Не этим летом")
    page.get_by_role("button", name=ru("Reject"), exact=True).click()
    expect(page.locator("#change-state")).to_contain_text("Не этим летом")
    wrong.refresh_from_db()
    assert wrong.status == "cancelled"

    # A reader looks, takes a file, and may not move a price.
    eve = may(visit(**wide | {"color_scheme": "dark"}), "eve", *READS)
    page = eve.open("/")
    page.get_by_role("link", name="Import and export").click()
    page.get_by_role("link", name="Exports").click()
    looked.at(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Workbook (.xlsx)").first.click()
    assert download.value.suggested_filename.endswith(".xlsx")
    page = eve.open(f"/desk/subscriptions/{book['subscription']}/")
    expect(page.get_by_role("main").get_by_role("link", name="Lock")).to_have_count(0)
    before = Subscription.objects.values().get(pk=book["subscription"])
    page = eve.open(f"/desk/subscriptions/{book['subscription']}/lock/")
    expect(page.locator(".messages")).to_contain_text("set_price_state")
    page = eve.open("/desk/changes/new/")
    expect(page.get_by_role("heading", level=1)).to_have_text("You may not see this")
    looked_at(page, "403")
    assert "403" in eve.faults.pop()
    assert Subscription.objects.values().get(pk=book["subscription"]) == before

    # And the pages that nobody came to, by one who may do all.
    people = [visit(**each).log_in(name) for name, each in (("carl", wide), ("cleo", narrow))]
    seen: set[str] = set()
    for name, path in addresses(book):
        if name not in looked.names and name not in seen:
            seen.add(name)
            page = people[len(seen) % 2].open(path)
            assert name_of(page) == name
            looked_at(page, f"{len(seen):02} rest {name}")
    assert seen | set(looked.names) == set(PAGES)


FOCUS = """() => {
    const {x, y, height} = document.activeElement.getBoundingClientRect()
    const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement)
    return [Math.round((y + height / 2) / 30), Math.round(x), outlineStyle, outlineWidth]
}"""
# A key of a Russian keyboard, which is labelled K too.
RUSSIAN_K = """document.body.dispatchEvent(new KeyboardEvent(
    "keydown", {key: "л", code: "KeyK", ctrlKey: true, bubbles: true}))"""


def test_the_keyboard_alone_a_turned_screen_no_motion_and_paper(visit: Any) -> None:
    a_book_with_all()
    ann = visit(color_scheme="dark", reduced_motion="reduce").log_in("ann")
    page = ann.open("/")
    page.set_viewport_size({"width": NARROW, "height": TALL})
    page = ann.open("/desk/clients/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()

    page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges()")
    page = ann.open("/desk/clients/")
    places = []
    page.keyboard.press("Tab")
    for _each in range(7):  # the head of a page, to its menu
        page.keyboard.press("Tab")
        *place, style, width = page.evaluate(FOCUS)
        assert (style, width) == ("solid", "3px"), place
        places.append(place)
    assert places == sorted(places), "the order of the focus is that of the eyes"
    menu = page.get_by_role("navigation").get_by_role("link", name="Plans")
    expect(menu).to_be_hidden()
    page.locator(".menu summary").focus()
    page.keyboard.press("Enter")
    expect(menu).to_be_visible()
    page.keyboard.press("Enter")
    page.set_viewport_size({"width": WIDE, "height": TALL})
    expect(menu).to_be_visible()
    page.evaluate(RUSSIAN_K)
    expect(page.get_by_role("combobox", name="Search")).to_be_focused()

    moving = "getComputedStyle(document.querySelector('main button')).transitionDuration"
    assert page.evaluate(moving) == "0s"
    page.emulate_media(media="print", color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    expect(menu).to_be_hidden()


@pytest.mark.django_db(transaction=False)
def test_every_address_of_the_desk_is_a_page_here_or_none() -> None:
    assert pages_named() == set(PAGES) | NOT_PAGES
