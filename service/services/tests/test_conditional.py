"""Asking again: 304 without reading a row while the book is as it was, and never after that."""

import gzip
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from services import price_state
from services.ledger.page import statement_as_of
from services.models import Subscription
from services.reading import breakdown_sql, pages, totals_by
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.reading.version import Seen, digest
from services.repricing.writes import ledger_origin
from services.tests.factories import a_book, a_plan, a_reader, a_subscription

URL = "/api/subscriptions/?page_size=5"


def ask(url=URL, etag="", **headers):
    return a_reader().get(url, headers={"If-None-Match": etag, **headers} if etag else headers)


@pytest.mark.django_db(transaction=True)
class TestETag:
    def test_is_confirmed_while_the_book_is_as_it_was(self):
        a_book(12)
        for url in (URL, f"{URL}&comment_prefix=row", f"{URL}&ordering=-price"):
            etag = ask(url)["ETag"]
            with CaptureQueriesContext(connection) as queries:
                again = ask(url, f'"other", {etag}')
            # 1 query: * the version
            assert (again.status_code, again.content, len(queries)) == (304, b"", 1)
            assert again["ETag"] == etag

    def test_is_confirmed_without_reading_a_row(self):
        a_book(12)
        page = pages.page(BookFilter(comment_prefix="row"), None, 5)
        seen = Seen("x", [digest(page.version, "x")])
        sql, params = pages.statement(
            access_path(BookFilter(comment_prefix="row")), None, 5, seen=seen
        )
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}", params)
            lines = [line for (line,) in cursor.fetchall() if " on services_subscription" in line]
        assert lines
        assert [line for line in lines if "never executed" not in line] == []

    def test_is_another_after_every_way_to_change_the_book(self):
        subscription = a_book(12).first()
        etags = [ask()["ETag"]]
        for write in (
            lambda: a_subscription(),
            lambda: subscription.client.__class__.objects.update(company_name="renamed"),
            lambda: subscription.client.user.__class__.objects.update(email="new@example.com"),
            lambda: price_state.negotiate(subscription.pk, Decimal("1"), "a friend", "ada"),
            lambda: Subscription.objects.filter(pk=subscription.pk).update(comment="new"),
            lambda: Subscription.objects.filter(pk=subscription.pk).update(plan=a_plan(77)),
            lambda: Subscription.objects.filter(pk=subscription.pk).delete(),
        ):
            write()
            fresh = ask(URL, ", ".join(etags))
            assert fresh.status_code == 200
            etags.append(fresh["ETag"])
        assert len(set(etags)) == len(etags)

    PATHS = (
        "/api/clients/?page_size=5",
        "/api/clients/?ordering=-company_name",
        "/api/clients/?q=Company",
        "/api/services/",
        "/api/plans/",
        "/api/totals/?by=service,plan",
        "/api/totals/",
        "/api/totals/?by=plan&comment_prefix=row",
        "/api/subscriptions/?as_of=2026-06-01T00:00:00Z",
    )

    def paths(self):
        subscription = Subscription.objects.first()
        now = timezone.now().isoformat().replace("+00:00", "Z")
        return [
            *self.PATHS,
            f"/api/subscriptions/?as_of={now}",
            f"/api/subscriptions/?as_of={now}&client={subscription.client_id}",
            f"/api/subscriptions/{subscription.pk}/?as_of={now}",
        ]

    def test_of_other_paths_is_confirmed_until_the_book_changes(self):
        subscription = a_book(12).first()
        etags = {}
        for path in self.paths():
            answer = ask(path)
            assert answer.status_code == 200, path
            etags[path] = answer["ETag"]
        for path, etag in etags.items():
            with CaptureQueriesContext(connection) as queries:
                again = ask(path, etag)
            assert (again.status_code, again.content, again["ETag"]) == (304, b"", etag), path
            # * the version, and as of an instant * the changes of sets that are not in the figures,
            # and in the list of all * the last point before it
            whole = path.startswith("/api/subscriptions/?as_of") and "client" not in path
            assert len(queries) == 1 + ("as_of" in path) + whole
        subscription.client.__class__.objects.update(company_name="renamed")
        for path, etag in etags.items():
            fresh = ask(path, etag)
            assert (fresh.status_code, fresh["ETag"] != etag) == (200, True), path

    def test_of_an_instant_moves_when_a_price_of_then_is_written_late(self):
        subscription = a_book(12).first()
        then = timezone.now()
        url = f"/api/subscriptions/?as_of={then.isoformat().replace('+00:00', 'Z')}"
        before = ask(url)
        with transaction.atomic(), ledger_origin(effective_at=then - timedelta(seconds=1)):
            price_state.negotiate(subscription.pk, Decimal("1"), "a friend", "ada")
        after = ask(url, before["ETag"])
        assert after.status_code == 200

    def test_of_other_paths_reads_no_row(self):
        a_book(12)
        seen_to = "x"
        now = timezone.now()
        version = pages.page(BookFilter(), None, 5).version
        seen = Seen(seen_to, [digest(version, seen_to)])
        for sql, params in (
            breakdown_sql.statement("client", {}, None, 5, seen=seen),
            breakdown_sql.statement("client", {"q": "Company"}, None, 5, seen=seen),
            breakdown_sql.statement("service", {}, None, 5, seen=seen),
            totals_by.totals_statement(
                access_path(BookFilter(comment_prefix="row")), ["plan"], seen
            ),
            statement_as_of(now, BookFilter(), None, None, 5, seen),
        ):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}", params)
                plan = [line for (line,) in cursor.fetchall()]
            for table in ("services_subscription", "services_ledgerentry"):
                lines = [line for line in plan if f" on {table}" in line]
                executed = [line for line in lines if "never executed" not in line]
                assert [line for line in executed if not re.search(r"rows=0(\.00)? ", line)] == []

    def test_is_of_one_address_and_one_currency(self, settings):
        a_book(12)
        etag = ask()["ETag"]
        assert ask(URL + "&ordering=-id", etag).status_code == 200
        assert ask(URL, etag, Host="localhost").status_code == 200
        settings.CURRENCY = "EUR"
        assert ask(URL, etag).status_code == 200

    def test_is_not_given_where_it_could_not_hold(self):
        subscription = a_book(12).first()
        # With the clock other subscriptions have ended; a browser's page says who is logged in.
        assert "ETag" not in ask(URL + "&state=active")
        assert "ETag" not in ask(URL, Accept="text/html")
        assert "ETag" not in ask("/api/totals/?state=active")
        assert "ETag" not in ask("/api/clients/", Accept="text/html")
        with transaction.atomic():
            subscription.delete()
            assert "ETag" not in ask()
            transaction.set_rollback(True)

    @pytest.mark.parametrize(
        "etag", ["*", "", "W/", '"', "\x00", '"' + "a" * 5000, "é", '""' * 900]
    )
    def test_that_nobody_gave_out_is_no_harm(self, etag):
        a_subscription()
        assert ask(URL, etag).status_code == 200


