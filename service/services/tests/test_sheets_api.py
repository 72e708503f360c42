"""Spreadsheets over the API and by command: the rows of the JSON, whole, and with its rights."""

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client as Browser
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook
from rest_framework.request import Request

from keys.tests.asking import with_key
from keys.tests.making import a_key
from price_changes import sheets as sheets_of_changes
from price_changes.tests.api import a_program
from price_changes.tests.changes import applied, planned
from services import price_state
from services.models import Subscription
from services.tests.factories import a_book, a_client, a_plan, a_reader, a_service, a_subscription
from services.tests.interleaving import a_person
from services.transfer import chunks, csv_file, streaming
from services.transfer.sheets import answering, book, table
from services.views import sheets

URL = "/api/subscriptions/"
XLSX, EXCEL = {"format": "xlsx"}, {"format": "excel-csv", "locale": "ru"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Chunks of a few rows, and places for any caller."""
    monkeypatch.setattr(streaming, "places", streaming.Places(2, 2))
    monkeypatch.setattr(chunks, "CHUNK", 10)
    monkeypatch.setattr(sheets, "CHUNK", 4)
    monkeypatch.setattr(sheets_of_changes, "CHUNK", 4)


def a_motley_book():
    a_book(21)
    service, plan = a_service("19.99", name="=Phone"), a_plan(33)
    client = a_client("Müller; & Söhne", email="odd@example.com", full_address="+7 (495)\n1")
    odd = a_subscription(
        client, service, plan, comment="@x", source="erp", external_id="00123",
        started_at=datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC),
    )  # fmt: skip
    a_subscription(
        client, service, plan, external_id="1E5", source="erp",
        started_at=datetime(1900, 1, 1, tzinfo=UTC), ended_at=datetime(2026, 2, 1, tzinfo=UTC),
    )  # fmt: skip
    rich = a_subscription(client, service, plan)
    price_state.negotiate(rich.pk, price=Decimal("9999999999.99"), reason="x", author="ann")
    return odd


def get(url=URL, **query):
    return a_reader().get(url, query)


def whole(response):
    assert response.status_code == 200, response.content
    content = response.getvalue()
    assert len(content) == int(response["Content-Length"])
    return content


def as_text(value):
    """A value of a workbook or of JSON as one text, whichever way either has it."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return f"{Decimal(str(value)).normalize():f}"
    text = "" if value is None else str(value)
    # An instant of the ledger has its microseconds always.
    return text.replace(".000000Z", "Z")


def in_workbook(content):
    """The rows, each by name, and what the sheet "About" says."""
    data, about = load_workbook(io.BytesIO(content)).worksheets
    names, *rows = data.iter_rows(values_only=True)
    return (
        [dict(zip(names, map(as_text, row), strict=True)) for row in rows],
        dict(about.iter_rows(values_only=True)),
    )


def in_csv(content):
    text = content.decode("utf-8-sig")
    names, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=";", strict=True)
    return [dict(zip(names, map(as_written_by_programs, row), strict=True)) for row in rows]


def as_written_by_programs(cell):
    """The cell as the CSV for programs has it: texts as they are, a point, instants in UTC."""
    if cell.startswith('="'):
        return cell[2:-1].replace('""', '"')
    if re.fullmatch("[0-9-]{10} [0-9:]{8}", cell):
        return f"{cell.replace(' ', 'T')}Z"
    return cell.replace(",", ".") if cell.replace(",", "").isdecimal() else cell


def for_programs(**filters):
    text = get(format="csv", **filters).getvalue().decode()
    *rows, _ = csv.DictReader(io.StringIO(text, newline=""))
    return rows


def by_pages(url, **query):
    rows, following = [], a_reader().get(url, {"page_size": 5, **query})
    while True:
        page = json.loads(following.content, parse_float=Decimal)
        rows += page["result"]
        if not page.get("next") or not page["result"]:
            return rows
        address = page["next"] if page["next"].startswith("http") else f"{url}?after={page['next']}"
        following = a_reader().get(address)


