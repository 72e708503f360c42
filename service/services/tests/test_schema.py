"""The schema describes the API as it is: complete, valid, and kept to by every answer."""

import functools
import io
import re
from collections import Counter

import hypothesis
import pytest
import schemathesis
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client as Browser
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from events.models import Attempt, Endpoint
from events.tests.making import an_endpoint, some_events
from keys.tests.making import a_key
from price_changes.planning import definition
from price_changes.running.lifecycle import preview
from pricebook.kit.scopes import SCOPES
from pricebook.tests.tiers import examples
from pricebook.wsgi import application
from services import jobs
from services.bulk.running import Wanted
from services.reading.filters import FILTERS
from services.reading.parameters import PAGING
from services.tests.factories import a_book
from services.transfer.sheets import answering

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
PLAIN = {"Accept-Encoding": "identity"}  # schemathesis reads a WSGI answer as it comes
PATHS = [
    "/api/clients/",
    "/api/clients/{id}/",
    "/api/events/",
    "/api/jobs/",
    "/api/jobs/{id}/",
    "/api/keys/",
    "/api/keys/{id}/",
    "/api/ledger/",
    "/api/price-changes/",
    "/api/price-changes/{id}/",
    "/api/price-changes/{id}/rows/",
    "/api/price-changes/{id}/skips/",
    "/api/plans/",
    "/api/plans/{id}/",
    "/api/services/",
    "/api/services/{id}/",
    "/api/subscriptions/",
    "/api/subscriptions/{id}/",
    "/api/subscriptions/{id}/explain/",
    "/api/subscriptions/{id}/ledger/",
    "/api/totals/",
    "/api/totals/bridge/",
    "/api/totals/bridge/rows/",
    "/api/webhooks/",
    "/api/webhooks/{id}/",
    "/api/webhooks/{id}/deliveries/",
]
VERBS = [
    *[
        f"/api/price-changes/{{id}}/{verb}/"
        for verb in (
            "preview",
            "approve",
            "reject",
            "accept",
            "keep_instant",
            "notices",
            "pause",
            "resume",
            "cancel",
            "revert",
        )
    ],
    *[
        f"/api/subscriptions/{{id}}/{verb}/"
        for verb in ("lock", "release", "negotiate", "follow", "correct", "end", "restart", "move")
    ],
    *[f"/api/brake/{verb}" for verb in ("", "pull/", "release/")],
    *[f"/api/keys/{{id}}/{verb}/" for verb in ("rotate", "revoke")],
    *[
        f"/api/webhooks/{{id}}/{verb}/"
        for verb in ("rotate", "end_rotation", "enable", "disable", "test", "replay")
    ],
    *[f"/api/{kind}/bulk/" for kind in ("clients", "services", "plans", "subscriptions")],
    "/api/imports/",
    "/api/jobs/{id}/lines/",
    "/api/jobs/{id}/cancel/",
    "/api/jobs/{id}/undo/",
    "/api/subscriptions/correct/",
]
# One of each kind of body; each costs seconds.
WRITES = [
    ("POST", "/api/brake/pull/"),
    ("POST", "/api/price-changes/"),
    ("POST", "/api/price-changes/{id}/approve/"),
    ("POST", "/api/price-changes/{id}/revert/"),
    ("POST", "/api/price-changes/{id}/preview/"),
    ("POST", "/api/subscriptions/{id}/lock/"),
    ("POST", "/api/subscriptions/{id}/correct/"),
    ("POST", "/api/subscriptions/correct/"),
    ("POST", "/api/subscriptions/{id}/end/"),
    ("POST", "/api/subscriptions/{id}/restart/"),
    ("POST", "/api/subscriptions/{id}/move/"),
    ("POST", "/api/subscriptions/bulk/"),
    ("POST", "/api/clients/bulk/"),
    ("POST", "/api/services/bulk/"),
    ("POST", "/api/jobs/{id}/undo/"),
    ("POST", "/api/webhooks/{id}/replay/"),
    ("POST", "/api/imports/"),
    *[
        (method, f"/api/{kind}/{'' if method == 'POST' else '{id}/'}")
        for kind in ("clients", "services", "plans", "subscriptions")
        for method in ("POST", "PATCH", "DELETE")
    ],
]


class TestSchema:
    def test_is_valid_and_complete(self, capsys):
        call_command("spectacular", validate=True, fail_on_warn=True)
        assert "Warning" not in capsys.readouterr().err

    def test_is_there_for_whoever_has_no_key_yet(self):
        response = Browser().get("/api/schema/", {"format": "json"})
        assert response.status_code == 200
        paths = response.json()["paths"]
        assert set(paths) == {*PATHS, *VERBS}

    def test_names_every_parameter_and_the_ways_in(self):
        schema = Browser().get("/api/schema/", {"format": "json"}).json()
        listing = schema["paths"]["/api/subscriptions/"]["get"]
        assert {each["name"] for each in listing["parameters"]} == {
            *FILTERS,
            *PAGING,
            "as_of",
            "known_at",
            "ordering",
            "format",
            "locale",
        }
        assert listing["security"] == [{"ApiKey": []}, {"cookieAuth": []}]
        assert {"200", "400", "401"} <= set(listing["responses"])

    def test_shows_the_forms_of_the_whole_book(self):
        schema = Browser().get("/api/schema/", {"format": "json"}).json()
        listing = schema["paths"]["/api/subscriptions/"]["get"]
        forms = next(each for each in listing["parameters"] if each["name"] == "format")
        assert set(forms["schema"]["enum"]) == {"json", "csv", "ndjson", "xlsx", "excel-csv"}
        assert set(listing["responses"]["200"]["content"]) == {
            "application/json",
            "text/csv",
            "application/x-ndjson",
            answering.XLSX,
        }
        assert {"Row-Count", "Book-Version"} <= set(listing["responses"]["200"]["headers"])
        assert set(listing["responses"]["400"]["content"]) == {"application/problem+json"}


