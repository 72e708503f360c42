"""A client's day in a real browser: a subscription is added, negotiated and ended, and each page of
one thing is looked at by axe."""

import pytest
from playwright.sync_api import Page, expect

from pricebook.tests.test_browser import AXE, browser_type_launch_args, visit  # noqa: F401
from services.models import Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

RULES = """async () => (await axe.run(document)).violations
    .filter(found => ["moderate", "serious", "critical"].includes(found.impact))
    .map(found => [found.id, found.nodes[0].html])"""


def looked_at(page: Page) -> None:
    """Nothing runs out of the page, and axe finds nothing."""
    for width in (1360, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    page.evaluate(AXE)
    assert page.evaluate(RULES) == [], page.url
    page.set_viewport_size({"width": 1360, "height": 900})


def test_a_subscription_from_its_first_day_to_its_end(visit):  # noqa: F811
    client, phone = a_client("ООО Ромашка"), a_service(20, "Phone")
    a_subscription(client, phone, a_plan(10))
    a_plan(0)
    page = (ann := visit().log_in("ann")).open(f"/desk/clients/{client.pk}/")
    looked_at(page)

    page.get_by_role("link", name="Add a subscription").click()
    page.get_by_label("Service", exact=True).select_option(label="Phone")
    page.get_by_label("Plan", exact=True).select_option(label="full 0 %")
    page.get_by_label("Negotiated price").fill("15,50")
    page.get_by_role("button", name="Show what it changes").click()
    expect(page.get_by_text("Say why it has a price of its own.")).to_be_visible()
    looked_at(page)
    page.get_by_label("Reason").fill("deal")
    page.get_by_role("button", name="Show what it changes").click()
    expect(page.get_by_role("definition").last).to_contain_text("18.00 USD → 33.50 USD")
    looked_at(page)
    page.get_by_role("button", name="Add it").dblclick()
    expect(page.get_by_role("status")).to_contain_text("15.50 USD")
    assert client.subscriptions.count() == 2
    looked_at(page)

    # A form that nobody sent is offered again; one that was sent is not.
    one = Subscription.objects.latest("id")
    ann.open(f"/desk/subscriptions/{one.pk}/lock/")
    page.get_by_label("Reason").fill("promised")
    ann.open(f"/desk/subscriptions/{one.pk}/lock/")
    page.get_by_role("button", name="Bring it back").click()
    expect(page.get_by_label("Reason")).to_have_value("promised")
    page.get_by_label("Day").fill("2031-01-01")
    page.get_by_role("button", name="Show what it changes").click()
    page.get_by_role("button", name="Back to the form").click()
    expect(page.get_by_label("Day")).to_have_value("2031-01-01")
    page.get_by_role("button", name="Show what it changes").click()
    page.get_by_role("button", name="Lock").click()
    expect(page.get_by_role("status")).to_contain_text("locked until 2031-01-01 00:00 UTC")
    ann.open(f"/desk/subscriptions/{one.pk}/lock/")
    expect(page.get_by_role("button", name="Bring it back")).to_be_hidden()

    looked_at(ann.open(f"/desk/services/{phone.pk}/"))
    page.get_by_role("link", name="Change the list price").click()
    page.get_by_label("New list price").fill("25")
    page.get_by_role("button", name="Show what it changes").click()
    page.get_by_role("button", name="Move 1 price").click()
    expect(page.get_by_role("status")).to_contain_text("20.00 USD → 25.00 USD")
    expect(page.locator("canvas").first).to_be_visible()
