"""The whole book at once: what pages have, in constant memory, and never half of it unnoticed."""

import gzip
import http.client
import json
import re
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from conftest import other_sessions
from django.db import ProgrammingError, connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from price_changes.tests.api import a_program
from pricebook.kit.content import JSONRenderer
from pricebook.tests.servers import until
from pricebook.tests.web import WebServer
from services import price_state
from services.models import Subscription
from services.reading.filters import FILTERS, BookFilter
from services.tests.factories import a_book, a_client, a_plan, a_reader, a_service, a_subscription
from services.tests.interleaving import a_person
from services.transfer import chunks, formats, streaming

URL = "/api/subscriptions/"
ODD = '" , \\ / \x01\x1f\x7f\t\r\n \u2028 Привет 🙂 %s {0}'


def exactly(text):
    return json.loads(text, parse_float=Decimal)


def asked(form="ndjson", **parameters):
    return a_reader().get(URL, {"format": form, **parameters})


def lines_of(response):
    """The lines, and what the last one says."""
    *lines, end = response.getvalue().splitlines(keepends=True)
    return lines, exactly(end)["end"]


def lines_of_pages(**parameters):
    """The same from page to page, as the list writes it."""
    response = a_reader().get(URL, {"page_size": 7, **parameters})
    rows = list(response.data["result"])
    while response.data["next"]:
        response = a_reader().get(response.data["next"])
        rows += response.data["result"]
    lines = [JSONRenderer.encoder.encode(row) + b"\n" for row in rows]
    return lines, response.data["total_amount"]


@pytest.fixture(autouse=True)
def places(monkeypatch):
    """Any caller may read both."""
    monkeypatch.setattr(streaming, "places", streaming.Places(2, 2))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "FIRST_CHUNK", 5)
    monkeypatch.setattr(chunks, "CHUNK", 10)


def a_motley_book():
    """30 plain ones, and some of every state, with texts that need care."""
    a_book(30)
    service, plan = a_service("19.99", name=ODD[:50]), a_plan(33)
    odd = a_subscription(
        a_client(ODD, email="odd@example.com"), service, plan, comment=ODD, source="erp",
        external_id=ODD, started_at=datetime(2026, 1, 1, 12, 30, 15, 120000, tzinfo=UTC),
    )  # fmt: skip
    a_subscription(
        odd.client, service, plan, started_at=datetime(1900, 1, 1, tzinfo=UTC),
        ended_at=datetime(2026, 2, 1, tzinfo=UTC),
    )  # fmt: skip
    until = datetime(9999, 1, 1, 23, 59, 59, 999999, tzinfo=UTC)
    locked = a_subscription(odd.client, service, plan)
    price_state.lock(locked.pk, until=until, reason=ODD, author="ann")
    negotiated = a_subscription(odd.client, service, plan)
    price_state.negotiate(negotiated.pk, price=Decimal("9999999999.99"), reason="x", author="ann")
    return odd


VALUES = {
    "service": lambda odd: odd.service_id,
    "plan": lambda odd: odd.plan_id,
    "plan_type": lambda odd: "discount",
    "client": lambda odd: odd.client_id,
    "except_client": lambda odd: odd.client_id,
    "email": lambda odd: "ODD@example.com",
    "subscription": lambda odd: odd.pk,
    "source": lambda odd: "erp",
    "external_id": lambda odd: odd.external_id,
    "comment": lambda odd: "row 3",
    "comment_prefix": lambda odd: "row 1",
    "state": lambda odd: "active",
    "price_state": lambda odd: "follows",
    "price_from": lambda odd: "110",
    "price_to": lambda odd: "110",
    "started_from": lambda odd: "2026-01-02T00:00:00Z",
    "started_to": lambda odd: "2026-01-02T00:00:00Z",
    "ended_from": lambda odd: "2026-01-02T00:00:00Z",
    "ended_to": lambda odd: "2027-01-02T00:00:00Z",
    "q": lambda odd: "Company",
}
# The pending ones, and those that a change has skipped: price_changes/tests.
assert VALUES.keys() == FILTERS.keys() - {"pending", "skipped_by"}