class TestDocs:
    def test_load_nothing_from_elsewhere(self):
        page = Browser().get("/api/docs/").content.decode()

        addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
        assert len(addresses) >= 3
        addresses.remove("/api/docs/?script=")
        for address in addresses:
            assert address.startswith("/static/drf_spectacular_sidecar/")
            assert finders.find(address.removeprefix("/static/"))
        assert not re.search(r"https?://", page.replace("http://www.w3.org", ""))


@functools.cache
def schema():
    """The API's schema, requested once, because each request makes it anew from all the code."""
    return schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)


def a_change():
    planned = definition.plan(
        {"kind": "set", "filter": {}, "adjustment": "percent", "operand": 5}, "ann"
    )
    return preview(planned.pk)


def a_job():
    body = io.BytesIO(b'{"lines": [{}]}')
    job = jobs.ask("clients", body, "application/json", Wanted("ann", skip=True))
    jobs.run()
    return job


def a_webhook() -> Endpoint:
    """With a delivery, and events for whoever reads them."""
    [event] = some_events(1, 1)
    endpoint = an_endpoint()
    Attempt.objects.create(
        endpoint=endpoint, webhook_id=event.webhook_id, type=event.type, duration_ms=1
    )
    return endpoint


@pytest.mark.django_db(transaction=True)  # a request's end closes a connection in a transaction
class TestAnswers:
    """To requests that follow the schema, and to some that do not, all made up."""

    @pytest.mark.parametrize("mode", GenerationMode)
    @pytest.mark.parametrize("path", PATHS)
    def test_keep_to_the_schema(self, path, mode, settings):
        settings.ALLOWED_HOSTS = ["*"]
        known = a_book(5).first()
        key, text = a_key("erp", *SCOPES)
        headers = PLAIN | {"Authorization": f"Api-Key {text}"}
        if "price-changes" in path:
            known = a_change()
            ids = {}
        else:
            ids = {
                "keys": key.number,
                "jobs": a_job().pk,
                "webhooks": a_webhook().pk,
                "clients": known.client_id,
                "services": known.service_id,
                "plans": known.plan_id,
            }
        operation = schema()[path]["GET"]
        statuses = Counter()

        @given(st.data())
        @hypothesis.settings(
            max_examples=examples(5, "SCHEMATHESIS_EXAMPLES"),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def ask(data):
            case = data.draw(operation.as_strategy(generation_mode=mode))
            if "id" in case.path_parameters and mode == GenerationMode.POSITIVE:
                pk = ids.get(path.split("/")[2], known.pk)
                case.path_parameters["id"] = data.draw(st.sampled_from([pk, pk + 999]))
            answer = case.call_and_validate(checks=CHECKS, headers=headers)
            statuses[answer.status_code] += 1

        ask()

        if mode == GenerationMode.POSITIVE:
            # A single success is enough: a random instant is often one that knew nothing, or is to
            # come.
            assert statuses[200] > 0
        else:
            assert statuses[200] < statuses.total()

    @pytest.mark.parametrize("mode", GenerationMode)
    @pytest.mark.parametrize(("method", "path"), WRITES)
    def test_to_writes_keep_to_the_schema(self, method, path, mode, settings):
        settings.ALLOWED_HOSTS = ["*"]
        known = a_book(5).first()
        ids = {
            "clients": known.client_id,
            "services": known.service_id,
            "plans": known.plan_id,
            "webhooks": an_endpoint().pk if "webhooks" in path else None,
        }
        if "price-changes" in path:
            known = a_change()
        _, key = a_key("erp", *SCOPES)
        operation = schema()[path][method]
        statuses = Counter()

        @given(st.data())
        @hypothesis.settings(
            max_examples=examples(5, "SCHEMATHESIS_EXAMPLES"),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def ask(data):
            case = data.draw(operation.as_strategy(generation_mode=mode))
            if mode == GenerationMode.POSITIVE:
                if "id" in case.path_parameters:
                    pk = ids.get(path.split("/")[2], known.pk)
                    case.path_parameters["id"] = data.draw(st.sampled_from([pk, pk + 999]))
                if path == "/api/subscriptions/" and data.draw(st.booleans()):
                    # Its fields go together in ways that no schema says.
                    case.body = {name: ids[f"{name}s"] for name in ("client", "service", "plan")}
            answer = case.call_and_validate(
                checks=CHECKS, headers=PLAIN | {"Authorization": f"Api-Key {key}"}
            )
            statuses[answer.status_code] += 1

        ask()

        assert not {401, 403, 405} & statuses.keys(), statuses
        if mode == GenerationMode.POSITIVE and path.count("/") == 3 and "price" not in path:
            assert statuses[202 if path == "/api/imports/" else 201] > 0, statuses
