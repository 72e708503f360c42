"""Decimals are numbers in one form of the answers and texts in the other: as both schemas say."""

import json
import re
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.urls import reverse

from keys.tests.asking import with_key
from keys.tests.making import a_key
from price_changes.tests.api import URL as CHANGES
from price_changes.tests.changes import drained
from pricebook.api_schema import answers
from pricebook.kit import api_version, exact_json
from pricebook.kit.decimals import without
from pricebook.kit.error_response import plain_error
from pricebook.kit.scopes import SCOPES
from pricebook.tests.described import (
    AS_TEXT,
    Asked,
    all_operations,
    answers_of,
    parts,
)
from services import book_currency
from services.models import Service, Subscription
from services.tests.factories import a_book, a_client, a_plan, a_service, a_subscription

BRIDGE = "/api/totals/bridge/"
LIST = "/api/subscriptions/"
CHECKOUT = Path(settings.BASE_DIR).parent
HIGHEST = Decimal("9999999999.99")
# 90071992547409.93 is no double: the nearest one is .94.
NO_DOUBLE = "90071992547409.93"


def is_decimal(node):
    return node.get("format") == "decimal"


def types_of(node):
    given = node.get("type", [])
    return {given} if isinstance(given, str) else set(given)


class TestSchemas:
    """They hold for every operation that there is, and for those to come."""

    @pytest.mark.parametrize("as_text", [False, True])
    def test_call_each_number_that_is_no_integer_a_decimal(self, as_text):
        schema = answers.schema(as_text)
        text = json.dumps(schema)
        assert not [word for word in ("double", "float", "multipleOf", "x-digits") if word in text]
        for where, operation in all_operations(schema):
            for status, _, shape in answers_of(operation):
                for node, _ in parts(schema, shape):
                    if "number" in types_of(node) or is_decimal(node):
                        assert is_decimal(node), (where, status, node)
                        # A text is one in both forms if it always was: a price in a filter.
                        form = "string" if as_text or "string" in types_of(node) else "number"
                        assert form in types_of(node), (where, status, node)
            body = operation.get("requestBody", {}).get("content", {})
            for content in body.values():
                for node, _ in parts(schema, content["schema"]):
                    if "number" in types_of(node):
                        assert is_decimal(node), (where, node)
                        assert not as_text, (where, "a client of this one sends texts")

    def test_take_a_text_wherever_a_number_may_be_sent(self):
        schema = answers.schema(False)
        sent = set()
        for where, operation in all_operations(schema):
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for node, _ in parts(schema, content["schema"]):
                    for name, each in node.get("properties", {}).items():
                        forms = each.get("oneOf", [each])
                        types = set().union(*(types_of(form) for form in forms))
                        assert "number" not in types or "string" in types, (where, name)
                        sent |= {name} if {"number", "string"} <= types else set()
        assert {"price", "full_price", "new_value", "operand", "floor"} <= sent

    @pytest.mark.parametrize("as_text", [False, True])
    def test_have_the_currency_beside_each_amount(self, as_text):
        schema = answers.schema(as_text)
        for where, operation in all_operations(schema):
            for status, media_type, shape in answers_of(operation):
                for node, around in parts(schema, shape):
                    named = node.get("properties", {})
                    amounts = [
                        name
                        for name, each in named.items()
                        if name != "operand" and any(map(is_decimal, each.get("oneOf", [each])))
                    ]
                    if amounts and "price_from" not in named:  # a filter has texts alone
                        objects = [node, *(each for each in around if isinstance(each, dict))]
                        assert any("currency" in each["properties"] for each in objects), (
                            where, status, media_type, amounts,
                        )  # fmt: skip

    def test_ask_for_texts_at_each_operation_of_the_schema_that_has_them(self):
        asked = [
            sum("decimals" in str(each) for each in operation["parameters"])
            for _, operation in all_operations(answers.schema(True))
        ]
        assert asked == [1] * len(asked)
        assert "decimals" not in json.dumps(answers.schema(False)["paths"])

    def test_have_a_summary_and_the_headers_of_every_operation(self):
        schema = answers.schema(False)
        ids = set()
        for where, operation in all_operations(schema):
            assert operation["summary"], where
            assert operation["operationId"] not in ids
            ids.add(operation["operationId"])
            assert any(status.startswith("4") for status in operation["responses"]), where
            for status, response in operation["responses"].items():
                assert {"X-Request-ID", api_version.HEADER} <= set(response["headers"]), where
                assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
        assert schema["info"]["version"] == api_version.VERSION
        assert schema["servers"] == [{"url": "/"}]

    def test_say_of_nothing_that_it_is_nullable_as_3_0_did(self):
        assert answers.schema(False)["openapi"].startswith("3.1")
        assert "nullable" not in json.dumps(answers.schema(False))

    def test_name_the_filters_of_a_set(self):
        sent = answers.schema(False)["components"]["schemas"]["NewPriceChange"]["properties"]
        assert sent["filter"]["additionalProperties"] is False
        assert {"service", "price_state"} <= set(sent["filter"]["properties"])
        assert "q" not in sent["filter"]["properties"]


