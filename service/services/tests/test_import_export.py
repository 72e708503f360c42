"""Import and export: all or nothing, twice changes nothing, and there and back again."""

import csv
import gzip
import io
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Case, F, Sum, Value, When
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clients.models import Client
from pricebook.kit.names import normal_form
from pricebook.tests.servers import on_this_database
from services import repricing
from services.audit import book_check
from services.models import Plan, Repricing, Service, Subscription, Subtotal
from services.models.subscription import SAID_AT_END
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)
from services.tests.interleaving import a_person
from services.transfer import formats
from services.transfer.csv_file import LINE_LIMIT, BadBook, Problem
from services.transfer.exporting import Exported, export_book
from services.transfer.importing import Imported, import_book

pytestmark = pytest.mark.django_db
REFUSED = "\0\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # in any text

TELCO = Path(__file__).parents[1] / "data" / "telco_book.csv.gz"

LINE = {
    "company_name": "Acme",
    "email": "acme@example.com",
    "full_address": "",
    "service": "Phone",
    "full_price": "20",
    "plan_type": "full",
    "discount_percent": "0",
    "source": "crm",
    "external_id": "1",
    "started_at": "2026-01-01",
}


ODD_TEXTS = [
    "", " padded ", 'quo"ted', "a,b", "a\nb", "a\r\nb\rc", "Привет", "🙂", "=1+1",
    "\\.", "\\N", "NULL", ";", "\t",
]  # fmt: skip


def lines(*changes: dict[str, str]) -> list[dict[str, str]]:
    """A line for each of the changes to the usual one, with external ids of their own."""
    return [LINE | {"external_id": str(n)} | change for n, change in enumerate(changes, start=1)]


def as_csv(rows: list[dict[str, str]], columns: list[str] | None = None) -> bytes:
    out = io.StringIO()
    names = columns or list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def read(content: bytes | list[dict[str, str]], update: bool = False) -> Imported:
    if isinstance(content, list):
        content = as_csv(content)
    return import_book(io.BytesIO(content), update=update)


def problems(content: bytes | list[dict[str, str]], update: bool = False) -> list[Problem]:
    """The problems of a file, of which nothing was written to the book."""
    before = everything(), version()
    with pytest.raises(BadBook) as bad, transaction.atomic():
        read(content, update)
    assert (everything(), version()) == before
    return bad.value.problems


def the_problem(content: bytes | list[dict[str, str]], update: bool = False) -> Problem:
    (problem,) = problems(content, update)
    return problem


def version() -> int:
    return Subtotal.objects.aggregate(version=Sum("changes"))["version"]


def xmins() -> set[tuple]:
    """Each row of the book with the transaction that wrote it."""
    with connection.cursor() as cursor:
        rows: set[tuple] = set()
        for table in (
            "services_subscription", "services_service", "services_plan", "clients_client",
            "auth_user", "services_repricing",
        ):  # fmt: skip
            cursor.execute(f"SELECT '{table}', id, xmin::text FROM {table}")
            rows |= set(cursor.fetchall())
        return rows


def everything() -> list[tuple]:
    """The book without its ids, in the order of the subscriptions.

    The price says all of what has ended: its state may be that the catalogue does not explain it.
    """
    own = {"price_state": "negotiated", "price_reason": SAID_AT_END}
    return list(
        Subscription.objects.order_by("id")
        .annotate(
            state=Case(When(**own, then=Value("follows")), default=F("price_state")),
            reason=Case(When(**own, then=Value("")), default=F("price_reason")),
        )
        .values_list(
            "client__company_name", "client__full_address", "client__user__email",
            "service__name", "service__full_price", "plan__plan_type", "plan__discount_percent",
            "price", "state", "locked_until", "reason",
            "comment", "stamp", "source", "external_id", "started_at", "ended_at",
        )
    )  # fmt: skip


def without_ids(content: bytes) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
    return [{name: value for name, value in row.items() if name != "id"} for row in rows]


def empty_the_book() -> None:
    Subscription.objects.all().delete()
    Client.objects.all().delete()
    User.objects.all().delete()
    Service.objects.all().delete()
    Plan.objects.all().delete()