@pytest.mark.django_db
class TestAnswer:
    def test_says_what_the_database_took(self):
        a_book(12)
        assert re.fullmatch(r'db;dur=\d+\.\d\d;desc="queries: 1"', ask()["Server-Timing"])
        refused = ask("/api/subscriptions/?page_size=x")["Server-Timing"]
        assert refused == 'db;dur=0.00;desc="queries: 0"'
        assert "Server-Timing" not in a_reader().get("/healthz")

    def test_is_compressed_for_who_takes_that(self):
        a_book(40)
        plain = ask("/api/subscriptions/")
        packed = ask("/api/subscriptions/", **{"Accept-Encoding": "gzip"})
        assert packed["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in packed["Vary"]
        assert gzip.decompress(packed.content) == plain.content
        assert len(packed.content) < len(plain.content) / 3

    @pytest.mark.parametrize(
        "accepted", ["identity", "gzip;q=0", "br, gzip; q=0.000, *;q=0.1", "GZIP;q=0, identity"]
    )
    def test_is_not_compressed_for_who_refuses_that(self, accepted):
        a_book(40)
        answer = ask("/api/subscriptions/", **{"Accept-Encoding": accepted})
        assert "Content-Encoding" not in answer
        assert "Accept-Encoding" in answer["Vary"]

    def test_is_compressed_for_who_takes_that_among_others(self):
        a_book(40)
        for accepted in ("br, gzip;q=0.5", "gzip;q=0.01, deflate;q=0"):
            answer = ask("/api/subscriptions/", **{"Accept-Encoding": accepted})
            assert answer["Content-Encoding"] == "gzip"

    def test_with_a_form_is_not_compressed(self, client):
        page = client.get("/admin/login/", headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in page