@pytest.mark.django_db
class TestAnswers:
    @pytest.mark.parametrize("currency", ["USD", "JPY"])
    def test_are_the_same_tree_in_both_forms(self, currency, settings):
        settings.CURRENCY = currency
        book_currency.settle()
        ask = Asked(with_key(a_key("erp", *SCOPES)[1]), currency)
        row, spare = a_book(6, plans=1)[:2]
        subscription, service = f"{LIST}{row.pk}/", f"/api/services/{row.service_id}/"
        self.lists(ask, row)
        self.writes(ask, row, spare, subscription, service)
        self.changes(ask, row)
        self.gone(ask)
        seen = {shape for shape in of_successes_with_decimals() if shape in ask.shapes}
        assert of_successes_with_decimals() - seen == set()
        assert ask.decimals > 200, "texts"
        assert ask.nulls > 100

    def lists(self, ask, row):
        for path in (
            LIST,
            f"{LIST}?page_size=2&ordering=-price",
            f"{LIST}?comment=none",
            f"{LIST}?as_of=2050-01-01T00:00:00Z",
            f"{LIST}?format=json&page_size=1",
            f"{LIST}{row.pk}/",
            f"{LIST}{row.pk}/?as_of=2050-01-01T00:00:00Z",
            f"{LIST}{row.pk}/ledger/",
            f"{LIST}{row.pk}/explain/?at=2050-01-01T00:00:00Z",
            "/api/totals/?by=service,plan",
            "/api/totals/?client=1",
            f"{BRIDGE}?from=2020-01-01T00:00:00Z&to=2050-01-01T00:00:00Z&by=service",
            f"{BRIDGE}rows/?from=2020-01-01T00:00:00Z&to=2050-01-01T00:00:00Z&kind=started",
            "/api/ledger/?limit=3",
            "/api/price-changes/",
            "/api/jobs/",
            "/api/keys/",
        ):
            ask("get", path)
        for kind, id in (
            ("clients", row.client_id),
            ("services", row.service_id),
            ("plans", row.plan_id),
        ):
            ask("get", f"/api/{kind}/?page_size=1")
            ask("get", f"/api/{kind}/{id}/")
        ask("get", f"{LIST}?price_from=x", status=400)

    def writes(self, ask, row, spare, subscription, service):
        made = ask("post", "/api/services/", {"name": "Line", "full_price": "19"}, 201)
        ask("post", "/api/clients/", {"company_name": "New Ltd"}, 201)
        ask("post", "/api/plans/", {"plan_type": "discount", "discount_percent": 33}, 201)
        new = {"client": row.client_id, "service": made["id"], "plan": row.plan_id}
        new = ask("post", LIST, new, 201)
        ask("patch", f"{LIST}{new['id']}/", {"comment": "new"})
        ask("patch", service, {"full_price": 300, "dry_run": True})
        ask("patch", service, {"full_price": "300"})
        ask("patch", f"/api/plans/{row.plan_id}/", {"discount_percent": 7, "dry_run": True})
        ask("post", f"{subscription}negotiate/", {"price": "12", "reason": "x", "dry_run": True})
        ask("post", f"{subscription}negotiate/", {"price": 12, "reason": "x"})
        ask("post", f"{subscription}negotiate/", {"price": "0.001", "reason": "x"}, 400)
        ask("post", f"{subscription}lock/", {"reason": "x"}, 200)
        correct = {"since": row.started_at.isoformat(), "price": 7, "reason": "x"}
        line = {name: correct[name] for name in ("since", "price")}
        ask("post", f"{LIST}{spare.pk}/correct/", {**correct, "dry_run": True})
        ask(
            "post",
            f"{LIST}correct/",
            {"reason": "x", "lines": [{"subscription": spare.pk, **line}]},
        )
        bulk = {"lines": [{"source": "x", "external_id": "1", "name": "Z", "full_price": "1"}]}
        ask("post", "/api/services/bulk/?dry_run=true", bulk)
        ask("post", "/api/services/bulk/", bulk)
        self.ids = row.pk, new["id"]

    def changes(self, ask, row):
        moved = {"kind": "set", "filter": {"price_from": "1"}, "adjustment": "percent"}
        change = ask("post", CHANGES, {**moved, "operand": "4.5", "floor": 2}, 201)
        path = f"{CHANGES}{change['id']}/"
        ask("get", path)
        ask("get", f"{path}rows/")
        ask("get", f"{path}skips/")
        a_subscription(row.client, row.service, row.plan)
        [seen] = ask("get", CHANGES)["result"][:1]
        Subscription.objects.filter(pk=row.pk).update(price=1)
        fingerprint = {"fingerprint": seen["fingerprint"]}
        ask("post", f"{path}approve/", {**fingerprint, "dry_run": True}, 409)
        change = ask("post", f"{path}preview/")
        fingerprint = {"fingerprint": change["fingerprint"]}
        ask("post", f"{path}approve/", {**fingerprint, "dry_run": True})
        ask("post", f"{path}approve/", fingerprint)
        drained()
        ask("get", path)
        ask("get", f"{path}rows/")
        ask("post", f"{path}revert/", {"dry_run": True})
        value = {"kind": "list_price", "service": row.service_id, "new_value": "310"}
        later = ask("post", CHANGES, {**value, "effective_at": "2090-01-01T00:00:00Z"}, 201)
        fingerprint = {"fingerprint": later["fingerprint"]}
        ask("post", f"{CHANGES}{later['id']}/approve/", fingerprint)
        ask("get", f"{CHANGES}{later['id']}/notices/")
        ask("get", CHANGES)

    def gone(self, ask):
        """Entries of a subscription that was deleted have no price."""
        pk = a_subscription(a_client(), a_service(5), a_plan()).pk
        Subscription.objects.filter(pk=pk).delete()
        assert ask("get", f"{LIST}{pk}/ledger/")["result"][-1]["price"] is None
        ask("get", "/api/ledger/")

    def test_of_the_stream_too(self):
        program = with_key(a_key("erp", *SCOPES)[1])
        a_book(3)
        Service.objects.update(full_price=HIGHEST)
        drained()

        def text_of(path):
            answer = program.get(path)
            return b"".join(answer).decode()

        numbers, texts = (
            text_of(f"{LIST}?format=ndjson"),
            text_of(f"{LIST}?format=ndjson&{AS_TEXT}"),
        )
        assert numbers.count("9999999999.99") == texts.count('"9999999999.99"') > 3
        for one, other in zip(numbers.splitlines(), texts.splitlines(), strict=True):
            assert json.loads(one, parse_float=str) == json.loads(other)
        page = program.get(f"{LIST}?{AS_TEXT}").content.decode()
        assert texts.splitlines()[0] in page, "a line is the object of the page, in this form too"

    def test_are_kept_for_both_forms(self):
        """A key that was sent for numbers is answered in texts, and the other way round."""
        program = with_key(a_key("erp", *SCOPES)[1])
        for first, second in (("", f"?{AS_TEXT}"), (f"?{AS_TEXT}", "")):
            body, key = {"name": f"Line {first}", "full_price": 5}, {"Idempotency-Key": f"k{first}"}
            one = program.post(f"/api/services/{first}", body, headers=key)
            two = program.post(f"/api/services/{second}", body, headers=key)
            assert (one.status_code, two.status_code) == (201, 201)
            assert two["Idempotency-Replayed"] == "true"
            assert {one.json()["full_price"], two.json()["full_price"]} == {5.0, "5.00"}
            assert program.post(f"/api/services/{first}", body, headers=key).content == one.content
            bulk, key = {"lines": []}, {"Idempotency-Key": f"b{first}"}
            path = "/api/services/bulk/?on_error=skip"
            for each in (path, f"{path}&{AS_TEXT}", f"{path.replace('?', f'?{AS_TEXT}&')}"):
                assert program.post(each, bulk, headers=key).status_code == 200, each

    def test_of_one_object_may_be_matched_in_either_form(self):
        program = with_key(a_key("erp", *SCOPES)[1])
        path = f"/api/services/{a_service(5).pk}/"
        for name, form in (("A", ""), ("B", f"?{AS_TEXT}")):
            etag = program.get(f"{path}{form}")["ETag"]
            again = program.get(f"{path}{form}", headers={"If-None-Match": etag})
            assert again.status_code == 304
            written = program.patch(path, {"name": name}, headers={"If-Match": etag})
            assert written.status_code == 200
            stale = program.patch(path, {"name": "C"}, headers={"If-Match": etag})
            assert stale.status_code == 412

    @pytest.mark.parametrize("query", ["decimals=text", "decimals=", f"{AS_TEXT}&{AS_TEXT}"])
    def test_have_no_third_form(self, query):
        program = with_key(a_key("erp", *SCOPES)[1])
        for path in (LIST, "/api/price-changes/", "/api/schema/"):
            answer = program.get(f"{path}?{query}")
            assert (answer.status_code, answer.json()["parameter"]) == (400, "decimals"), path
        refused = program.post(f"{CHANGES}?{query}", {})
        assert refused.json()["parameter"] == "decimals"

    def test_have_the_version_of_the_api(self, client):
        for path in (LIST, "/api/none/", "/api/schema/"):
            assert client.get(path)[api_version.HEADER] == api_version.VERSION
        before_django = plain_error(408, "body_too_slow", "It came too slowly.")
        assert before_django[api_version.HEADER] == api_version.VERSION
        assert api_version.HEADER not in client.get(reverse("healthz"))


