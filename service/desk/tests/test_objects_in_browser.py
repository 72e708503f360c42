"""A client's day in a real browser: a subscription is added, negotiated and locked."""

import pytest
from playwright.sync_api import expect

from desk.tests.looking import looked_at
from pricebook.tests.test_browser import browser_type_launch_args, visit  # noqa: F401
from services.models import Subscription
from services.tests.factories import a_client, a_plan, a_service, a_subscription

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]


def test_a_subscription_from_its_first_day_to_its_end(visit):  # noqa: F811
    client, phone = a_client("ООО Ромашка"), a_service(20, "Phone")
    a_subscription(client, phone, a_plan(10))
    a_plan(0)
    page = (ann := visit().log_in("ann")).open(f"/desk/clients/{client.pk}/")

    page.get_by_role("link", name="Add a subscription").click()
    page.get_by_label("Service", exact=True).select_option(label="Phone")
    page.get_by_label("Plan", exact=True).select_option(label="full 0 %")
    page.get_by_label("Negotiated price").fill("15,50")
    page.get_by_role("button", name="Show what it changes").click()
    expect(page.get_by_text("Say why it has a price of its own.", exact=True)).to_be_visible()
    page.get_by_label("Reason").fill("deal")
    page.get_by_role("button", name="Show what it changes").click()
    expect(page.get_by_role("definition").last).to_contain_text("18.00 USD → 33.50 USD")
    looked_at(page)
    page.get_by_role("button", name="Add it").dblclick()
    expect(page.get_by_role("status")).to_contain_text("15.50 USD")
    assert client.subscriptions.count() == 2

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

    ann.open(f"/desk/services/{phone.pk}/")
    page.get_by_role("link", name="Change the list price").click()
    page.get_by_label("New list price").fill("25")
    page.get_by_role("button", name="Show what it changes").click()
    page.get_by_role("button", name="Move 1 price").click()
    expect(page.get_by_role("status")).to_contain_text("20.00 USD → 25.00 USD")
    expect(page.locator("canvas").first).to_be_visible()
