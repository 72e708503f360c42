"""Asking again: 304 without reading a row while the book is as it was, and never after that."""

import gzip
import re
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from services import listing, price_state
from services.filters import BookFilter
from services.models import Subscription
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
        page = listing.page(BookFilter(comment_prefix="row"), None, 5)
        seen = listing.Seen("x", [listing.digest(page.version, "x")])
        sql, params = listing.statement(BookFilter(comment_prefix="row"), None, 5, seen=seen)
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

    def test_is_of_one_address_and_one_currency(self, settings):
        a_book(12)
        etag = ask()["ETag"]
        assert ask(URL + "&ordering=-id", etag).status_code == 200
        assert ask(URL, etag, Host="localhost").status_code == 200
        settings.CURRENCY = "EUR"
        assert ask(URL, etag).status_code == 200

    def test_is_not_given_where_it_could_not_hold(self):
        subscription = a_book(12).first()
        # The clock moves what has ended; a browser's page says who is logged in.
        assert "ETag" not in ask(URL + "&state=active")
        assert "ETag" not in ask(URL, Accept="text/html")
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

    def test_with_a_form_is_not_compressed(self, client):
        page = client.get("/admin/login/", headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in page
