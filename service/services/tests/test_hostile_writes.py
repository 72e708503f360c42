"""Bodies that make no sense, of every write of a single object: refused, and nothing written."""

import json

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import connection
from rest_framework.test import APIClient

from services.tests.factories import a_subscription
from services.tests.programs import a_writer

pytestmark = pytest.mark.django_db

# Bodies that no write takes, whatever it is of.
HOSTILE = {
    "nested": "[" * 5000 + "]" * 5000,
    "nested object": '{"company_name":' * 5000 + "1" + "}" * 5000,
    "nested within bounds": '{"comment": ' + "[" * 18 + "]" * 18 + "}",
    "cut off": '{"comment": "x"',
    "not UTF-8": b'{"comment": "\xff"}',
    "array": '[{"comment": "x"}]',
    "string": '"comment"',
    "null": "null",
    "number": "1e400",
    "NaN": '{"comment": NaN}',
    "infinity": '{"full_price": -Infinity}',
    "1e99999999999999999999": '{"full_price": 1e9999999999999999}',
    "digits": '{"client": ' + "9" * 5000 + "}",
    "a name twice": '{"comment": "x", "comment": "y"}',
    "a name twice, the same": '{"name": "x", "name": "x"}',
    "a name twice that is none": '{"\\ud800": 1, "\\ud800": 2}',
    "NUL": '{"comment": "\\u0000", "name": "\\u0000", "company_name": "\\u0000"}',
    "NUL in a name": '{"\\u0000": 1}',
    "half a surrogate": '{"comment": "\\ud800"}',
    "unknown field": '{"password": "x"}',
    "a column that is none's": '{"user_id": 1}',
    "an id": '{"id": 1}',
    "its price": '{"price": 1}',
    "all of it": json.dumps({name: [] for name in ("client", "comment", "name", "plan_type")}),
    "long": '{"comment": "' + "x" * 1_000_001 + '"}',
}
GOOD = {
    "clients": {"company_name": "Acme", "email": "a@acme.example", "full_address": "1 High St"},
    "services": {"name": "Fibre", "full_price": "12.50"},
    "plans": {"plan_type": "discount", "discount_percent": 17},
    "subscriptions": {"comment": "x", "started_at": "2026-01-01T00:00Z"},
}
CHANGES = {
    "clients": {"company_name": "Acme", "email": "b@acme.example", "full_address": "2 High St"},
    "services": {"name": "Fibre 2", "full_price": "13.50"},
    "plans": {"plan_type": "student", "discount_percent": 18},
    "subscriptions": {"comment": "y", "started_at": "2098-01-01T00:00Z"},
}
WRONG = [None, True, False, 5, 5.5, -1, 1e308, [], [1], {}, {"a": 1}, "\u202e", "x" * 5000, "٣"]
# The values above that a field takes for what they are.
TAKEN = {
    "email": [None],
    "source": [None],
    "external_id": [None],
    "ended_at": [None],
    "discount_percent": [5],
    "full_price": [5, 5.5],
    "client": [],
    "service": [],
    "plan": [],
}
TEXTS = {"company_name", "full_address", "name", "comment", "source", "external_id"}


def rows():
    """Every row of the book, and of what follows it."""
    with connection.cursor() as cursor:
        found = {}
        for table in sorted(connection.introspection.table_names()):
            if table.startswith(("services_", "clients_", "auth_user", "pricebook_answered")):
                cursor.execute(
                    f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
                )
                found[table] = cursor.fetchone()[0]
        return found


@pytest.fixture
def writes():
    """Every write of a single object, with a body that it takes."""
    one = a_subscription(started_at="2099-01-01T00:00Z")
    ids = {
        "subscriptions": one.pk,
        "clients": one.client_id,
        "services": one.service_id,
        "plans": one.plan_id,
    }
    new = {"client": one.client_id, "service": one.service_id, "plan": one.plan_id}
    writes = [
        *[("post", f"/api/{kind}/", given) for kind, given in GOOD.items()],
        *[("patch", f"/api/{kind}/{ids[kind]}/", given) for kind, given in CHANGES.items()],
        ("post", f"/api/subscriptions/{one.pk}/end/", {"ended_at": "2100-01-01T00:00Z"}),
        ("post", f"/api/subscriptions/{one.pk}/restart/", {"ended_at": "2100-01-01T00:00Z"}),
        ("post", f"/api/subscriptions/{one.pk}/move/", new),
        *[("delete", f"/api/{kind}/{id}/", {}) for kind, id in ids.items()],
    ]
    return [
        (method, path, given | (new if (method, path) == ("post", "/api/subscriptions/") else {}))
        for method, path, given in writes
    ]


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_are_refused_with_a_code(body, writes):
    erp, before = a_writer(), rows()
    for method, path, _ in writes:
        for headers in ({}, {"Idempotency-Key": "k"}):
            response = erp.generic(
                method.upper(), path, body, content_type="application/json", headers=headers
            )
            answer = msgspec.json.decode(response.content)
            assert 400 <= response.status_code < 500, (method, path, answer)
            assert answer["code"]
            assert answer["detail"]
    assert rows() == before


def test_with_a_value_of_another_type_are_refused(writes):
    erp, before = a_writer(), rows()
    asked = 0
    for method, path, given in writes:
        if method == "delete":
            continue
        for name in given:
            for value in WRONG:
                text = isinstance(value, str) and name in TEXTS and len(value) < 50
                if text or any(value is each for each in TAKEN.get(name, [])):
                    continue
                if value is None and path.endswith("restart/"):
                    continue
                response = getattr(erp, method)(path, given | {name: value})
                assert 400 <= response.status_code < 500, (method, path, name, value)
                assert response.json()["code"]
                asked += 1
    assert rows() == before
    assert asked > 200


def test_with_other_content_are_refused(writes):
    erp, before = a_writer(), rows()
    for method, path, _ in writes:
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "text/csv"):
            answer = erp.generic(method.upper(), path, "comment=x", content_type=content_type)
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert rows() == before


def test_of_what_there_is_not_are_refused(writes):
    erp, before = a_writer(), rows()
    for id in (0, 2**62, 10**30):
        for method, path, given in writes:
            parts = path.split("/")
            if parts[3]:
                path = "/".join([*parts[:3], str(id), *parts[4:]])
                answer = getattr(erp, method)(path, given)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert rows() == before


def test_of_a_person_need_the_token_of_the_session(writes):
    """A page elsewhere that a browser shows can't write in the name of who looks at it."""
    ann = APIClient(enforce_csrf_checks=True)
    ann.force_login(User.objects.create_superuser("ann"))
    before = rows()
    for method, path, given in writes:
        answer = getattr(ann, method)(path, given)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert rows() == before


def test_the_good_ones_are_taken(writes):
    """So it is for their faults that the others are refused."""
    erp = a_writer()
    for method, path, given in writes:
        answer = getattr(erp, method)(path, given)
        in_use = method == "delete" and "subscriptions" not in path
        assert (answer.status_code in (200, 201, 204)) != in_use, (path, answer.content)