def counted(table):
    """Its rows, as the planner knows them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [table])
        return cursor.fetchone()[0]


class TestRealBook:
    def test_gives_the_total_that_nobody_made_up(self, empty_files):
        with gzip.open(TELCO) as file:
            imported = import_book(file)
        assert imported == Imported(
            subscriptions_new=29_202,
            subscriptions_changed=0,
            subscriptions_same=0,
            clients_new=7_043,
            clients_changed=0,
            services_new=10,
            services_changed=0,
            plans_new=2,
            total=Decimal("456360.00"),
            paid=Decimal("456360.00"),
        )
        assert counted("services_ledgerentry") > 29_000  # or the book check goes row by row
        checked = book_check.check()
        assert (checked.differs, checked.amount) == (False, Decimal("456360.00"))
        assert Service.objects.get(name="Phone").subscriptions.count() == 6_361
        assert Plan.objects.get(plan_type="discount").subscriptions.count() == 14_857

        before, moved = xmins(), version()
        with gzip.open(TELCO) as file:
            again = import_book(file)
        assert (again.subscriptions_new, again.subscriptions_same) == (0, 29_202)
        assert (xmins(), version()) == (before, moved)


class TestReading:
    def test_makes_what_a_subscription_needs(self):
        read(lines({"email": "Ann@Example.com", "comment": "VIP", "discount_percent": "10"}))
        subscription = Subscription.objects.get()
        assert subscription.price == 18
        assert subscription.comment == "VIP"
        assert subscription.started_at == datetime(2026, 1, 1, tzinfo=UTC)
        login = subscription.client.user
        assert (login.username, login.email) == ("Ann@Example.com", "Ann@Example.com")
        assert not login.has_usable_password()
        assert (login.is_staff, login.is_superuser) == (False, False)

    def test_takes_columns_in_any_order_and_without_the_optional_ones(self):
        columns = [name for name in reversed(LINE) if name != "full_address"]
        read(as_csv(lines({}), columns))
        assert Subscription.objects.get().client.company_name == "Acme"

    def test_a_naive_time_is_the_deployments(self, settings):
        settings.TIME_ZONE = "Europe/Berlin"
        read(lines({"started_at": "2026-07-01T12:00"}, {"started_at": "2026-07-01T12:00+05:00"}))
        assert list(Subscription.objects.values_list("started_at__hour", flat=True)) == [12, 9]
        assert Subscription.objects.first().started_at == datetime(2026, 7, 1, 10, tzinfo=UTC)

    def test_a_client_is_known_in_any_case(self):
        known = a_client("Acme", email="ACME@example.com")
        read(lines({"email": "Acme@Example.com"}, {"email": "acme@example.COM"}))
        assert [each.client for each in Subscription.objects.all()] == [known, known]

    def test_takes_a_login_that_is_there(self):
        staff = User.objects.create(username="acme@example.com", email="acme@example.com")
        read(lines({}))
        assert Client.objects.get().user == staff

    def test_tolerates_a_byte_order_mark_and_windows_line_ends(self):
        read(b"\xef\xbb\xbf" + as_csv(lines({}, {})).replace(b"\n", b"\r\n"))
        assert Subscription.objects.count() == 2

    def test_a_header_alone_brings_nothing(self):
        assert read(as_csv([], list(LINE))).subscriptions_new == 0

    def test_what_has_ended_keeps_the_price_it_ended_with(self):
        read(
            lines(
                {"ended_at": "2026-03-01", "price": "17.77"},
                {"ended_at": "2026-03-01", "price": ""},
                {"ended_at": "", "price": "20.00"},
                {"ended_at": "2999-01-01", "price": ""},
            )
        )
        prices = Subscription.objects.order_by("id").values_list("price", flat=True)
        assert list(prices) == [Decimal("17.77"), 20, 20, 20]
        assert not book_check.check().differs

    def test_queues_no_repricing(self):
        read(lines({}, {"service": "DSL", "full_price": "25"}))
        assert not Repricing.objects.exists()

    def test_writes_more_than_a_chunk(self, monkeypatch):
        monkeypatch.setattr("services.transfer.importing.CHUNK", 10)
        monkeypatch.setattr("services.transfer.files.records.ROWS", 7)
        told = []
        import_book(
            io.BytesIO(as_csv(lines(*[{}] * 35))),
            progress=lambda *arguments: told.append(arguments),
        )
        assert Subscription.objects.count() == 35
        assert told[-1] == ("writing", 35, 35)


class TestReadingAgain:
    def test_changes_nothing(self):
        content = lines(
            {},
            {"email": "b@example.com", "comment": "VIP"},
            {"ended_at": "2026-03-01", "price": "1.00"},
        )
        read(content)
        before, moved = xmins(), version()
        for update in (False, True):
            imported = read(content, update)
            assert (imported.subscriptions_new, imported.subscriptions_changed) == (0, 0)
            assert imported.subscriptions_same == 3
        assert (xmins(), version()) == (before, moved)

    def test_adds_what_is_new_and_deletes_nothing(self):
        read(lines({}, {}))
        imported = read(lines({}, {}, {})[1:])
        assert (imported.subscriptions_new, imported.subscriptions_same) == (1, 1)
        assert Subscription.objects.count() == 3

    def test_without_a_key_knows_by_client_service_and_start(self):
        content = [
            LINE | {"source": "", "external_id": ""} | change
            for change in ({}, {}, {"started_at": "2026-02-01"}, {"comment": "the third"})
        ]
        assert read(content).subscriptions_new == 4
        before = xmins()
        assert read(content).subscriptions_same == 4
        assert xmins() == before
        assert read([*content, content[0] | {"comment": "zzz"}]).subscriptions_new == 1


class TestDifferences:
    """A difference from the book is refused, naming both values, or written with `update`."""

    def test_a_list_price(self):
        read(lines({}, {"service": "DSL"}))
        edited = lines({"full_price": "22"}, {"service": "DSL"})
        problem = the_problem(edited)
        assert (problem.line, problem.column, problem.value) == (2, "full_price", "22.00")
        assert "the book's '20.00' of service Phone" in problem.reason

        assert read(edited, update=True).services_changed == 1
        edit = Repricing.objects.get()
        assert (edit.service.name, edit.old_value, edit.new_value) == ("Phone", 20, 22)
        assert edit.author == "import"
        repricing.reprice()
        assert list(Subscription.objects.order_by("id").values_list("price", flat=True)) == [22, 20]

    def test_a_list_price_moves_for_old_and_new_subscriptions(self):
        read(lines({}))
        imported = read(lines({"full_price": "30"}, {"full_price": "30"}), update=True)
        assert (imported.subscriptions_new, imported.subscriptions_same) == (1, 1)
        assert Subscription.objects.get(external_id="2").price == 30
        repricing.reprice()
        assert Subscription.objects.get(external_id="1").price == 30

    @pytest.mark.parametrize(
        ("column", "value", "there"),
        [
            ("company_name", "Acme Ltd", "'Acme'"),
            ("full_address", "1 Main Street", "''"),
            ("email", "other@example.com", "'acme@example.com'"),
            ("plan_type", "student", "'full'"),
            ("discount_percent", "5", "'0'"),
            ("started_at", "2026-01-02", "'2026-01-01T00:00:00Z'"),
            ("ended_at", "2026-05-01", "''"),
            ("comment", "new", "''"),
        ],
    )
    def test_any_other_value(self, column, value, there):
        read(lines({"ended_at": "", "comment": ""}, {"email": "b@example.com"}))
        edited = lines({"ended_at": "", "comment": ""} | {column: value})
        found = problems(edited)
        assert (found[0].line, found[0].column) == (2, column)
        assert there in found[0].reason
        assert value in found[0].value

        imported = read(edited, update=True)
        assert imported.subscriptions_changed + imported.clients_changed == 1
        assert read(edited).subscriptions_same == 1
        assert not book_check.check().differs

    def test_a_service(self):
        read(lines({}))
        moved = lines({"service": "DSL", "full_price": "25"})
        assert "where subscription" in the_problem(moved, update=True).reason  # may be renamed
        a_service(25, name="DSL")
        assert "differs from the book's 'Phone'" in the_problem(moved).reason
        read(moved, update=True)
        subscription = Subscription.objects.get()
        assert (subscription.service.name, subscription.price) == ("DSL", 25)

    def test_columns_that_are_left_out_are_left_alone(self):
        read(lines({"comment": "VIP", "ended_at": "2026-02-01", "price": "3"}))
        before = everything()
        read(lines({"discount_percent": "0"}), update=True)
        assert everything() == before

    def test_the_price_that_something_ended_with(self):
        read(lines({"ended_at": "2026-02-01", "price": "3"}))
        edited = lines({"ended_at": "2026-02-01", "price": "4"})
        assert the_problem(edited).value == "4.00"
        read(edited, update=True)
        assert Subscription.objects.get().price == 4


class TestBadFile:
    """Each error has a message with its line, column, value and the fix; and nothing is written."""

    @pytest.mark.parametrize(
        ("column", "value", "reason"),
        [
            ("full_price", "-5", "0 to 9999999999.99"),
            ("full_price", "1234567890123", "0 to 9999999999.99"),
            ("full_price", "1.2345", "at most two decimals"),
            ("full_price", "1e3", "is not a price"),
            ("full_price", "1,234", "say decimal=. or decimal=,"),
            ("full_price", "NaN", "is not a price"),
            ("full_price", "１", "is not a price"),
            ("full_price", "", "is not a price"),
            ("discount_percent", "101", "whole number from 0 to 100"),
            ("discount_percent", "-1", "whole number from 0 to 100"),
            ("discount_percent", "2.5", "whole number from 0 to 100"),
            ("discount_percent", "2,5", "whole number from 0 to 100"),
            ("plan_type", "gold", "full, student, discount"),
            ("email", "nobody", "name@domain"),
            ("email", f"{'x' * 150}@example.com", "at most 150"),
            ("company_name", "", "needs a value"),
            ("company_name", "x" * 101, "101 characters; at most 100"),
            ("service", "Ы" * 51, "at most 50"),
            ("external_id", "x" * 51, "at most 50"),
            ("comment", "x" * 51, "at most 50"),
            ("comment", "a\0b", "NUL"),
            ("company_name", "a\u202eb", "U+202E"),
            ("comment", "a\u2066b", "U+2066"),
            ("started_at", "", "is not a date"),
            ("started_at", "2026-02-30", "is not a date"),
            ("started_at", "0001-01-01T00:00+14:00", "outside of the years"),
            ("started_at", "1899-12-31", "outside of the years 1900 to 9999"),
            ("ended_at", "2025-12-31", "is not after the start, 2026-01-01"),
            ("ended_at", "2026-01-01", "is not after the start"),
            ("price", "19.99", "is 20.00; correct it"),
            ("external_id", "", "give both or neither"),
        ],
    )
    def test_names_the_value_and_the_mend(self, column, value, reason):
        problem = the_problem(lines({}, {"comment": "", column: value}))
        assert (problem.line, problem.column) == (3, column)
        assert value in problem.value or column == "ended_at"
        assert reason in str(problem)

    def test_bad_utf8(self):
        problem = the_problem(
            as_csv(lines({}, {"comment": "caf\xe9"})).replace(b"\xc3\xa9", b"\xe9")
        )
        assert (problem.line, problem.column) == (3, "comment")
        assert "is not UTF-8 (byte 0xE9)" in problem.reason
        str(problem).encode()  # it can be printed

    def test_unknown_missing_and_doubled_columns(self):
        header = as_csv(lines({})).replace(b"email", b"mail").replace(b"full_address", b"source")
        found = {problem.value: problem.reason for problem in problems(header)}
        assert "is not a column; known are: company_name, email" in found["mail"]
        assert "is missing" in found["email"]
        assert "is there twice" in found["source"]

    def test_half_of_a_key(self):
        columns = [name for name in LINE if name != "source"]
        assert "belong together" in the_problem(as_csv(lines({}), columns)).reason

    @pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
    def test_an_empty_file(self, content):
        assert "is empty; the first line names: company_name" in the_problem(content).reason

    def test_an_external_id_that_comes_twice(self):
        problem = the_problem(lines({}, {}, {"external_id": "1"}))
        assert (problem.line, problem.value) == (4, "1")
        assert "is on line 2 too" in problem.reason

    @pytest.mark.parametrize(
        ("column", "first", "second"),
        [
            ("full_price", "20.00", "21.00"),
            ("company_name", "Acme", "Acne"),
            ("full_address", "here", "there"),
        ],
    )
    def test_two_lines_that_contradict_each_other(self, column, first, second):
        problem = the_problem(lines({column: first}, {}, {column: second})[::2], update=True)
        assert (problem.line, problem.column, problem.value) == (3, column, second)
        assert f"contradicts line 2, which gives {first} for" in problem.reason

    def test_a_wrong_number_of_values(self):
        content = as_csv(lines({}, {})) + b"Acme,acme@example.com\n"
        problem = the_problem(content)
        assert (problem.line, problem.value) == (4, "2 values")
        assert "names 10 columns" in problem.reason

    def test_lines_are_the_files_where_values_span_several(self):
        content = as_csv(
            lines({"comment": "one\ntwo\nthree"}, {"comment": ""}, {"discount_percent": "101"})
        ).replace(b"\nAcme", b"\n\nAcme")
        assert b"\n\n" in content
        text = content.decode().splitlines()
        expected = next(number for number, line in enumerate(text, 1) if ",101," in line)
        assert the_problem(content).line == expected == 9

    def test_a_line_of_five_megabytes(self):
        content = as_csv(lines({})) + b"x" * 5_000_000 + b"\n"
        problem = the_problem(content)
        assert problem.line == 3
        assert f"longer than {LINE_LIMIT:,} bytes" in problem.reason

    @pytest.mark.parametrize("ending", [b'"', b'"a"b,"', b'\n"' + b"x\n" * 200_000])
    def test_a_quote_that_is_not_closed(self, ending):
        problem = the_problem(as_csv(lines({})) + ending)
        assert problem.line in (3, 4)
        assert "is a quote missing?" in problem.reason

    def test_reports_twenty_and_counts_the_rest(self):
        with pytest.raises(BadBook) as bad:
            read(lines(*[{"discount_percent": "101"}] * 50))
        assert len(bad.value.problems) == 20
        assert str(bad.value).endswith("… and 30 more")
        with pytest.raises(BadBook) as bad:
            read(lines(*[{"ended_at": "2020-01-01"}] * 50))
        assert bad.value.count == 50

    def test_an_email_that_two_clients_of_the_book_share(self):
        a_client(email="acme@example.com")
        a_client(email="Acme@example.com")
        assert "give each its own first" in the_problem(lines({}), update=True).reason

    def test_a_login_name_that_is_somebody_elses(self):
        User.objects.create(username="acme@example.com", email="somebody@example.com")
        assert "'somebody@example.com'" in the_problem(lines({})).reason


class TestOfTheApi:
    """The API's stream can be imported, and is recognised as incomplete if it is."""

    def streamed(self) -> list[bytes]:
        a_book(subscriptions=8)
        response = a_reader().get("/api/subscriptions/", {"format": "csv"})
        return response.getvalue().splitlines(keepends=True)

    def test_gives_an_equal_book(self):
        content = b"".join(self.streamed())
        before = everything()
        assert read(content).subscriptions_same == 8
        empty_the_book()
        read(content)
        assert everything() == before

    def test_lines_that_are_missing_are_missed(self):
        header, *lines, end = self.streamed()
        problem = the_problem(b"".join([header, *lines[1:], end]))
        assert problem.reason == "but 7 lines came before it; ask for the file again"
        assert problem.value.startswith("# end: ")

    def test_a_text_that_broke_off_is_refused(self):
        header, *lines, _ = self.streamed()
        problem = the_problem(b"".join([header, *lines, formats.CSV.broken]))
        assert (problem.line, problem.value[:19]) == (10, "# error: broken_off")
        assert "not complete" in problem.reason

    def test_nothing_comes_after_the_end(self):
        header, *lines, end = self.streamed()
        problem = the_problem(b"".join([header, *lines, end, lines[0]]))
        assert problem.line == 11
        assert "comes after the last line" in problem.reason

    def test_a_name_may_look_like_an_end(self):
        read(lines({"company_name": "# end: version=1 changed=false count=9 total_amount=1"}))
        assert Client.objects.get().company_name.startswith("# end")


