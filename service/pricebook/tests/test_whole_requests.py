"""No body is lost on its way: chunked, without a length, or to a path without its slash."""

import json
import os
import string
import subprocess
import sys

import pytest
from conftest import other_sessions
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client as Browser
from django.test import RequestFactory

from keys.tests.making import a_key
from price_changes.models import PriceChange
from price_changes.tests.api import ALL, a_program, planned
from pricebook.kit.scopes import SCOPES
from pricebook.tests.servers import SERVICE, until
from pricebook.tests.web import WebServer
from services.models import Plan, Subscription
from services.tests.factories import a_book, a_reader, a_service, a_subscription

URL = "/api/price-changes/"


@pytest.fixture(scope="class")
def server(django_db_setup, django_db_blocker, tmp_path_factory):
    """The web server, for all tests of a class: it takes longer to start than they do."""
    with django_db_blocker.unblock():
        before = other_sessions()
        server = WebServer(tmp_path_factory.mktemp("web") / "log")
        yield server
        server.stop()
        until(lambda: other_sessions() <= before)


@pytest.fixture
def web(transactional_db, server):
    """The web server, and a key with all rights."""
    _, text = a_key("erp", *SCOPES)
    server.headers = {"Authorization": f"Api-Key {text}", "Content-Type": "application/json"}
    return server


def chunked(web, path, body, size=7, **headers):
    """POST a body in chunks of a few bytes."""
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    headers = {**web.headers, **headers}
    # With an iterator http.client sends chunks.
    response = web.ask("POST", path, iter(chunks), headers)
    return response, json.loads(response.read())


class TestChunkedBody:
    def test_is_read_to_its_end(self, web):
        service = a_subscription().service
        body = json.dumps({"kind": "list_price", "service": service.pk, "new_value": 29})
        response, answer = chunked(web, URL, body.encode())
        assert (response.status, answer["new_value"]) == (201, 29)

        _, answer = chunked(
            web, f"{URL}{answer['id']}/approve/", json.dumps({"fingerprint": "x"}).encode()
        )
        assert answer["code"] == "stale_fingerprint"

    def test_is_refused_if_it_is_no_json(self, web):
        change = planned(a_program(**ALL), kind="list_price", service=a_service().pk, new_value=2)
        for path in (URL, f"{URL}{change['id']}/preview/"):
            response, answer = chunked(web, path, b"not json at all")
            assert (response.status, answer["code"]) == (400, "bad_json")

    def test_counts_for_the_idempotency_key(self, web):
        change = planned(a_program(**ALL), kind="list_price", service=a_service().pk, new_value=2)
        path = f"{URL}{change['id']}/preview/"
        key = {"Idempotency-Key": "a"}
        assert chunked(web, path, b"{}", **key)[0].status == 200
        response, answer = chunked(web, path, b'{"garbage": tru', **key)
        assert (response.status, answer["code"]) in {
            (422, "idempotency_key_reused"),
            (400, "bad_json"),
        }
        response, answer = chunked(web, path, b"{ }", **key)
        assert (response.status, answer["code"]) == (422, "idempotency_key_reused")
        response, _ = chunked(web, path, b"{}", **key)
        assert response.getheader("Idempotency-Replayed") == "true"

    def test_has_the_bound_of_others(self, web):
        response, answer = chunked(web, URL, b" " * 1_000_001, size=4096)
        assert (response.status, answer["code"]) == (413, "body_too_long")

    def test_of_a_person_has_it_too_and_a_page_says_so(self, web):
        headers = {"Content-Length": "99999999", "Cookie": "django_language=ru"}
        response = web.ask("POST", "/desk/changes/brake/", headers=headers)
        page = response.read().decode()
        assert response.status == 413
        assert response.getheader("Content-Type") == "text/html; charset=utf-8"
        assert "Это слишком много" in page
        assert 'href="/">На главную' in page

    def test_may_not_come_in_crumbs(self, web):
        """Each chunk costs the server as much as a large one."""
        response, answer = chunked(web, URL, b" " * 20_001, size=1)
        assert (response.status, answer["code"]) == (400, "body_in_crumbs")

    def test_may_be_a_form(self, web):
        User.objects.create_superuser("anna", password="right horse")
        token = "a" * 32
        form = f"csrfmiddlewaretoken={token}&username=anna&password=right+horse".encode()
        headers = {
            "Cookie": f"csrftoken={token}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        response = web.ask("POST", "/admin/login/?next=/", iter([form[:9], form[9:]]), headers)
        assert (response.status, response.getheader("Location")) == (302, "/")


class TestBodyWithoutALength:
    """Under another server than ours, which has no length of a chunked body either."""

    @pytest.mark.parametrize("path", [URL, "/admin/login/", "/nothing"])
    def test_is_refused(self, path):
        request = RequestFactory().generic("POST", path, HTTP_TRANSFER_ENCODING="chunked")
        request.META.pop("CONTENT_LENGTH", None)
        response = WSGIHandler().get_response(request)
        assert (response.status_code, json.loads(response.content)["code"]) == (
            411,
            "length_required",
        )


@pytest.mark.django_db
class TestPathWithoutItsSlash:
    def test_plans_what_was_sent(self):
        service = a_subscription().service
        body = {"kind": "list_price", "service": service.pk, "new_value": 30}
        response = a_program(**ALL).post(URL.rstrip("/"), body)
        assert response.status_code == 201
        assert PriceChange.objects.get().new_value == 30

    def test_reaches_each_verb(self):
        a_book(3)
        erp = a_program(**ALL)
        change = planned(erp, kind="set", adjustment="percent", operand=10)
        path = f"{URL}{change['id']}/approve"
        answer = erp.post(path, {"fingerprint": change["fingerprint"]})
        assert (answer.status_code, answer.json()["status"]) == (200, "scheduled")
        pk = Subscription.objects.first().pk
        answer = erp.post(f"/api/subscriptions/{pk}/lock", {"reason": "asked"})
        assert (answer.status_code, answer.json()["price_state"]) == (200, "locked")

    def test_is_the_same_for_an_idempotency_key(self):
        body = {"kind": "list_price", "service": a_service().pk, "new_value": 30}
        erp, key = a_program(**ALL), {"Idempotency-Key": "a"}
        first = erp.post(URL, body, headers=key)
        second = erp.post(URL.rstrip("/"), body, headers=key)
        assert (first.status_code, second.status_code) == (201, 201)
        assert second.headers["Idempotency-Replayed"] == "true"

    @pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
    @pytest.mark.parametrize(
        ("path", "statuses"),
        [
            ("/api/subscriptions", {400, 405}),
            ("/api/clients/1", {400, 405}),
            ("/api/totals", {405}),
            ("/api/nothing", {404}),
        ],
    )
    def test_is_answered_as_with_it(self, settings, method, path, statuses):
        settings.DEBUG = True  # Django would raise RuntimeError
        ask = getattr(a_reader(), method)
        responses = [ask(path, {"price": 1}), ask(f"{path}/", {"price": 1})]
        told = {(response.status_code, response.json()["code"]) for response in responses}
        assert len(told) == 1
        assert {status for status, _ in told} <= statuses

    def test_keeps_a_form_of_the_admin(self):
        User.objects.create_superuser("anna", password="right horse")
        browser = Browser()
        form = {"username": "anna", "password": "right horse"}
        response = browser.post("/admin/login?next=/", form)
        assert (response.status_code, response.url) == (302, "/")
        add = {"plan_type": "student", "discount_percent": "7"}
        assert browser.post("/admin/services/plan/add", add).status_code == 302
        assert Plan.objects.filter(plan_type="student", discount_percent=7).exists()

    def test_is_redirected_for_readers(self):
        for method in ("get", "head"):
            response = getattr(Browser(), method)("/api/subscriptions?page_size=3")
            assert (response.status_code, response.url) == (301, "/api/subscriptions/?page_size=3")


def under(code, **variables):
    """The output of Python under other settings."""
    environment = {**os.environ, "SECRET_KEY": string.ascii_letters, "DEBUG": "0", **variables}
    environment.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)  # the browser's tests need it
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SERVICE, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


