"""The content policies of our answers, and that no page needs more than its own allows."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser

from pricebook.kit.content_policy import ALPINE, HEADER, INLINE_STYLES, NOTHING, PAGE
from services.tests.factories import a_book, a_reader, a_subscription

EVENTS = re.compile(r"<[^>]+\son(click|load|error|change|submit|input)=", re.IGNORECASE)
SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.IGNORECASE | re.DOTALL)


def policy(response):
    parts = (part.strip().partition(" ") for part in response[HEADER].split(";"))
    return {name: value for name, _, value in parts}


@pytest.fixture
def anna(db):
    browser = Browser()
    browser.force_login(User.objects.create_superuser("anna"))
    return browser


@pytest.mark.django_db
class TestPolicy:
    @pytest.mark.parametrize(
        "path", ["/api/subscriptions/", "/api/nothing/", "/healthz", "/api/schema/"]
    )
    def test_of_what_is_no_page_allows_nothing(self, path):
        a_book(3)
        assert policy(a_reader().get(path)) == NOTHING

    def test_of_a_stream_allows_nothing(self):
        a_book(3)
        assert policy(a_reader().get("/api/subscriptions/?format=csv")) == NOTHING

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/", PAGE),
            ("/nothing", PAGE),
            ("/admin/", ALPINE),
            ("/admin/login/", ALPINE),
            ("/api/docs/", INLINE_STYLES),
            ("/api/subscriptions/", INLINE_STYLES),
        ],
    )
    def test_of_a_page_is_as_wide_as_it_needs(self, anna, path, expected):
        assert policy(anna.get(path, headers={"Accept": "text/html"})) == expected

    def test_never_allows_a_script_within_a_page_or_from_elsewhere(self):
        for allowed in (PAGE, INLINE_STYLES, ALPINE):
            assert "unsafe-inline" not in allowed["script-src"]
            assert not re.search(r"https?:|\*", " ".join(allowed.values()))
        for allowed in (NOTHING, PAGE, INLINE_STYLES):
            assert "unsafe-eval" not in " ".join(allowed.values())


@pytest.mark.django_db
def test_no_page_has_a_script_within_it(anna):
    subscription = a_subscription()
    paths = [
        "/",
        "/api/docs/",
        "/api/subscriptions/",
        "/admin/",
        "/admin/price_changes/pricechange/",
        "/admin/price_changes/pricechange/add/",
        f"/admin/services/subscription/{subscription.pk}/change/",
        "/admin/services/plan/add/",
    ]
    for path in paths:
        page = anna.get(path, headers={"Accept": "text/html"}).content.decode()
        assert "<script" in page
        assert not EVENTS.search(page), path
        for attributes, text in SCRIPT.findall(page):
            assert "src=" in attributes or "application/json" in attributes, (path, text[:200])


def test_the_script_of_swagger_has_a_path_of_its_own():
    page = Browser().get("/api/docs/").content.decode()
    [path] = re.findall(r'<script src="(/api/docs/[^"]*)"', page)
    script = Browser().get(path)
    assert script["Content-Type"].startswith("application/javascript")
    assert "SwaggerUIBundle" in script.content.decode()
