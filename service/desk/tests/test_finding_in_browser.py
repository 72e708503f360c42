"""The search and the lists in a real browser, by the keyboard."""

import pytest
from playwright.sync_api import expect

from desk.tests.looking import looked_at
from pricebook.tests.test_browser import browser_type_launch_args, visit
from services.tests.factories import a_book, a_client, a_service, a_subscription

__all__ = ["browser_type_launch_args", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]


def test_somebody_finds_a_client_and_comes_back_to_the_list(visit):
    a_subscription(client=a_client("ООО Ромашка"), service=a_service(20, "Streaming TV"))
    a_book(12, services=2)
    ann = visit(viewport={"width": 390, "height": 844}).log_in("ann")
    page = ann.open("/desk/services/")

    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Search")
    expect(field).to_be_focused()
    page.keyboard.type("ромашко")
    option = page.get_by_role("option", name="ООО Ромашка")
    expect(option).to_be_visible()
    expect(field).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowUp")
    last = page.get_by_role("option", name="All that is found")
    expect(last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    assert field.get_attribute("aria-activedescendant") == option.get_attribute("id")
    looked_at(page)
    page.keyboard.press("Escape")
    expect(option).to_be_hidden()
    expect(field).to_have_value("ромашко")
    page.keyboard.press("Enter")  # without an option: the form itself
    page.wait_for_url("**/desk/search/?q=*")
    expect(page.get_by_role("heading", name="Clients")).to_be_visible()

    page = ann.open("/desk/subscriptions/")
    page.get_by_text("More filters").click()
    page.get_by_label("Price from").fill("4,50")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="Price", exact=True).click()
    expect(page.get_by_role("columnheader", name="Price")).to_have_attribute(
        "aria-sort", "descending"
    )
    here = page.url
    assert here.endswith("/desk/subscriptions/?price_from=4.50&ordering=-price")
    row = page.get_by_role("rowheader").first.get_by_role("link").get_attribute("href")
    page = ann.open(f"/desk/search/?q=vhveg&back={row.partition('?back=')[2]}")
    page.get_by_role("link", name="Back to the list").click()
    assert page.url == here
    page.get_by_role("link", name="Price from: 4.50 USD").click()
    page.wait_for_url("**/desk/subscriptions/?ordering=-price")
