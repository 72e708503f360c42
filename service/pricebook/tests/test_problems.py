"""The body of every error, and the id of every request."""

import json
import logging
import re

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser

from pricebook.kit.log_filters import RequestIdFilter
from pricebook.kit.problem import problem
from services.tests.factories import a_book, a_reader

URL = "/api/subscriptions/"


class TestProblem:
    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            (f"{URL}?page_size=0", 400, "bad_parameter"),
            ("/api/nothing/", 404, "unknown_path"),
            (f"{URL}?format=ndjson&page_size=1", 400, "not_with_format"),
        ],
    )
    def test_has_the_members_of_the_rfc_beside_ours(self, path, status, code):
        response = a_reader().get(path)
        said = json.loads(response.content)
        assert response["Content-Type"] == "application/problem+json"
        assert said["type"] == f"urn:pricebook:error:{code}"
        assert said["title"] == code.replace("_", " ").capitalize()
        assert (said["status"], said["code"], response.status_code) == (status, code, status)
        assert said["detail"]
        assert said["instance"] == path.split("?")[0]
        assert said["request_id"] == response["X-Request-ID"]

    @pytest.mark.django_db
    @pytest.mark.parametrize("path", [URL, "/api/price-changes/1/"])
    def test_is_the_same_for_who_may_not_ask(self, path):
        response = Browser().get(path)
        said = response.json()
        assert response["Content-Type"] == "application/problem+json"
        assert (said["status"], said["code"]) == (401, "not_authenticated")

    def test_is_the_same_for_what_no_view_has_answered(self):
        response = Browser().get(URL, headers={"Host": "evil.example.com"})
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["request_id"] == response["X-Request-ID"]

    @pytest.mark.django_db
    def test_is_shown_on_the_browsable_page(self):
        browser = Browser()
        browser.force_login(User.objects.create_superuser("anna"))
        response = browser.get(f"{URL}?page_size=0", headers={"Accept": "text/html"})
        assert response["Content-Type"].startswith("text/html")
        assert "urn:pricebook:error:bad_parameter" in response.content.decode()

    @pytest.mark.django_db
    def test_is_not_what_answers_are(self):
        a_book(3)
        response = a_reader().get(URL)
        assert response["Content-Type"] == "application/json"
        assert "type" not in response.data

    def test_has_an_id_without_a_request(self):
        assert len(problem(408, {"code": "body_too_slow"})["request_id"]) == 32


class TestRequestId:
    @pytest.mark.parametrize("path", [URL, "/", "/nothing", "/healthz", "/static/nothing"])
    @pytest.mark.django_db
    def test_is_that_of_the_request(self, path):
        response = Browser().get(path, headers={"X-Request-ID": "crm:2027-01-01/000017"})
        assert response["X-Request-ID"] == "crm:2027-01-01/000017"

    @pytest.mark.parametrize(
        "sent", ["", "short", "x" * 101, "two words here", "ключ" * 4, "%s{0}"]
    )
    def test_is_a_new_one_if_that_is_malformed(self, sent):
        answered = {
            Browser().get("/nothing", headers={"X-Request-ID": sent})["X-Request-ID"]
            for _ in range(2)
        }
        assert len(answered) == 2
        assert all(re.fullmatch("[0-9a-f]{32}", id) for id in answered)

    def test_is_in_the_log(self, caplog):
        caplog.handler.addFilter(RequestIdFilter())
        Browser().get("/nothing", headers={"X-Request-ID": "crm:000017"})
        assert {record.request_id for record in caplog.records} == {"crm:000017"}

    def test_is_none_outside_of_a_request(self):
        record = logging.makeLogRecord({})
        assert RequestIdFilter().filter(record)
        assert record.request_id == "-"
