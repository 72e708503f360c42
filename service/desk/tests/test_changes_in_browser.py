"""Price changes in the desk, in a real browser: walked as a person does, at all widths, by axe."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from desk.tests.looking import looked_at
from price_changes.models import PriceChange
from price_changes.tests.changes import planned
from pricebook.tests.test_browser import browser_type_launch_args, visit
from services import repricing
from services.models import Service
from services.tests.factories import a_book

__all__ = ["browser_type_launch_args", "visit"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

WIDTHS = (390, 1360)
# The controls of a form that something lies over, or that run out of the page.
COVERED = """() => {
    const found = []
    for (const details of document.querySelectorAll("form details")) details.open = true
    const fields = [...document.querySelectorAll("main form :is(input, select, textarea, button)," +
            "form.change-form :is(input, select, textarea)")].filter(field =>
        field.type !== "hidden" && field.checkVisibility() && field.offsetWidth > 4)
    const boxes = fields.map(field => field.getBoundingClientRect())
    boxes.forEach((one, i) => boxes.forEach((other, j) => {
        if (i < j && one.left + 1 < other.right && other.left + 1 < one.right
            && one.top + 1 < other.bottom && other.top + 1 < one.bottom)
            found.push(`${fields[i].name} and ${fields[j].name}`)
    }))
    for (const field of fields) {
        field.scrollIntoView({block: "center"})
        const box = field.getBoundingClientRect()
        const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)
        if (!there || !(field.contains(there)
            || [...field.labels ?? []].some(label => label.contains(there))))
            found.push(`${field.name} under ${there?.outerHTML.slice(0, 80)}`)
    }
    if (document.documentElement.scrollWidth > innerWidth)
        found.push(`${document.documentElement.scrollWidth} px wide`)
    return found
}"""


def a_raise(**values: Any) -> PriceChange:
    return planned(kind="set", adjustment="percent", operand=10, **values)


def test_no_field_lies_over_another_at_any_width(visit: Any) -> None:
    """In the desk's forms, and in those of the admin."""
    a_book(4, services=1, plans=1)
    change = a_raise()
    ann = visit().log_in("ann")
    plans = ("list_price/", "set/?adjustment=percent", "set/?adjustment=lock")
    paths = [f"/desk/changes/new/{plan}" for plan in plans]
    paths += [f"/desk/changes/{change.pk}/{verb}/" for verb in ("approve", "reject")]
    paths += ["/desk/changes/", "/desk/changes/brake/"]
    paths += [f"/admin/price_changes/pricechange/plan/{kind}/" for kind in ("list_price", "set")]
    for path in paths:
        page = ann.open(path)
        for width in WIDTHS:
            ann.page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(COVERED) == [], f"{path} at {width}"


def test_a_change_is_planned_approved_watched_and_taken_back(visit: Any) -> None:
    a_book(12, services=2, plans=1)
    service = Service.objects.earliest("pk")
    ann = visit(locale="en-US").log_in("ann")
    page = ann.open("/desk/changes/")
    page.get_by_role("link", name="Plan a price change").click()
    page.get_by_role("link", name="Per cent").click()
    page.get_by_label("Service", exact=True).select_option(str(service.pk))
    expect(page.locator("#counted")).to_have_text("6 subscriptions pay 600.00 USD now.")
    page.get_by_label("Plus or minus per cent").fill("1,234")
    page.get_by_label("In force from: time").fill("10:00")
    page.get_by_role("button", name="Plan and preview").click()
    expect(page.get_by_text("can be 1234 or 1.234").first).to_be_visible()
    expect(page.get_by_text("Give the date too").first).to_be_visible()
    looked_at(page)
    page.get_by_label("Plus or minus per cent").fill("2,5")
    page.get_by_label("In force from: time").fill("")
    page.get_by_label("Title").fill("Raise")
    page.get_by_role("button", name="Plan and preview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Raise")
    expect(page.locator("canvas").first).to_be_visible()
    assert page.evaluate("Object.keys(sessionStorage).filter(key => key.endsWith(':plan'))") == []

    page.get_by_role("link", name="Approve").click()
    page.get_by_role("button", name="Approve").dblclick()
    expect(page.locator("#change-state")).to_contain_text(re.compile("Scheduled|Applied"))
    repricing.reprice()
    expect(page.locator("#change-outcome")).to_contain_text("600.00 → 615.00 USD")
    looked_at(page)
    page.get_by_role("link", name="Price changes").last.click()
    page.get_by_role("link", name="Raise").click()
    page.get_by_role("link", name="6", exact=True).click()
    page.go_back()
    page.get_by_role("link", name="Take back").click()
    expect(page.locator(".figures")).to_contain_text("now 615.00 USD")
    page.get_by_role("button", name="Plan to take it back").click()
    page.get_by_role("link", name="Reject").click()
    page.get_by_label("Why").fill("It was right")
    page.get_by_role("button", name="Reject").click()
    expect(page.locator("#change-state")).to_contain_text("It was right")
    assert PriceChange.objects.filter(reverts=None).count() == 1