@pytest.mark.django_db
class TestSubscriptions:
    @pytest.mark.parametrize(
        "filters",
        [{}, {"source": "erp"}, {"state": "ended"}, {"price_from": "100"}, {"q": "Müller"},
         {"pending": "true"}, {"comment_prefix": "row 1", "price_state": "follows"}],
    )  # fmt: skip
    def test_are_those_of_the_csv_for_programs(self, filters):
        a_motley_book()
        expected = for_programs(**filters)
        answer = get(**XLSX, **filters)
        rows, about = in_workbook(whole(answer))
        assert rows == [
            {name: as_number(name, value) for name, value in row.items()} for row in expected
        ]

        total = sum((Decimal(row["price"]) for row in expected), Decimal("0.00"))
        assert Decimal(about["Sum of price"]) == total
        assert f"price={about['Sum of price']}" in answer["Column-Sums"].split(", ")
        assert (about["Rows"], answer["Row-Count"]) == (len(expected), str(len(expected)))
        assert (about["Version of the book"], answer["Book-Changed"]) == (
            answer["Book-Version"], "false"
        )  # fmt: skip

        answer = get(**EXCEL, **filters)
        assert in_csv(whole(answer)) == expected
        assert f"price={total:.2f}" in answer["Column-Sums"].split(", ")

    def test_have_the_columns_of_a_file_whatever_these_are(self):
        answer = get(**XLSX)
        data, _ = load_workbook(io.BytesIO(whole(answer))).worksheets
        assert [cell.value for cell in data[1]] == list(csv_file.COLUMNS)
        assert {column.type for column in csv_file.COLUMNS.values()} <= table.OF_FILE.keys()

    def test_come_in_a_query_a_chunk(self):
        a_book(34)
        with CaptureQueriesContext(connection) as queries:
            whole(get(**EXCEL))
        # 5 queries: * the number of rows, of the subtotals * chunks of 10, 10, 10 and 4
        assert len(queries) == 5

    def test_are_sent_as_what_they_are(self):
        a_book(3)
        answer = a_reader().get(URL, XLSX, headers={"accept-encoding": "gzip"})
        assert answer["Content-Type"] == answering.XLSX
        assert answer["Content-Disposition"] == 'attachment; filename="subscriptions.xlsx"'
        assert answer["Cache-Control"] == "no-store"
        assert not {"ETag", "Content-Encoding"} & set(answer.headers)
        assert whole(answer)[:2] == b"PK"
        answer = a_reader().get(URL, EXCEL, headers={"accept-encoding": "gzip"})
        assert answer["Content-Type"] == "text/csv; charset=utf-8"
        assert 'filename="subscriptions.csv"' in answer["Content-Disposition"]
        assert in_csv(whole(answer))
        assert a_reader().head(URL, XLSX).getvalue() == b""
        by_accept = a_reader().get(URL, headers={"accept": answering.XLSX})
        assert whole(by_accept)[:2] == b"PK"


def as_number(name, value):
    """A value of the CSV for programs as a sheet has it: a number without the zeros at its end."""
    is_number = csv_file.COLUMNS[name].type in ("integer", "numeric(12, 2)")
    return as_text(Decimal(value)) if value and is_number else value


@pytest.mark.django_db
class TestOthers:
    """Each has the fields of its JSON, all rows, and a sum of each amount."""

    def same(self, url, expected, **query):
        names = list(expected[0])
        for form, read in ((XLSX, in_workbook), (EXCEL, in_csv)):
            answer = get(url, **form, **query)
            content = whole(answer)
            rows = read(content)[0] if read is in_workbook else read(content)
            assert len(rows) == len(expected) == int(answer["Row-Count"])
            assert set(rows[0]) == set(names)
            for row, json_row in zip(rows, expected, strict=True):
                for name in names:
                    assert as_text(as_decimal(row[name])) == as_text(as_decimal(json_row[name]))
            for said in answer.get("Column-Sums", "").split(", "):
                name, _, amount = said.partition("=")
                values = [row[name] for row in expected] if name else []
                assert sum(value for value in values if value is not None) == Decimal(amount or 0)
        return answer

    def test_records_with_what_they_pay(self):
        a_motley_book()
        for kind, query in (
            ("clients", {"ordering": "-company_name"}),
            ("clients", {"q": "Company"}),
            ("services", {"ordering": "-total_amount"}),
            ("plans", {}),
        ):
            url = f"/api/{kind}/"
            assert int(self.same(url, by_pages(url, **query), **query)["Row-Count"]) > 2

    def test_totals(self):
        a_motley_book()
        for by in ("service", "service,plan", "plan_type"):
            expected = json.loads(
                get("/api/totals/", by=by).content, parse_float=Decimal
            )["result"]  # fmt: skip
            self.same("/api/totals/", expected, by=by)
        together = json.loads(get("/api/totals/").content, parse_float=Decimal)
        only = {name: together[name] for name in ("count", "total_amount")}
        self.same("/api/totals/", [only])

    def test_the_ledger_of_all_and_of_one(self):
        odd = a_motley_book()
        for price in range(6):
            price_state.negotiate(odd.pk, price=Decimal(price), reason="=x", author="ann")
        one = f"{URL}{odd.pk}/ledger/"
        assert int(self.same(one, by_pages(one))["Row-Count"]) == 7

    def test_the_rows_of_a_change_and_those_that_stay(self):
        a_book(10)
        locked = a_subscription()
        price_state.lock(locked.pk, until=None, reason="x", author="ann")
        change = planned(kind="set", filter={}, adjustment="percent", operand="5")
        url = f"/api/price-changes/{change.pk}/"
        self.same(f"{url}rows/", by_pages(f"{url}rows/"))
        self.same(f"{url}rows/", by_pages(f"{url}rows/", reason="moves"), reason="moves")
        applied(change)
        self.same(f"{url}rows/", by_pages(f"{url}rows/"))
        skipped = by_pages(f"{url}skips/")
        assert [row["reason"] for row in skipped] == ["locked"]
        self.same(f"{url}skips/", skipped)


