"""Webhook endpoints in the admin, and what the home page says of them."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse

from events import endpoints
from events.models import Attempt, Endpoint
from events.tests.making import DAY, LOOPBACK, URL, an_endpoint, some_events
from keys.tests.making import a_member_of_staff
from pricebook.kit.scopes import (
    ADD_ENDPOINT,
    CHANGE_ENDPOINT,
    VIEW_CHANGE,
    VIEW_ENDPOINT,
    VIEW_EVENT,
    VIEW_SUBSCRIPTION,
)
from pricebook.tests.authorship import who
from pricebook.tests.pages import OpenedForm

pytestmark = pytest.mark.django_db

LIST = "/admin/events/endpoint/"


@pytest.fixture(autouse=True)
def loopback(settings):
    settings.WEBHOOKS_TO_PRIVATE = LOOPBACK


@pytest.fixture
def ann():
    return browser_of(VIEW_ENDPOINT, ADD_ENDPOINT, CHANGE_ENDPOINT, VIEW_EVENT)


def browser_of(*permissions):
    browser = Browser()
    browser.force_login(a_member_of_staff("ann", *permissions))
    return browser


def told(answer):
    return " ".join(map(str, answer.context["messages"]))


def page_of(endpoint):
    return reverse("admin:events_endpoint_change", args=[endpoint.pk])


def pressed(browser, endpoint, verb, **given):
    page = reverse("admin:events_endpoint_verb", args=[endpoint.pk, verb])
    return browser.post(page, given, follow=True)


def test_one_is_made_and_its_secret_shown_once(ann):
    given = {"name": "biller", "url": URL, "types": ["prices.moved"]}
    answer = ann.post(f"{LIST}add/", given, follow=True)
    endpoint = Endpoint.objects.get()
    assert re.findall(r"whsec_\S+", told(answer)) == [endpoint.secret]
    assert (who(endpoint.created_by), endpoint.types) == ("person ann", ["prices.moved"])
    for path in (LIST, page_of(endpoint)):
        assert "whsec_" not in ann.get(path).content.decode()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "https://10.0.0.1/"}, "no public address"),
        ({"url": "ftp://example.com/"}, "Give it as https://"),
        ({"name": "there"}, "already exists"),
        ({"types": ["prices.fallen"]}, "not one of the available choices"),
    ],
)
def test_one_that_can_not_be_is_refused(ann, given, said):
    an_endpoint("there")
    answer = ann.post(f"{LIST}add/", {"name": "biller", "url": URL} | given)
    assert said in answer.content.decode()
    assert Endpoint.objects.count() == 1


def test_another_address_is_tried_at_once(ann):
    endpoint = an_endpoint(failing_since=DAY, attempts=7)
    OpenedForm(ann, page_of(endpoint)).send(url="http://127.0.0.2:9/in", types=["brake.pulled"])
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.types) == ("http://127.0.0.2:9/in", ["brake.pulled"])
    assert (endpoint.failing_since, endpoint.attempts) == (None, 0)


def test_the_page_has_its_state_and_its_log(ann):
    some_events(1, 4)
    endpoint = an_endpoint(failing_since=DAY, attempts=7)
    Attempt.objects.create(
        endpoint=endpoint, number=1, webhook_id="evt_1", type="prices.moved", status_code=500,
        error="The receiver answered 500.", duration_ms=7,
    )  # fmt: skip
    for path in (LIST, page_of(endpoint)):
        page = ann.get(path).content.decode()
        assert "failing" in page
        assert "4 events" in page
    assert "The receiver answered 500." in page


def test_the_buttons_do_what_they_say(ann):
    some_events(1, 4)
    endpoint = an_endpoint(delivered_through=4)
    secret = endpoint.secret
    assert "A test event is sent soon" in told(pressed(ann, endpoint, "test"))
    assert "whsec_" in told(pressed(ann, endpoint, "rotate"))
    endpoint.refresh_from_db()
    assert (endpoint.previous_secret, endpoint.test_requested_at is None) == (secret, False)
    pressed(ann, endpoint, "end_rotation")
    pressed(ann, endpoint, "disable", reason="moving")
    pressed(ann, endpoint, "replay", **{"from": "2"})
    endpoint.refresh_from_db()
    assert (endpoint.previous_secret, endpoint.delivered_through) == ("", 1)
    assert endpoint.disabled_reason.endswith(": moving")
    pressed(ann, endpoint, "enable")
    for given, said in (("9", "The newest event has the number 4"), ("x", "from is an id")):
        assert said in told(pressed(ann, endpoint, "replay", **{"from": given}))
    endpoint.refresh_from_db()
    assert (endpoint.status, endpoint.delivered_through) == ("enabled", 1)


def test_the_buttons_take_a_right_and_a_post(ann):
    endpoint = an_endpoint()
    page = reverse("admin:events_endpoint_verb", args=[endpoint.pk, "rotate"])
    assert ann.get(page).status_code == 405
    assert ann.post(page.replace("rotate", "erase")).status_code == 404
    assert ann.post(page.replace(f"/{endpoint.pk}/", "/99999/")).status_code == 404
    User.objects.get(username="ann").delete()
    narrow = browser_of(VIEW_ENDPOINT, CHANGE_ENDPOINT, ADD_ENDPOINT)  # who may not read events
    assert narrow.post(page).status_code == 403
    assert narrow.get(f"{LIST}add/").status_code == 403
    assert "endpoint-verbs" in narrow.get(page_of(endpoint)).content.decode()
    endpoint.refresh_from_db()
    assert endpoint.previous_secret == ""


def test_the_home_page_says_what_fails():
    some_events(1, 4)
    an_endpoint(failing_since=DAY, attempts=7)
    said = "biller fails since 2027-01-01 00:00 UTC, and is 4 events behind"
    for more, told in (([VIEW_ENDPOINT], True), ([], False)):
        User.objects.all().delete()
        page = browser_of(VIEW_SUBSCRIPTION, VIEW_CHANGE, *more).get("/").content.decode()
        assert (said in page) == told


def test_what_the_verbs_refuse_is_said_and_not_saved(ann, monkeypatch):
    monkeypatch.setattr(endpoints, "MOST", 1)
    an_endpoint("first")
    answer = ann.post(f"{LIST}add/", {"name": "second", "url": URL}, follow=True)
    assert "Nothing was saved. There are 1 endpoints, which is the most" in told(answer)
    assert Endpoint.objects.count() == 1
