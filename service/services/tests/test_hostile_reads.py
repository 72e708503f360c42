"""Nasty requests to every reading endpoint: no 5xx, and every body is JSON with a code."""

import itertools
from urllib.parse import quote, urlencode

import pytest

from services.reading import breakdown
from services.reading.filters import FILTERS
from services.reading.ordering import ORDERINGS, Cursor
from services.reading.parameters import PAGING
from services.tests.factories import a_book, a_reader

PATHS = ["subscriptions", "clients", "services", "plans", "totals", "ledger"]
NAMES = [
    *FILTERS,
    *PAGING,
    "ordering",
    "as_of",
    "known_at",
    "by",
    "after",
    "limit",
    "at",
    "format",
    "decimals",
    "x",
]
VALUES = [
    "",
    "0",
    "-1",
    "1e400",
    "NaN",
    "Infinity",
    "9" * 5000,
    str(2**63),
    "٣",
    "１２",
    "%00",
    "%ED%A0%80",
    "%FF%FE",
    quote("\u202e\u0000"),
    quote("💥" * 200),
    quote("'; DROP TABLE services_subscription; --"),
    quote('{"$gt": ""}'),
    quote(",".join(map(str, range(20_000)))),
    "[" * 5000,
    "%",
    "true",
    "None",
    "2026-01-01T00:00:00-23:59",
]


def refused_or_answered(response):
    assert response.status_code < 500, response.content
    body = response.json()
    assert response.status_code == 200 or {"code", "detail"} <= body.keys()
    return response.status_code


@pytest.mark.django_db
class TestHostileReads:
    @pytest.mark.parametrize("path", PATHS)
    def test_of_each_parameter_with_each_value(self, path):
        a_book(3)
        reader = a_reader()
        statuses = {
            refused_or_answered(reader.get(f"/api/{path}/?{name}={value}"))
            for name, value in itertools.product(NAMES, VALUES)
        }
        assert statuses <= {200, 400}
        assert 400 in statuses

    @pytest.mark.parametrize("path", PATHS)
    def test_of_locales_of_a_sheet(self, path):
        reader = a_reader()
        for value in VALUES:
            answer = reader.get(f"/api/{path}/?format=excel-csv&locale={value}")
            assert answer.status_code == 400
            assert answer.json()["code"] in ("unknown_locale", "bad_parameter")

    @pytest.mark.parametrize("path", PATHS)
    def test_of_all_parameters_at_once(self, path):
        a_book(3)
        for value in ("1", "x", "2026-01-01T00:00:00Z"):
            query = urlencode(dict.fromkeys(NAMES, value))
            refused_or_answered(a_reader().get(f"/api/{path}/?{query}"))
        twice = "&".join(f"{name}=1&{name}=2" for name in NAMES)
        assert refused_or_answered(a_reader().get(f"/api/{path}/?{twice}")) == 400
        many = "&".join(f"x{number}=1" for number in range(2000))
        assert refused_or_answered(a_reader().get(f"/api/{path}/?{many}")) == 400

    def test_of_cursors_that_look_like_ours(self):
        a_book(3)
        for ordering, value, id, backward in itertools.product(
            ORDERINGS,
            ("", "1.00", "NaN", "x" * 100, "9999-12-31T00:00:00+00:00"),
            (0, -1, 2**63 - 1, -(2**63)),
            (False, True),
        ):
            cursor = Cursor(id, backward, value)
            url = f"/api/subscriptions/?ordering={ordering}&cursor={cursor}"
            assert refused_or_answered(a_reader().get(url)) == 400  # of no list

    @pytest.mark.parametrize("kind", breakdown.ORDERINGS)
    def test_of_cursors_whose_check_somebody_has_made(self, kind):
        a_book(3)
        values = ("", "0", "1.00", "-1", "NaN", "9" * 30, "1e5", "٣", "1_0", "x" * 100, "\0")
        for ordering in breakdown.ORDERINGS[kind].values():
            key = breakdown.key_of_records(kind, {}, ordering)
            for value, id in itertools.product(values, (0, 2**63 - 1, -(2**63))):
                cursor = Cursor(id, value=value, list_key=key)
                url = f"/api/{kind}s/?ordering={ordering}&cursor={cursor}"
                assert refused_or_answered(a_reader().get(url)) in (200, 400)

    @pytest.mark.parametrize("path", ["subscriptions", "clients", "services", "plans"])
    @pytest.mark.parametrize("pk", ["0", "9" * 400, "-1", "1.0", "٣", "%00", "%FF", "a/b"])
    def test_of_ids_that_are_none(self, path, pk):
        response = a_reader().get(f"/api/{path}/{pk}/")
        assert refused_or_answered(response) in (400, 404)