ASK = """
import django; django.setup()
from django.test import RequestFactory
from django.core.handlers.wsgi import WSGIHandler
from rest_framework.request import Request
from services.reading.ordering import Cursor
from services.views.paging import link
headers = {"HTTP_HOST": "book.example.com", %s}
request = RequestFactory().get("/api/subscriptions/?page_size=1", **headers)
print(link(Request(request), Cursor(1)))
response = WSGIHandler().get_response(RequestFactory().get("/api/docs", **headers))
print(response.status_code, response.get("Location"), response.get("Strict-Transport-Security"))
"""
FORWARDED = '"HTTP_X_FORWARDED_PROTO": "https"'


class TestBehindTLS:
    def test_links_have_the_scheme_of_the_proxy(self):
        said = under(ASK % FORWARDED, HTTPS="1", ALLOWED_HOSTS="book.example.com")
        assert said.startswith("https://book.example.com/api/subscriptions/?")
        assert "301 /api/docs/ max-age=2592000" in said

    def test_the_header_may_have_another_name(self):
        said = under(
            ASK % '"HTTP_X_SCHEME": "https"',
            HTTPS="1",
            PROXY_SSL_HEADER="X-Scheme",
            HSTS_SECONDS="60",
            ALLOWED_HOSTS="book.example.com",
        )
        assert said.startswith("https://")
        assert "max-age=60" in said

    @pytest.mark.parametrize("header", ["", FORWARDED])
    def test_nobody_is_believed_without_a_proxy(self, header):
        said = under(ASK % header, ALLOWED_HOSTS="book.example.com")
        assert said.startswith("http://book.example.com/")
        assert "None" in said

    def test_the_deployment_check_is_silent(self):
        check = (
            "import django; django.setup(); from django.core.management import call_command;"
            "call_command('check', deploy=True, fail_level='WARNING')"
        )
        assert "no issues" in under(check, HTTPS="1", ALLOWED_HOSTS="book.example.com")