class TestThereAndBack:
    def export(self, **options) -> tuple[bytes, Exported]:
        out = io.BytesIO()
        exported = export_book(out, **options)
        return out.getvalue(), exported

    def test_an_empty_book(self):
        content, exported = self.export()
        assert exported.subscriptions == 0
        assert read(content).subscriptions_new == 0

    def test_gives_an_equal_book(self):
        service, plan, client = a_service("19.99", name='A "B", C'), a_plan(33), a_client("=1+1")
        started = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
        for comment in ODD_TEXTS:
            a_subscription(client, service, plan, comment=comment, started_at=started)
            a_subscription(comment=comment, source="a,b", external_id=f"x{comment}x")
        Subscription.objects.filter(external_id="🙂 x").update(comment="stamped", stamp="stamped")
        ended = a_subscription(
            client, service, plan, started_at=started, ended_at=datetime(2026, 2, 1, tzinfo=UTC)
        )
        Service.objects.filter(pk=service.pk).update(full_price=30)
        repricing.reprice()
        before = everything()
        assert Subscription.objects.get(pk=ended.pk).price == Decimal("13.39")  # not 20.10

        content, exported = self.export()
        assert exported == Exported(len(before), moved=False, unnamed_clients=0, left_out={})
        unmoved = xmins()
        assert read(content).subscriptions_same == len(before)
        assert xmins() == unmoved

        empty_the_book()
        read(content)
        assert everything() == before
        assert not book_check.check().differs
        assert without_ids(self.export()[0]) == without_ids(content)

    @hypothesis_settings(
        max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_whatever_stands_in_it(self, data):
        def text(length, least=0):
            return st.text(
                st.characters(exclude_characters=REFUSED, exclude_categories=["Cs"]),
                min_size=least,
                max_size=length,
            )

        start = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
        with transaction.atomic():
            name = text(30, 1).filter(normal_form)  # which may be longer
            client = a_client(data.draw(name), full_address=data.draw(text(200)))
            prices = data.draw(st.lists(st.decimals(0, 10**9, places=2), max_size=3))
            for number, price in enumerate(prices):
                started_at, ended_at = sorted(data.draw(st.lists(
                    start, min_size=2, max_size=2, unique=True)))  # fmt: skip
                a_subscription(
                    client,
                    Service.objects.get_or_create(
                        name=f"{number}{data.draw(name)}", defaults={"full_price": price}
                    )[0],
                    a_plan(data.draw(st.integers(0, 100))),
                    comment=data.draw(text(50)),
                    started_at=started_at,
                    ended_at=data.draw(st.sampled_from([None, ended_at])),
                )
            before = everything()
            content, _ = self.export()
            empty_the_book()
            read(content)
            assert everything() == before
            transaction.set_rollback(True)

    def test_writes_more_than_a_chunk(self, monkeypatch):
        monkeypatch.setattr("services.transfer.chunks.CHUNK", 7)
        a_book(subscriptions=30)
        before = everything()
        content, exported = self.export()
        assert exported.subscriptions == 30
        empty_the_book()
        read(content)
        assert everything() == before

    def test_says_what_the_file_cannot_carry(self):
        a_plan(77)
        a_client()
        a_subscription()
        a_subscription(client=a_client(email="twice@example.com"))
        a_subscription(client=a_client(email="Twice@example.com"))
        _, exported = self.export()
        assert exported.left_out == {"clients": 1, "plans": 1}
        assert exported.unnamed_clients == 2

    def test_carries_what_is_in_force_though_no_worker_has_come(self):
        service = a_service(100)
        a_subscription(service=service)
        Service.objects.filter(pk=service.pk).update(full_price=1)
        content, _ = self.export()
        empty_the_book()
        read(content)
        assert Subscription.objects.get().price == Service.objects.get().full_price == 1

    @pytest.mark.parametrize("path", ["save", "update", "import"])
    def test_an_end_in_the_past_keeps_the_price_of_before_it(self, path):
        """By whatever path it comes; a file without a price says none."""
        row = a_subscription(
            service=a_service(20), started_at=datetime(2026, 1, 1, tzinfo=UTC),
            source="crm", external_id="1",
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (before,) = cursor.fetchone()
        Service.objects.filter(pk=row.service_id).update(full_price=24)
        repricing.reprice()
        if path == "save":
            row.refresh_from_db()
            row.ended_at = before
            row.save()
        elif path == "update":
            Subscription.objects.filter(pk=row.pk).update(ended_at=before)
        else:
            [header, line] = csv.reader(io.StringIO(self.export()[0].decode("utf-8-sig")))
            given = dict(zip(header, line, strict=True)) | {"ended_at": before.isoformat()}
            del given["price"]
            out = io.StringIO()
            csv.writer(out).writerows([given.keys(), given.values()])
            read(out.getvalue().encode(), update=True)
        assert Subscription.objects.get(pk=row.pk).price == 20


@pytest.mark.django_db(transaction=True)
class TestBesideWriters:
    def test_says_that_the_book_moved(self, monkeypatch):
        monkeypatch.setattr("services.transfer.chunks.CHUNK", 10)
        a_book(subscriptions=30)

        def elsewhere(*_):
            def comment():
                Subscription.objects.filter(comment="row 30").update(comment="moved")
                connection.close()

            thread = threading.Thread(target=comment)
            thread.start()
            thread.join()

        assert export_book(io.BytesIO(), progress=elsewhere).moved
        Subscription.objects.filter(comment="moved").update(comment="row 30")
        out = io.BytesIO()
        assert not export_book(out, consistent=True, progress=elsewhere).moved
        assert b"row 30" in out.getvalue()

    def test_the_command_then_exits_with_1_and_leaves_the_file(self, monkeypatch, tmp_path):
        monkeypatch.setattr("services.transfer.chunks.CHUNK", 10)
        a_book(subscriptions=30)

        def write_meanwhile(execute, sql, params, many, context):
            if "to_char" in sql:
                with a_person() as person:
                    person.execute("UPDATE services_subscription SET comment = comment || '.'")
                    person.commit()
            return execute(sql, params, many, context)

        file = tmp_path / "book.csv"
        with (
            connection.execute_wrapper(write_meanwhile),
            pytest.raises(CommandError, match="several moments") as error,
        ):
            call_command("export_book", file, stderr=io.StringIO())
        assert error.value.returncode == 1
        assert len(file.read_bytes().splitlines()) == 31

        with connection.execute_wrapper(write_meanwhile):
            call_command("export_book", file, "--consistent", stderr=io.StringIO())

    def test_two_imports_of_one_file_go_one_after_another(self):
        """The second begins when the first is about to write the clients, and finds them there."""
        a_service(20, name="Phone"), a_plan()  # a new one would make the second wait by itself
        content = lines(*({"email": f"c{n}@example.com"} for n in range(20)))
        results: dict[str, object] = {}  # the second may be back before the first has noted its own

        def second():
            try:
                results["second"] = read(content)
            except Exception as error:
                results["second"] = error
            finally:
                connection.close()

        thread = threading.Thread(target=second)

        def begin_the_second(execute, sql, params, many, context):
            if "INSERT INTO clients_client" in sql:
                thread.start()
                thread.join(0.5)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(begin_the_second):
            results["first"] = read(content)
        thread.join()
        assert [results[one].subscriptions_new for one in ("first", "second")] == [20, 0]

    def test_what_was_compared_stays_true_until_the_commit(self):
        """An edit between the comparison and the writing waits for the end of the import."""
        service = a_service(20, name="Phone")
        compared, edited = threading.Event(), threading.Event()

        def edit():
            compared.wait()
            Service.objects.filter(pk=service.pk).update(full_price=30)
            edited.set()
            connection.close()

        def stop_before_writing(execute, sql, params, many, context):
            if "CREATE TEMP TABLE known" in sql:
                compared.set()
                assert not edited.wait(0.5)
            return execute(sql, params, many, context)

        thread = threading.Thread(target=edit)
        thread.start()
        try:
            with connection.execute_wrapper(stop_before_writing):
                read(lines({}, {}))
        finally:
            compared.set()
            thread.join()
        repricing.reprice()
        assert set(Subscription.objects.values_list("price", flat=True)) == {30}


class TestCommands:
    def run(self, *arguments: object) -> str:
        out = io.StringIO()
        call_command(*map(str, arguments), stdout=out, stderr=out)
        return out.getvalue()

    def test_import_ends_with_a_table(self, tmp_path):
        file = tmp_path / "book.csv"
        file.write_bytes(as_csv(lines({}, {})))
        printed = self.run("import_book", file)
        assert ["subscriptions", "2", "0", "0"] in [line.split() for line in printed.splitlines()]
        assert "The total is 40.00 USD." in printed

    def test_import_of_a_header_says_so(self, tmp_path):
        file = tmp_path / "book.csv"
        file.write_bytes(as_csv([], list(LINE)))
        assert "has no subscriptions: nothing was written" in self.run("import_book", file)

    def test_import_names_what_is_wrong_and_how_to_write_it(self, tmp_path):
        a_service(25, name="Phone")
        file = tmp_path / "book.csv"
        file.write_bytes(as_csv(lines({})))
        with pytest.raises(CommandError, match=r"(?s)line 2, full_price.*import_book --update"):
            self.run("import_book", file)
        self.run("import_book", file, "--update")
        assert Service.objects.get().full_price == 20

    @pytest.mark.parametrize(
        "content",
        [b"\x1f\x8b garbage", gzip.compress(b"x" * 999)[:-9]],
        ids=["garbage", "cut short"],  # a gzip has the time in it, and each worker collects alike
    )
    def test_import_of_a_damaged_archive(self, tmp_path, content):
        file = tmp_path / "book.csv.gz"
        file.write_bytes(content)
        with pytest.raises(CommandError, match="nothing was written"):
            self.run("import_book", file)

    @pytest.mark.parametrize("name", ["missing.csv", "."])
    def test_import_of_what_is_not_a_file(self, tmp_path, name):
        with pytest.raises(CommandError, match="can't be read"):
            self.run("import_book", tmp_path / name)

    @pytest.mark.parametrize("name", ["book.csv", "book.csv.gz"])
    def test_export_and_import_of_a_file(self, tmp_path, name):
        a_book(subscriptions=20)
        before = everything()
        assert "20 subscriptions written" in self.run("export_book", tmp_path / name)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        empty_the_book()
        self.run("import_book", tmp_path / name)
        assert everything() == before

    def test_export_to_nowhere(self, tmp_path):
        with pytest.raises(CommandError, match="can't be written"):
            self.run("export_book", tmp_path / "missing" / "book.csv")


@pytest.mark.django_db(transaction=True)
class TestPipes:
    """Standard input and output, in processes of their own."""

    def run(self, command: str) -> subprocess.CompletedProcess[bytes]:
        manage = f"'{sys.executable}' '{settings.BASE_DIR}/manage.py'"
        return subprocess.run(
            ["bash", "-c", "set -o pipefail; " + command.replace("manage", manage)],
            env=on_this_database(),
            capture_output=True,
            timeout=60,
        )

    def test_export_into_import(self):
        a_book(subscriptions=50)
        result = self.run("manage export_book | gzip | manage import_book -")
        assert result.returncode == 0, result.stderr
        assert b"50" in result.stdout

    def test_a_reader_that_goes_away_is_no_error(self):
        a_book(subscriptions=5_000)
        result = self.run("manage export_book | head -n 2 > /dev/null")
        assert result.returncode == 141  # as of any program that writes into a closed pipe
        assert result.stderr == b""

    def test_a_bad_file_exits_with_1(self):
        result = self.run("printf 'a,b\\n' | manage import_book -")
        assert result.returncode == 1
        assert b"names none of our columns" in result.stderr