def as_decimal(value):
    if isinstance(value, bool):
        return value
    try:
        return Decimal(value)
    except (ArithmeticError, TypeError, ValueError):
        return value


@pytest.mark.django_db(transaction=True)
class TestBesideOthers:
    def test_the_feed_is_whole_or_as_much_as_is_asked_for(self):
        a_book(10)
        url = "/api/ledger/"
        expected = by_pages(url)
        rows, about = in_workbook(whole(get(url, **XLSX)))
        assert [row["id"] for row in rows] == [str(entry["id"]) for entry in expected]
        assert {row["price"] for row in rows} == {as_text(row["price"]) for row in expected}
        last = json.loads(get(url, page_size=1000).content)
        assert about["Place to read on from"] == last["next"]
        assert about["Complete until"] > "20"

        answer = get(url, **XLSX, limit=7)
        rows, about = in_workbook(whole(answer))
        assert [row["id"] for row in rows] == [str(entry["id"]) for entry in expected[:7]]
        assert about["Complete until"] == "not known: there is more to read"
        rest = a_reader().get(answer["Link"].partition(">")[0][1:])
        assert len(in_workbook(whole(rest))[0]) == 3

    def test_more_at_once_than_there_are_places_is_refused(self):
        a_book(3)
        held = [get(**XLSX), get(format="csv")]
        assert get(**XLSX).json()["code"] == "too_many_streams"
        for answer in held:
            answer.close()
        assert get(**XLSX).status_code == 200

    def test_what_has_no_walk_says_that_the_book_moved(self):
        moments = table.between(), table.between()
        assert not moments[0]().changed
        a_subscription()
        assert moments[1]().changed

    @pytest.mark.parametrize("form", [XLSX, EXCEL])
    def test_a_sheet_says_that_the_book_moved(self, form, monkeypatch):
        a_book(30)
        moved = []
        flush = chunks.Walk.__iter__

        def beside(walk):
            for text in flush(walk):
                yield text
                if not moved:
                    with a_person() as person:
                        person.execute("UPDATE services_service SET name = name || '.'")
                        person.commit()
                    moved.append(True)

        monkeypatch.setattr(chunks.Walk, "__iter__", beside)
        assert get(**form)["Book-Changed"] == "true"


