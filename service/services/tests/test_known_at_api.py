"""`known_at` at the doors: the API and the command, and what they refuse."""

import io
from datetime import timedelta

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse

from price_changes.tests.changes import SECOND, clock, drained, scheduled
from services.ledger import recorded
from services.models import Service
from services.tests.factories import a_reader, a_service, a_subscription
from services.tests.interleaving import a_person

URL = reverse("subscription-list")
# The view of other sessions for a database user who may not read their statistics.
HIDDEN = """
(SELECT pid, datname, NULL::timestamptz AS backend_start, xact_start, backend_type
   FROM pg_stat_activity WHERE false)
session"""
# The same, where all who write are of one kind. A real autovacuum writes for too short a time.
OF_A_KIND = """
(SELECT pid, datname, backend_start, xact_start, '{}' AS backend_type FROM pg_stat_activity)
session"""


def get(**query):
    return a_reader().get(URL, {name: str(value) for name, value in query.items()})


def iso(instant):
    return instant.isoformat()


@pytest.mark.django_db(transaction=True)
class TestAPI:
    @pytest.fixture
    def told(self):
        """A subscription at 20.00, an instant, and then an edit to 22.00."""
        self.phone = a_service(20)
        self.row = a_subscription(service=self.phone)
        self.known_at = clock()
        Service.objects.filter(pk=self.phone.pk).update(full_price=22)
        self.now = clock()

    def one(self, path="", **query):
        query = {name: iso(value) for name, value in query.items()}
        return a_reader().get(f"{URL}{self.row.pk}/{path}", query).json()

    def test_what_was_told_then_of_the_book_of_one_and_why(self, told):
        body = get(as_of=iso(self.now), known_at=iso(self.known_at)).json()
        assert (body["total_amount"], body["result"][0]["price"]) == (20, 20)
        assert get(as_of=iso(self.now)).json()["total_amount"] == 22
        assert self.one(as_of=self.now, known_at=self.known_at)["price"] == 20
        assert self.one(as_of=self.now)["price"] == 22
        why = self.one("explain/", at=self.now, known_at=self.known_at)
        assert (why["price"], why["rule"]["list_price"], why["rule"]["list_price_edit"]) == (
            20,
            20,
            None,
        )
        assert clock() > self.now
        why_now = self.one("explain/", at=self.now)
        assert (why_now["price"], why_now["known_at"]) == (22, None)

    def test_alone_it_asks_for_its_own_instant(self, told):
        for path in ("", "explain/"):
            name = "at" if path else "as_of"
            both = {name: self.known_at, "known_at": self.known_at}
            assert self.one(path, known_at=self.known_at) == self.one(path, **both)
        both = {"as_of": iso(self.known_at), "known_at": iso(self.known_at)}
        assert get(known_at=iso(self.known_at)).json() == get(**both).json()

    def test_who_was_not_recorded_was_not_there(self, told):
        before = self.known_at - timedelta(days=1)
        assert get(known_at=iso(before), as_of=iso(self.now)).json()["count"] == 0
        answer = a_reader().get(f"{URL}{self.row.pk}/", {"known_at": iso(before)})
        assert answer.status_code == 404
        assert f"as was known at {iso(before)}" in answer.json()["detail"]
        answer = a_reader().get(f"{URL}{self.row.pk}/explain/", {"known_at": iso(before)})
        assert answer.status_code == 404

    @pytest.mark.parametrize("path", ["", "{}/", "{}/explain/"])
    @pytest.mark.parametrize(
        ("given", "code"),
        [
            ("yesterday", "bad_instant"),
            ("2026-01-01T00:00:00", "instant_without_zone"),
            ("1800-01-01T00:00:00Z", "instant_too_early"),
            ("9999-01-01T00:00:00Z", "not_recorded_yet"),
            ("", "bad_instant"),
        ],
    )
    def test_refuses_what_is_no_instant_of_the_past(self, told, path, given, code):
        answer = a_reader().get(URL + path.format(self.row.pk), {"known_at": given})
        body = answer.json()
        assert (answer.status_code, body["code"]) == (400, code)
        assert (body["parameter"], body["value"]) == ("known_at", given)

    def test_refuses_filters_that_the_ledger_does_not_know(self, told):
        answer = get(known_at=iso(self.known_at), comment="x")
        assert (answer.status_code, answer.json()["code"]) == (400, "not_with_as_of")
        answer = get(known_at=iso(self.known_at), ordering="price")
        assert (answer.status_code, answer.json()["code"]) == (400, "not_with_as_of")
        answer = a_reader().get(URL, {"known_at": iso(self.known_at), "format": "csv"})
        assert answer.status_code == 400

    def test_refuses_a_cursor_of_what_was_known_otherwise(self, told):
        a_subscription(service=self.phone)
        now = clock()
        link = get(as_of=iso(now), known_at=iso(now), page_size=1).json()["next"]
        assert a_reader().get(link).json()["count"] == 2
        cursor = dict(pair.split("=") for pair in link.partition("?")[2].split("&"))["cursor"]
        answer = get(as_of=iso(now), known_at=iso(self.now), page_size=1, cursor=cursor)
        assert answer.status_code == 400

    def test_waits_for_those_who_are_writing(self, told):
        """A transaction that began to write before the instant may still record something before
        it.
        """
        with a_person() as person:
            begun = clock()
            person.execute(
                "UPDATE services_subscription SET price_state = 'negotiated', price = 7,"
                " price_reason = 'deal' WHERE id = %s",
                [self.row.pk],
            )
            written = clock()
            answer = get(known_at=iso(written))
            body = answer.json()
            assert (answer.status_code, body["code"]) == (400, "not_recorded_yet")
            assert "complete until" in body["detail"]
            assert get(known_at=iso(begun)).json()["total_amount"] == 22
            person.commit()
        assert get(known_at=iso(written)).json()["total_amount"] == 7
        assert get(known_at=iso(begun)).json()["total_amount"] == 22

    def test_does_not_wait_for_workers(self):
        """Which question is refused would depend on them; what they write are copies."""
        phone = a_service(20)
        self.row = a_subscription(service=phone)
        at = clock()
        scheduled(at, kind="list_price", service=phone.pk, new_value="24")
        known_at = clock()
        answers = []
        for _ in range(2):
            body = get(known_at=iso(known_at)).json()
            assert body["total_amount"] == 24
            answers.append((body["result"], self.one("explain/", known_at=known_at)))
            drained()
        assert answers[0] == answers[1]

    @pytest.mark.parametrize("kind", ["autovacuum worker", "client backend"])
    def test_waits_for_no_autovacuum(self, told, monkeypatch, kind):
        with a_person() as person:
            person.execute("SELECT pg_current_xact_id()")
            since = clock()
            monkeypatch.setattr(
                recorded,
                "WRITERS",
                recorded.WRITERS.replace("pg_stat_activity session", OF_A_KIND.format(kind)),
            )
            until = recorded.all_recorded_until()
        assert until is not None
        assert (until > since) == (kind == "autovacuum worker")

    def test_waits_for_nobody_in_another_database(self, told):
        elsewhere = connection.get_connection_params() | {"dbname": "postgres"}
        with psycopg.connect(**elsewhere) as other:
            other.execute("SELECT pg_current_xact_id()")
            since = clock()
            until = recorded.all_recorded_until()
        assert until is not None
        assert until > since

    def test_says_so_where_nobody_can_tell(self, told, monkeypatch):
        monkeypatch.setattr(
            recorded,
            "WRITERS",
            recorded.WRITERS.replace("pg_stat_activity session", HIDDEN),
        )
        assert get(known_at=iso(self.known_at)).status_code == 200
        with a_person() as person:
            person.execute("SELECT pg_current_xact_id()")
            answer = get(known_at=iso(self.known_at))
        body = answer.json()
        assert (answer.status_code, body["code"]) == (400, "completeness_unknown")
        assert "pg_read_all_stats" in body["detail"]

    def test_a_set_waits_as_it_did_then(self, told):
        at = clock()
        change = scheduled(at, "current", kind="set", adjustment="add", operand="5")
        known_at = clock()
        for total in (22, 27):
            body = get(as_of=iso(known_at), known_at=iso(known_at)).json()
            assert [waits["id"] for waits in body["waiting_for"]] == [change.pk]
            assert body["total_amount"] == 22
            assert get(as_of=iso(known_at)).json()["total_amount"] == total
            drained()
        assert get(known_at=iso(self.known_at)).json()["waiting_for"] == []
        assert get(known_at=iso(clock())).json()["waiting_for"] == []

    def test_an_answer_has_an_etag_of_its_own(self, told):
        query = {"as_of": iso(self.now), "known_at": iso(self.known_at)}
        etag = get(**query)["ETag"]
        reader = a_reader()
        assert reader.get(URL, query, HTTP_IF_NONE_MATCH=etag).status_code == 304
        query["known_at"] = iso(self.now)
        answer = reader.get(URL, query, HTTP_IF_NONE_MATCH=etag)
        assert (answer.status_code, answer.json()["total_amount"]) == (200, 22)

    def test_the_command_tells_it_too(self, told):
        def printed(*words):
            out = io.StringIO()
            call_command("price_state", *words, stdout=out)
            return out.getvalue()

        then, now = iso(self.known_at), iso(self.now)
        said = printed("as_of", now, "--known-at", then)
        assert "1 subscriptions, 20.00" in said
        assert "as was known at" in said
        assert "22.00" in printed("as_of", now)
        assert "20.00" in printed("explain", str(self.row.pk), "--known-at", then)
        with pytest.raises(CommandError, match="not_recorded_yet"):
            printed("as_of", now, "--known-at", iso(clock() + 3600 * SECOND))
        with pytest.raises(CommandError, match="as was known at"):
            printed(
                "explain", str(self.row.pk), "--known-at", iso(self.known_at - timedelta(days=1))
            )
