"""Files at the desk in a real browser: forty subscriptions with two mistakes, from file to undo."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from desk.tests.looking import looked_at
from desk.tests.test_files import forty
from pricebook.tests.test_browser import Visit, browser_type_launch_args, visit
from services import jobs
from services.models import Job, Subscription

__all__ = ["browser_type_launch_args", "visit"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def send(page: Page, content: bytes) -> None:
    file: Any = {"name": "new.xlsx", "mimeType": WORKBOOK, "buffer": content}
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("button", name="Look at it", exact=True).click()
    worked(page)


def worked(page: Page) -> None:
    """Wait for the page of a job, let a worker do it, and wait until the page shows that."""
    expect(page.locator("#job")).to_be_visible()
    jobs.run()
    expect(page.locator("#job[data-live]")).to_have_count(0)


def test_forty_subscriptions_with_two_mistakes(visit: Any) -> None:
    ann: Visit = visit(locale="en-US").log_in("ann")
    page = ann.open("/desk/files/")
    send(page, forty(F7=101, G12="31.11.2025"))

    expect(page.get_by_label("E-mail", exact=True)).to_have_value("email")
    page.get_by_role("button", name="Read it again so").click()
    worked(page)
    expect(page.get_by_role("row", name="New!F7")).to_contain_text("a whole number from 0 to 100")
    expect(page.get_by_role("row", name="New!G12")).to_contain_text("31.11.2025")
    looked_at(page)

    send(page, forty())
    looked_at(page)
    assert not Subscription.objects.exists()
    page.get_by_role("button", name="Write 40 lines").dblclick()
    worked(page)
    expect(page.locator("#job")).to_contain_text("written")
    assert Subscription.objects.count() == 40
    assert Job.objects.filter(dry_run=False).count() == 1

    page.get_by_role("button", name="See what taking it back would do").click()
    worked(page)
    page.get_by_role("button", name="Take it back so").click()
    worked(page)
    assert not Subscription.objects.filter(ended_at=None).exists()
