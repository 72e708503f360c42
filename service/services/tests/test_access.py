"""The right to read; and every refusal is JSON that says why."""

import json
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys.tests.making import a_key, a_member_of_staff
from pricebook.kit.scopes import VIEW_SUBSCRIPTION
from services.tests.factories import a_reader, a_subscription

URL = "/api/subscriptions/"


def read_with(key):
    return Browser().get(URL, headers={"Authorization": f"Api-Key {key}"})


@pytest.mark.django_db
class TestReading:
    def test_needs_a_session_or_a_key(self):
        a_subscription()
        for path in (URL, f"{URL}1/", f"{URL}?page_size=0"):
            response = Browser().get(path)
            body = response.json()
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Api-Key"
            assert body["code"] == "not_authenticated"
            assert "Authorization: Api-Key" in body["detail"]
            assert "result" not in body

    def test_is_open_to_staff_with_the_permission(self):
        browser = Browser()
        browser.force_login(a_member_of_staff("ann", VIEW_SUBSCRIPTION))
        assert browser.get(URL).status_code == 200

    def test_is_not_open_to_staff_without_it(self):
        browser = Browser()
        browser.force_login(a_member_of_staff("ann"))
        response = browser.get(URL)
        body = response.json()
        assert (response.status_code, body["missing"]) == (403, VIEW_SUBSCRIPTION)

    def test_is_not_open_to_the_login_of_a_client(self):
        browser = Browser()
        browser.force_login(a_subscription().client.user)
        for path in (URL, "/api/clients/", "/api/totals/", "/api/ledger/", "/api/price-changes/"):
            response = browser.get(path)
            assert (response.status_code, response.json()["missing"]) == (403, "is_staff")

    def test_is_open_to_programs_with_a_key(self):
        _, key = a_key("billing")
        with CaptureQueriesContext(connection) as queries:
            assert read_with(key).status_code == 200
        assert len(queries) == 2  # * the key * the page

    def test_is_open_to_all_where_the_setting_says_so(self, settings):
        settings.OPEN_READS = True
        assert Browser().get(URL).status_code == 200

    @pytest.mark.parametrize("scheme", ["", "Bearer", "Token"])
    def test_with_another_scheme_counts_as_no_key(self, scheme):
        response = Browser().get(URL, headers={"Authorization": f"{scheme} something"})
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


@pytest.mark.django_db
class TestApiKey:
    def refused(self, key):
        response = read_with(key)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Api-Key"
        return response.json()["code"]

    def test_that_is_wrong_is_refused(self):
        _, key = a_key("billing")
        assert self.refused(key[:-1] + ("a" if key[-1] != "a" else "b")) == "wrong_key"
        assert self.refused(key + "a") == "wrong_key"
        assert self.refused("abcdefgh.") == "wrong_key"
        assert self.refused("") == "wrong_key"

    @pytest.mark.parametrize(
        "key", ["\xff" * 41, "a" * 100_000, "%00", "' OR 1=1 --", "٣" * 8 + "." + "٣" * 32]
    )
    def test_that_can_be_none_costs_no_query(self, key):
        with CaptureQueriesContext(connection) as queries:
            assert self.refused(key) == "wrong_key"
        assert len(queries) == 0

    def test_that_was_revoked_is_refused(self):
        _, key = a_key("billing", revoked=True)
        assert self.refused(key) == "revoked_key"

    def test_that_has_expired_is_refused(self):
        yesterday = timezone.now() - timedelta(days=1)
        _, key = a_key("billing", expiry_date=yesterday)
        assert self.refused(key) == "expired_key"

    def test_that_was_revoked_does_not_tell_who_knows_half_of_it(self):
        _, key = a_key("billing", revoked=True)
        assert self.refused(key.split(".")[0] + "." + "x" * 32) == "wrong_key"

    def test_that_is_wrong_is_refused_where_reading_is_open_too(self, settings):
        settings.OPEN_READS = True
        assert self.refused("abcdefgh.xyz") == "wrong_key"