@pytest.mark.django_db
@pytest.mark.usefixtures("small_chunks")
class TestWhatItSends:
    def test_is_what_the_pages_have_byte_for_byte(self):
        a_motley_book()
        expected, total = lines_of_pages()

        response = asked()
        lines, end = lines_of(response)

        assert lines == expected
        assert len(lines) == 34
        assert (end["count"], end["total_amount"]) == (34, total)
        assert (end["version"], end["changed"]) == (response["Book-Version"], False)
        assert end["currency"] == "USD"
        assert response["Content-Type"] == "application/x-ndjson; charset=utf-8"

    @pytest.mark.parametrize("name", VALUES)
    def test_takes_every_filter_of_the_list(self, name):
        odd = a_motley_book()
        given = {name: VALUES[name](odd)} | ({"source": "erp"} if name == "external_id" else {})
        expected, total = lines_of_pages(**given)

        lines, end = lines_of(asked(**given))

        assert lines == expected
        assert len(lines) > 0
        assert (end["count"], end["total_amount"]) == (len(lines), total)

    def test_takes_filters_together(self):
        odd = a_motley_book()
        for filters in (
            {"service": odd.service_id, "price_state": "locked"},
            {"plan_type": "discount", "plan": odd.plan_id, "state": "ended"},
            {"source": "erp", "price_from": "1", "q": "Привет"},
            {"price_state": "negotiated", "price_from": "9999999999.99", "state": "active"},
        ):
            expected, total = lines_of_pages(**filters)
            lines, end = lines_of(asked(**filters))
            assert lines == expected
            assert len(lines) == 1
            assert end["total_amount"] == total

    @pytest.mark.parametrize("rows", [0, 4, 5, 6, 15, 16])
    def test_ends_where_the_book_ends(self, rows):
        if rows:
            a_book(rows)
        lines, end = lines_of(asked())
        assert (len(lines), end["count"]) == (rows, rows)

    def test_is_as_exact_as_the_database(self):
        service = a_service("9999999999.99")
        a_subscription(service=service)
        a_subscription(service=service, plan=a_plan(33))
        (line, _), end = lines_of(asked())
        assert b'"price":9999999999.99,' in line
        assert end["total_amount"] == Decimal("16699999999.98")

    @hypothesis_settings(
        max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        st.lists(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50),
            min_size=1,
        )
    )
    def test_writes_any_text_as_the_list_does(self, comments):
        Subscription.objects.all().delete()
        client, service, plan = a_client(), a_service(), a_plan()
        Subscription.objects.bulk_create(
            Subscription(client=client, service=service, plan=plan, comment=comment)
            for comment in comments
        )
        assert lines_of(asked())[0] == lines_of_pages()[0]

    def test_csv_has_the_columns_of_a_book_and_a_last_line(self):
        row = a_subscription(a_client("Acme", "a@b.c"), a_service(20, "Phone"), comment='say "hi"')
        response = asked("csv")
        header, line, end = response.getvalue().decode().splitlines()
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        assert header.startswith("company_name,email,full_address,service,full_price,plan_type")
        assert line.startswith('"Acme","a@b.c","","Phone",20.00,full,0,,,20')
        assert line.endswith(f'Z,,"say ""hi""",,20.00,follows,,"",{row.pk}')
        assert end == (
            f"# end: version={response['Book-Version']} changed=false count=1 total_amount=20.00"
            " paid_count=1 paid_amount=20.00"
        )


