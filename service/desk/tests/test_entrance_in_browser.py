"""An ended log-in, in a real browser: what was typed is there again, and is nobody else's."""

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from desk.tests import kept_form
from desk.tests.looking import looked_at
from pricebook.tests.test_browser import (  # noqa: F401 - fixtures
    PASSWORD,
    browser_type_launch_args,
    visit,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]


@pytest.fixture(autouse=True)
def site(settings):
    settings.ROOT_URLCONF = "desk.tests.kept_form"
    settings.LOGIN_ATTEMPTS = 0
    for name in ("ann", "bob"):
        User.objects.create_superuser(name, f"{name}@example.com", PASSWORD)
    kept_form.sent.clear()


def log_in(page, name):
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()


def test_what_was_typed_outlives_the_log_in_and_is_shown_to_nobody_else(visit):  # noqa: F811
    ann = visit()
    page = ann.open("/kept/")
    page.get_by_role("button", name="Русский").click()
    expect(page.get_by_role("heading", name="Войти")).to_be_visible()
    page.get_by_role("button", name="English").click()
    log_in(page, "ann")

    page.get_by_label("Kinds").select_option(["a", "c"])
    page.get_by_label("Note").fill("half a thought")
    Session.objects.all().delete()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("heading", name="Your log-in has ended")).to_be_visible()
    looked_at(page)
    ann.faults.clear()  # the browser notes a 403
    page.get_by_role("main").get_by_role("link", name="Log in").click()
    log_in(page, "ann")
    expect(page.get_by_label("Note")).to_have_value("")
    page.get_by_role("button", name="Bring it back").click()
    expect(page.get_by_label("Note")).to_have_value("half a thought")
    expect(page.get_by_label("Kinds")).to_have_values(["a", "c"])
    assert kept_form.sent == [], "nothing is sent by itself"
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Sent.", exact=True)).to_be_visible()
    expect(page.get_by_text("You had typed something")).to_be_hidden()
    assert kept_form.sent == ["half a thought"]

    # The log-out forgets, also what another tab of the browser has.
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(f"{ann.address}/kept/")
        expect(tab.get_by_text("You had typed something")).to_be_hidden()
        tab.get_by_label("Note").fill("for ann alone")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="You are logged out")).to_be_visible()
    page.goto(f"{ann.address}/kept/")
    log_in(page, "ann")
    for tab in (page, other):
        tab.goto(f"{ann.address}/kept/")
        expect(tab.get_by_text("You had typed something")).to_be_hidden()

    # Another person after an ended log-in, in the same tab.
    page.get_by_label("Note").fill("for ann alone")
    Session.objects.all().delete()
    page.goto(f"{ann.address}/kept/")
    log_in(page, "bob")
    expect(page.get_by_text("You had typed something")).to_be_hidden()
    assert "ann" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_a_page_that_cannot_be_shown_has_a_way_back(visit):  # noqa: F811
    ann = visit().log_in("carol")
    page = ann.open("/kept/")
    page.evaluate("location.href = '/desk/nothing/'")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    looked_at(page)
    page.get_by_role("link", name="Back", exact=True).click()
    expect(page.get_by_label("Note")).to_be_visible()
    page.goto(f"{ann.address}/admin/nothing/")
    page.get_by_role("link", name="To the home page").click()
    page.wait_for_url(f"{ann.address}/")
    ann.faults.clear()  # the browser notes a 404