class TestErrors:
    """Without a database: none of these gets so far."""

    @pytest.mark.parametrize(
        ("method", "path"),
        [("put", URL), ("patch", URL), ("delete", URL), ("put", f"{URL}1/"), ("post", f"{URL}1/")],
    )
    def test_answer_methods_that_there_are_not_with_405(self, method, path):
        for each in (path, path.replace("subscriptions", "clients")):
            response = getattr(a_reader(), method)(each, {"price": 1})
            assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")

    @pytest.mark.parametrize(
        "path",
        [
            "/api/",
            "/api/nothing/",
            "/api/subscriptions/abc/",
            "/api/subscriptions/-1/",
            "/api/subscriptions/1.0/",
            "/api/subscriptions/%00/",
            "/api/subscriptions/1%00/",
            "/api/subscriptions/%ED%A0%80/",
            "/api/subscriptions/%FF%FE/",
            "/api/subscriptions/%D9%A3/",
            "/api/subscriptions/1/price/",
            "/api/%0A/",
        ],
    )
    def test_answer_unknown_paths_with_404(self, path):
        response = a_reader().get(path)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_path")

    def test_send_a_path_without_its_slash_to_the_one_with_it(self):
        response = Browser().get("/api/subscriptions?page_size=3")
        assert (response.status_code, response.url) == (301, f"{URL}?page_size=3")

    def test_answer_too_many_parameters_with_400(self):
        response = a_reader().get(URL + "?" + "&".join(f"p{n}=1" for n in range(5000)))
        assert (response.status_code, response.json()["code"]) == (400, "too_many_parameters")

    @pytest.mark.parametrize(
        "accept", ["application/xml", "text/rtf", "nonsense", ";;;", "a" * 9000]
    )
    def test_answer_an_unknown_content_type_with_406(self, accept):
        response = a_reader().get(URL, headers={"Accept": accept})
        assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")

    def test_answer_an_unknown_host_with_400(self):
        response = Browser().get(URL, headers={"Host": "evil.example.com"})
        assert (response.status_code, response.json()["code"]) == (400, "bad_request")

    def test_say_nothing_of_a_defect_but_that_it_is_one(self, monkeypatch):
        def defect(*args):
            raise RuntimeError("secret")

        monkeypatch.setattr("services.reading.pages.page", defect)
        reader = a_reader()
        reader.raise_request_exception = False
        response = reader.get(URL)
        assert (response.status_code, response.json()["code"]) == (500, "server_error")
        assert "secret" not in response.content.decode()


@pytest.mark.django_db
class TestNumbersBeyondAllBounds:
    @pytest.mark.parametrize("id", ["9" * 19, "9" * 20, "1" * 5000, "0"])
    def test_are_no_subscription(self, id):
        response = a_reader().get(f"{URL}{id}/")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.django_db
class TestOptions:
    def test_describe_the_endpoint(self):
        response = a_reader().options(URL)
        assert response.status_code == 200
        assert json.loads(response.content)["renders"] == ["application/json", "text/html"]


@pytest.mark.django_db(transaction=True)
class TestDatabaseThatIsAway:
    @pytest.fixture(autouse=True)
    def terminated(self):
        """The server ends our session: a restart, as this process sees it."""
        connection.ensure_connection()
        with psycopg.connect(**self.parameters(), autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid]
            )
        yield
        connection.close()

    def parameters(self):
        parameters = connection.get_connection_params()
        return {
            name: parameters[name]
            for name in ("dbname", "user", "password", "host", "port")
            if name in parameters
        }

    def test_is_a_503_that_asks_to_try_again(self):
        response = a_reader().get(URL)
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
        assert response.headers["Retry-After"] == "5"

    def test_is_a_page_that_leads_back_to_where_it_was(self):
        asked = Browser(headers={"Accept-Language": "ru"}, raise_request_exception=False)
        asked.cookies["sessionid"] = "of-a-person"
        page = asked.get("/desk/clients/?company_name=x")
        assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
        said = page.content.decode()
        assert "Pricebook сейчас не отвечает" in said
        assert 'href="/desk/clients/?company_name=x">Повторить' in said

    def test_is_not_healthy_until_it_is_back(self):
        assert Browser().get("/healthz").status_code == 503
        connection.close()
        response = Browser().get("/healthz")
        assert (response.status_code, response.content) == (200, b"ok")