@pytest.mark.django_db
@pytest.mark.usefixtures("small_chunks")
class TestHowItSends:
    def test_one_query_a_chunk(self):
        a_book(34)
        with CaptureQueriesContext(connection) as queries:
            response = asked()
            # 1 query: * the first chunk, before the first byte
            assert len(queries) == 1
            response.getvalue()
        # 4 queries: * chunks of 5, 10, 10 and 9
        assert len(queries) == 4

    def test_begins_with_a_chunk_that_is_small(self, monkeypatch):
        monkeypatch.undo()
        assert streaming.FIRST_CHUNK < 1000
        a_book(streaming.FIRST_CHUNK + 1)
        with CaptureQueriesContext(connection) as queries:
            pieces = iter(asked())
            sent = next(pieces) + next(pieces)
            assert sent.count(b"\n") > 100
            assert len(queries) == 1
            assert b'"count":401,' in b"".join(pieces)
            assert len(queries) == 2

    def test_in_pieces_that_a_server_can_keep(self, monkeypatch):
        monkeypatch.undo()
        a_book(1000)
        assert max(map(len, asked())) == streaming.PIECE

    def test_a_filter_without_an_index_reads_no_more_a_chunk_than_any(self):
        """Nobody is locked: it goes past them all, ten at a time."""
        a_book(24)
        with CaptureQueriesContext(connection) as queries:
            assert lines_of(asked(price_state="locked"))[0] == []
        assert len(queries) == 3

    def test_in_memory_that_does_not_grow(self, monkeypatch):
        """The text of a chunk is not kept while the next one is fetched."""
        monkeypatch.setattr(chunks, "CHUNK", 2_000)
        peaks = []
        for rows in (2_500, 17_500):
            a_book(rows)
            asked().getvalue()  # what is loaded once
            tracemalloc.start()
            for _ in asked():
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert Subscription.objects.count() == 20_000
        assert peaks[1] < 1.2 * peaks[0] + 50_000

    @pytest.mark.parametrize("filters", [{}, {"state": "active", "price_state": "follows"}])
    def test_with_what_it_looks_up_in_the_order_of_the_clients(self, filters, empty_files):
        """As a big book is read: one row after the other, by primary key."""
        a_book(500, clients=100)
        sql, params = chunks.statement(formats.CSV, BookFilter(**filters), -1, chunks.CHUNK)
        with connection.cursor() as cursor:
            cursor.execute(
                "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
                " SET LOCAL enable_material = off; SET LOCAL enable_seqscan = off;"
                " SET LOCAL enable_bitmapscan = off"
            )
            cursor.execute(f"EXPLAIN (COSTS OFF) {sql}", params)
            plan = [line for (line,) in cursor.fetchall()]
        nodes = [node.strip().removeprefix("->  ") for node in plan]
        loop = next(n for n, node in enumerate(nodes) if node.endswith(".client_id")) - 2
        assert nodes[loop : loop + 2] == ["Nested Loop", "Sort"]
        assert re.fullmatch(r"Sort Key: \S+\.client_id", nodes[loop + 2])
        assert "Index Scan using clients_client_pkey on clients_client client" in nodes[loop:]

    def test_compressed_as_it_goes(self):
        a_book(200)
        reader = a_reader()
        plain = asked().getvalue()
        response = reader.get(URL, {"format": "ndjson"}, headers={"accept-encoding": "gzip"})
        assert response.streaming
        assert response["Content-Encoding"] == "gzip"
        assert gzip.decompress(response.getvalue()) == plain

    def test_to_head_says_the_version_alone(self):
        a_book(30)
        response = a_reader().head(URL, {"format": "csv"})
        assert response["Book-Version"]
        assert response.getvalue() == b""

    def test_where_accept_asks_for_it(self):
        a_book(3)
        response = a_reader().get(URL, headers={"accept": "text/csv"})
        assert response["Content-Type"].startswith("text/csv")
        assert not a_reader().get(URL, headers={"accept": "*/*"}).streaming


