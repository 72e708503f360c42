"""Then and later in a real browser: from home to why a month's total differs."""

from datetime import timedelta
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from price_changes.tests.changes import approved, clock, drained, planned
from pricebook.tests.test_browser import browser_type_launch_args, visit
from services import price_state
from services.tests.factories import a_client, a_service, a_subscription

__all__ = ["browser_type_launch_args", "visit"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]


def test_why_a_total_differs_takes_three_clicks(visit):
    client, phone = a_client(company_name="Acme"), a_service(20, name="Phone")
    for _each in range(3):
        one = a_subscription(client, phone, started_at=clock() - timedelta(days=400))
    price_state.negotiate(one.pk, Decimal(11), "deal", "ann")
    approved(planned(kind="list_price", service=phone.pk, new_value="24", title="Spring"))
    drained()
    ann = visit().log_in("ann")
    page = ann.open("/")
    page.get_by_role("link", name="Then and later").click()
    page.get_by_role("link", name="Bridge between two dates").click()
    page.get_by_role("link", name="This month so far").click()
    expect(page.get_by_role("row", name="Spring").last).to_contain_text("+8.00")
    expect(page.locator("canvas")).to_be_visible()
    page.get_by_role("link", name="By client").click()
    page.locator("tr", has_text="Negotiated prices").get_by_role("link").last.click()
    expect(page.get_by_role("cell", name="−9.00")).to_be_visible()
    page.get_by_role("link", name=str(one.pk), exact=True).click()
    expect(page.get_by_text("11.00 USD")).to_be_visible()
    page.get_by_role("link", name="Evidence of a month").click()
    page.get_by_role("link", name=f"{clock():%B %Y}").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="The evidence as a workbook").click()
    assert download.value.suggested_filename == f"evidence-{clock():%Y-%m}.xlsx"