def of_successes_with_decimals():
    schema, found = answers.schema(False), set()
    for _, operation in all_operations(schema):
        for status, media_type, shape in answers_of(operation):
            if status < "3" and media_type == "application/json":
                nodes = [node for node, _ in parts(schema, shape)]
                if any(is_decimal(node) and "pattern" not in node for node in nodes):
                    found.add(json.dumps(shape, sort_keys=True))
    return found


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        (Decimal(NO_DOUBLE), NO_DOUBLE, NO_DOUBLE),
        (Decimal("12.50"), "12.50", "12.50"),
        (Decimal("-0.01"), "-0.01", "-0.01"),
        (Decimal(5), "5", "5"),
    ],
)
def test_every_digit_is_written_and_kept(value, number, text):
    assert exact_json.encode(value).decode() == number
    assert exact_json.encode(value, as_text=True).decode() == f'"{text}"'
    kept = exact_json.decode_kept(exact_json.encode_to_keep({"a": [value, 5, "5", None]}))
    assert str(kept) == str({"a": [value, 5, "5", None]})


class TestReadersOfTheDocument:
    """The readers that docs/reading-numbers.md shows and that are installed here."""

    NUMBERS, TEXTS = (
        f'{{"result":[],"total_amount":{total},"count":10000,"currency":"USD"}}'
        for total in (NO_DOUBLE, f'"{NO_DOUBLE}"')
    )

    def test_keep_each_digit(self):
        page = (CHECKOUT / "docs" / "reading-numbers.md").read_text()
        assert self.NUMBERS in page
        assert self.TEXTS in page
        run = 0
        for program in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            modules = set(re.findall(r"^(?:import|from) (\w+)", program, re.MULTILINE))
            if all(map(find_spec, modules)):
                names = {"numbers": self.NUMBERS, "texts": self.TEXTS, "__name__": "reader"}
                exec(program, names)
                assert str(names["total"]) == NO_DOUBLE, program
                run += 1
        assert run >= 3
        assert str(json.loads(self.NUMBERS)["total_amount"]) != NO_DOUBLE, "a double would do"

    @pytest.mark.django_db
    def test_are_in_the_database_too(self):
        with connection.cursor() as cursor:
            for form in (self.NUMBERS, self.TEXTS):
                cursor.execute("SELECT (%s::jsonb->>'total_amount')::numeric", [form])
                assert str(cursor.fetchone()[0]) == NO_DOUBLE


def test_the_form_has_no_say_in_what_a_request_does():
    for path in ("/a/", "/a/?b=1", "/a/?b=decimals"):
        joint = "&" if "?" in path else "?"
        assert without(f"{path}{joint}{AS_TEXT}") == path
    assert without(f"/a/?{AS_TEXT}&b=1") == "/a/?b=1"
