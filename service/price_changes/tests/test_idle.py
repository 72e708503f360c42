"""A worker that finds one thing due does not read what is still to come."""

from datetime import timedelta

import pytest
from conftest import truncate_book
from django.db import connection
from django.test.utils import CaptureQueriesContext

from price_changes.models import PriceChange
from price_changes.running import starting
from price_changes.tests.changes import approved, clock, planned
from services.models import LockEnd, Service
from services.repricing import lock_ends, reprice
from services.tests.factories import a_book
from services.tests.plans import most_rows

pytestmark = pytest.mark.django_db

TO_COME = 1_000
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def book(around_the_module):
    """A book with many locks that end and many changes that come, in an hour and later."""
    truncate_book()
    book = a_book(subscriptions=TO_COME + 10, services=1, plans=1, clients=1)
    at = clock() + HOUR
    locked = book.filter(pk__in=book.values("pk")[:TO_COME])
    locked.update(price_state="locked", locked_until=at)
    of_service = {"kind": "list_price", "service": book.first().service_id}
    change = approved(planned(**of_service, new_value=700, effective_at=at))
    changes = [
        PriceChange(
            kind=change.kind, service_id=change.service_id, new_value=700 + number,
            effective_at=at + HOUR, status=change.status, approval=change.approval + number,
        )
        for number in range(1, TO_COME)
    ]  # fmt: skip
    PriceChange.objects.bulk_create(changes)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE services_lockend, price_changes_pricechange")
    connection.check_constraints()
    assert (LockEnd.objects.count(), PriceChange.objects.count()) == (TO_COME, TO_COME)
    return book


def reads(work):
    """{statement: the most rows that one node of its plan has read}, of the SELECTs of `work`."""
    with CaptureQueriesContext(connection) as queries:
        work()
    statements = [query["sql"].strip() for query in queries]
    selects = [sql for sql in statements if sql.startswith("SELECT")]
    return {sql: most_rows(sql) for sql in selects}


@pytest.mark.parametrize("work", [lock_ends.release_ended, starting.start_due, reprice])
def test_reads_nothing_of_what_is_to_come(book, work):
    found = reads(work)
    assert found
    assert {sql: rows for sql, rows in found.items() if rows > 1} == {}


def test_counts_a_chunk_without_the_locks_to_come(book):
    Service.objects.update(full_price=800)
    found = reads(reprice)
    of_locks = {sql: rows for sql, rows in found.items() if '"services_lockend"' in sql}
    assert of_locks
    assert {sql: rows for sql, rows in of_locks.items() if rows > 1} == {}


def test_is_known_not_to_be_late_without_what_is_to_come(book):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO services_cataloguevalue (change_id, service_id, value, effective_at,"
            "                                     started)"
            " SELECT change_id + n, service_id, value, effective_at + n * interval '1 s', false"
            "   FROM services_cataloguevalue, generate_series(1, %s) n"
            "  WHERE effective_at > book_clock()",
            [TO_COME],
        )
        cursor.execute("ANALYZE services_cataloguevalue")
        cursor.execute("SELECT pg_get_functiondef('catalogue_late'::regproc)")
        body = cursor.fetchone()[0].split("$function$")[1]
    assert most_rows(body.replace("<= at", "<= (SELECT book_now())")) <= 1