@pytest.mark.django_db
class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "code", "parameter"),
        [
            (XLSX | {"page_size": "10"}, "not_with_format", "page_size"),
            (XLSX | {"ordering": "id"}, "not_with_format", "ordering"),
            (XLSX | {"as_of": "2026-01-01T00:00:00Z"}, "not_with_format", "as_of"),
            (XLSX | {"service": "abc"}, "bad_parameter", "service"),
            (XLSX | {"serivce": "1"}, "unknown_parameter", "serivce"),
            (XLSX | {"locale": "ru"}, "unknown_parameter", "locale"),
            ({"locale": "ru"}, "unknown_parameter", "locale"),
            ({"format": "excel-csv"}, "unknown_locale", "locale"),
            (EXCEL | {"locale": "xx"}, "unknown_locale", "locale"),
            (EXCEL | {"locale": "ru\0"}, "bad_parameter", "locale"),
        ],
    )
    def test_come_before_the_first_byte_as_json_and_leave_the_place(self, query, code, parameter):
        for _ in range(3):
            answer = get(**query)
            assert answer["Content-Type"] == "application/problem+json"
            error = json.loads(answer.content)
            assert (error["status"], error["code"], error["parameter"]) == (400, code, parameter)

    @pytest.mark.parametrize(
        "url", ["/api/ledger/", "/api/totals/", "/api/clients/", f"{URL}1/ledger/"]
    )
    def test_know_the_parameters_of_each_list(self, url):
        assert get(url, **XLSX, nonsense=1).json()["code"] == "unknown_parameter"
        assert get(url, format="excel-csv").status_code in (400, 404)

    @pytest.mark.parametrize("form", [XLSX, EXCEL])
    @pytest.mark.parametrize(("filters", "known"), [({}, True), ({"state": "active"}, False)])
    def test_of_too_many_rows_say_how_many(self, monkeypatch, form, filters, known):
        monkeypatch.setattr(table, "ROWS_OVER_HTTP", 20)
        a_book(21)
        answer = get(**form, **filters)
        error = json.loads(answer.content)
        assert (answer.status_code, error["code"], error["most"]) == (413, "too_many_rows", 20)
        assert ("rows" in error) == known
        assert ("21 rows" if known else "more than 20 rows") in error["detail"]
        Subscription.objects.first().delete()
        assert get(**form, **filters)["Row-Count"] == "20"

    @pytest.mark.parametrize("form", [XLSX, EXCEL])
    def test_of_what_takes_too_long(self, settings, form, monkeypatch):
        settings.LONG_READ_TIMEOUT = 300
        a_book(101)
        clock = iter(range(0, 10_000, 200))
        monkeypatch.setattr(table, "time", FakeTime(clock))
        answer = get(**form)
        assert (answer.status_code, answer.json()["code"]) == (503, "read_timed_out")

    def test_leave_the_place_while_the_error_is_still_at_hand(self):
        request = Request(RequestFactory().get(URL))
        request.user, request.accepted_renderer = User(username="ann"), answering.XLSXRenderer()
        too_many = book.subscriptions()
        with pytest.raises(table.TooManyRows) as refused:
            answering.answer(request, replace(too_many, expected=200_001))
        assert (refused.value.about["rows"], streaming.places.taken.total()) == (200_001, 0)

    def test_of_who_may_not_read_the_json(self, monkeypatch):
        monkeypatch.setattr(streaming, "places", streaming.Places(99, 99))
        change = planned(kind="list_price", service=a_book(3).first().service_id, new_value="9")
        rows = f"/api/price-changes/{change.pk}/rows/"
        _, key = a_key("no more than changes", "price_changes:read")
        reader, lacking = a_program(), with_key(key)
        for url in (URL, rows, "/api/ledger/", "/api/totals/", "/api/clients/"):
            assert reader.get(url, EXCEL).status_code == 200
            assert lacking.get(url, EXCEL).json()["code"] == "permission_denied"
            assert Browser().get(url, XLSX).json()["code"] == "not_authenticated"


class FakeTime:
    def __init__(self, clock):
        self.monotonic = lambda: next(clock)


@pytest.mark.django_db
class TestCommand:
    def test_writes_the_book_for_people(self, tmp_path):
        a_motley_book()
        expected = for_programs()
        call_command("export_book", str(tmp_path / "book.xlsx"))
        rows, about = in_workbook((tmp_path / "book.xlsx").read_bytes())
        assert [row["external_id"] for row in rows] == [row["external_id"] for row in expected]
        assert about["Rows"] == len(expected)
        call_command("export_book", str(tmp_path / "book.csv"), excel="ru", consistent=True)
        assert in_csv((tmp_path / "book.csv").read_bytes()) == expected

    @pytest.mark.parametrize(
        ("name", "locale", "said"),
        [
            ("b.csv", "xx", "'xx' is none"),
            ("b.xlsx", "ru", "leave --excel out"),
            ("b.xlsx.gz", None, "leave .gz out"),
        ],
    )
    def test_refuses_what_it_can_not_write(self, tmp_path, name, locale, said):
        with pytest.raises(CommandError, match=said):
            call_command("export_book", str(tmp_path / name), excel=locale)
        assert not list(tmp_path.iterdir())

    def test_refuses_more_rows_than_a_sheet_has(self, tmp_path, monkeypatch):
        monkeypatch.setattr("services.transfer.exporting.MOST_ROWS", 3)
        a_book(4)
        with pytest.raises(CommandError, match="These are 4 rows, and a sheet has up to 3"):
            call_command("export_book", str(tmp_path / "b.xlsx"))
        assert not list(tmp_path.iterdir())