@pytest.mark.django_db
class TestRefusals:
    @pytest.mark.parametrize("form", ["csv", "ndjson"])
    @pytest.mark.parametrize(
        ("parameter", "value", "code"),
        [
            ("page_size", "10", "not_with_format"),
            ("cursor", "x", "not_with_format"),
            ("ordering", "id", "not_with_format"),
            ("as_of", "2026-01-01T00:00:00Z", "not_with_format"),
            ("service", "abc", "bad_parameter"),
            ("serivce", "1", "unknown_parameter"),
            ("external_id", "1", "source_missing"),
        ],
    )
    def test_come_before_the_first_byte_and_as_json(self, form, parameter, value, code):
        response = asked(form, **{parameter: value})
        assert response.status_code == 400
        assert response["Content-Type"] == "application/problem+json"
        error = json.loads(response.content)
        assert (error["code"], error["parameter"], error["value"]) == (code, parameter, value)

    def test_of_who_has_no_key(self):
        response = Browser().get(URL, {"format": "csv"})
        assert response.status_code == 401
        assert response.json()["code"] == "not_authenticated"

    def test_of_an_unknown_form_names_those_that_there_are(self):
        response = asked("xml")
        assert response.status_code == 400
        assert {"json", "csv", "ndjson"} <= set(response.data["allowed"])

    def test_one_subscription_is_no_book(self):
        response = a_reader().get(f"{URL}{a_book(1).get().pk}/", {"format": "csv"})
        assert response.status_code == 400
        assert "csv" not in response.data["allowed"]

    def test_leave_its_place_to_others(self):
        for _ in range(5):
            assert asked(service="abc").status_code == 400
        assert asked().status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_chunks")
class TestBesideOthers:
    def test_says_that_the_book_moved(self):
        a_book(30)
        response = asked()
        pieces = iter(response)
        first = next(pieces)
        with a_person() as person:
            person.execute("UPDATE services_subscription SET comment = 'moved'")
            person.commit()
        *lines, end = (first + b"".join(pieces)).splitlines()

        comments = [exactly(line)["comment"] for line in lines]
        assert comments == [f"row {n}" for n in range(1, 6)] + ["moved"] * 25
        said = exactly(end)["end"]
        assert said["changed"] is True
        assert said["version"] != response["Book-Version"]

    def test_says_so_in_csv_and_to_whoever_walks_the_book(self):
        a_book(30)
        walk = chunks.Walk(formats.CSV, BookFilter(), 10)
        texts = iter(walk)
        next(texts)
        with a_person() as person:
            person.execute("UPDATE services_service SET name = name || '.'")
            person.commit()
        assert sum(text.count(b"\n") for text in texts) == 20
        assert b" changed=true count=30 " in walk.format.end(walk.written)

    def test_no_etag_and_no_304(self):
        a_book(3)
        etag = a_reader().get(URL)["ETag"]
        response = a_reader().get(URL, {"format": "csv"}, headers={"if-none-match": etag})
        assert response.status_code == 200
        assert "ETag" not in response
        assert response["Cache-Control"] == "no-store"

    def test_a_few_at_once_in_a_process(self):
        a_book(30)
        reading = [asked(), asked()]
        refused = asked("csv")
        assert (refused.status_code, refused.data["code"]) == (503, "too_many_streams")
        assert int(refused["Retry-After"]) > 0
        assert a_reader().get(URL).status_code == 200
        for response in reading:
            response.close()
        assert [asked().status_code, asked("csv").status_code] == [200, 200]

    def test_not_all_of_them_for_one_caller(self, monkeypatch):
        monkeypatch.setattr(streaming, "places", streaming.Places(2, 1))
        a_book(30)
        first, second = a_program("first"), a_program("second")
        reading = [first.get(URL, {"format": "csv"})]
        refused = first.get(URL, {"format": "ndjson"})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_own_streams")
        assert int(refused["Retry-After"]) > 0
        reading.append(second.get(URL, {"format": "csv"}))
        assert reading[1].status_code == 200
        for response in reading:
            response.close()
        assert first.get(URL, {"format": "csv"}).status_code == 200

    def test_as_many_for_each_address_where_reads_are_open(self, monkeypatch, settings):
        settings.OPEN_READS = True
        monkeypatch.setattr(streaming, "places", streaming.Places(2, 1))
        a_book(30)
        held = Browser(REMOTE_ADDR="192.0.2.1").get(URL, {"format": "csv"})
        for address, status in (("192.0.2.1", 429), ("192.0.2.2", 200)):
            assert Browser(REMOTE_ADDR=address).get(URL, {"format": "csv"}).status_code == status
        held.close()

    def test_holds_no_snapshot_between_chunks(self):
        a_book(30)
        pieces = iter(asked())
        next(pieces)
        with a_person() as person:
            (held,) = person.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"  # autovacuum comes when it likes
                " AND (backend_xmin IS NOT NULL OR xact_start IS NOT NULL)"
            ).fetchone()
        assert held == 0
        assert b'"end"' in b"".join(pieces)

    def test_gives_its_connection_back_between_chunks(self, monkeypatch):
        """With a pool Django keeps a connection for no time at all."""
        a_book(30)
        connection.close()
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
        pieces = iter(asked())
        for _ in range(3):
            next(pieces)
            assert connection.connection is None
        assert b'"end"' in b"".join(pieces)

    def test_goes_on_when_its_session_was_ended_in_between(self):
        a_book(30)
        pieces = iter(asked())
        first = next(pieces)
        with a_person() as person:
            person.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert (first + b"".join(pieces)).count(b"\n") == 31


def hide_plans(person):
    """From now on every chunk fails."""
    person.execute("ALTER VIEW plan_in_force RENAME TO hidden_plan")
    person.commit()


def show_plans(person):
    person.execute("ALTER VIEW hidden_plan RENAME TO plan_in_force")
    person.commit()


@pytest.mark.django_db(transaction=True)
class TestBreaks:
    @pytest.mark.parametrize(
        ("form", "last"),
        [("ndjson", b'{"error":{"code":"broken_off",'), ("csv", b"# error: broken_off. ")],
    )
    @pytest.mark.usefixtures("small_chunks")
    def test_are_told_in_the_last_line_and_to_the_server(self, form, last):
        a_book(30)
        pieces, got = iter(asked(form)), []
        got.append(next(pieces))
        with a_person() as person:
            hide_plans(person)
            try:
                with pytest.raises(ProgrammingError):
                    got.extend(pieces)
            finally:
                show_plans(person)
        lines = b"".join(got).splitlines()
        assert lines[-1].startswith(last)
        assert len(lines) == 6 + (form == "csv")

    @pytest.mark.usefixtures("small_chunks")
    def test_leave_what_is_compressed_without_an_end(self):
        a_book(30)
        response = a_reader().get(URL, {"format": "csv"}, headers={"accept-encoding": "gzip"})
        pieces = iter(response)
        got = [next(pieces)]
        with a_person() as person:
            hide_plans(person)
            try:
                with pytest.raises(ProgrammingError):
                    got.extend(pieces)
            finally:
                show_plans(person)
        with pytest.raises(EOFError):
            gzip.decompress(b"".join(got))

    def test_are_seen_by_the_client_of_a_real_server(self, granian):
        a_book(10_000)
        whole = granian.get(f"{URL}?format=ndjson")
        said = exactly(whole.read().splitlines()[-1])["end"]
        assert (said["count"], said["changed"]) == (10_000, False)

        broken = granian.get(f"{URL}?format=ndjson")
        first = broken.readline()
        with a_person() as person:
            hide_plans(person)
            try:
                got = first + broken.read()
            except http.client.IncompleteRead as error:  # a server that breaks the connection
                got = first + error.partial
            finally:
                show_plans(person)
        assert broken.status == 200
        *lines, last = got.splitlines()
        assert exactly(last)["error"]["code"] == "broken_off"
        assert exactly(lines[-1])["id"]

        assert granian.get(f"{URL}?page_size=1").status == 200

    def test_of_the_reader_leave_nothing_behind(self, granian):
        a_book(10_000)
        for _ in range(3):  # more than may be read at once
            until(lambda: granian.get(f"{URL}?format=csv").status == 200)
            granian.open[-1].readline()
            granian.hang_up()


@pytest.fixture
def granian(transactional_db, tmp_path_factory):
    directory, before = tmp_path_factory.mktemp("web"), other_sessions()
    server = WebServer(
        directory / "web.log",
        directory / "web.sock",
        OPEN_READS="1",
        WEB_THREADS="4",
        STREAMS_OF_ONE_CALLER="2",  # an answer that is read keeps its place for a moment
    )
    yield server
    server.stop()
    until(lambda: other_sessions() <= before)
