"""The clock of the book: the database's, and never behind what the book has recorded."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from services.models import Subscription, WholeLedger, book_clock, renew_clock
from services.models.clock import BookNow
from services.tests.factories import a_subscription

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def execute(sql: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


def machine() -> datetime:
    return execute("SELECT clock_timestamp()")[0][0]


@pytest.fixture(params=["an entry", "a row for many"])
def recorded_ahead(request) -> datetime:
    """By a server whose clock was an hour ahead; this one has taken its place."""
    ahead = machine() + HOUR
    row = a_subscription()
    if request.param == "an entry":
        execute(
            "INSERT INTO services_ledgerentry (subscription_id, client_id, service_id, plan_id,"
            " price, price_state, effective_at, recorded_at)"
            " SELECT id, client_id, service_id, plan_id, price, price_state, %s, %s"
            "   FROM services_subscription WHERE id = %s",
            ahead,
            ahead,
            row.pk,
        )
    else:
        execute(
            "INSERT INTO services_movedfollowers (change_id, service_id, plan_id, price, old_price,"
            " effective_at, recorded_at, number, first_id, last_id, subscription_ids, entry_ids)"
            " SELECT 1, service_id, plan_id, price, price, %s, %s, 1, id, id, ARRAY[id], ARRAY[1]"
            "   FROM services_subscription WHERE id = %s",
            ahead,
            ahead,
            row.pk,
        )
    execute("DELETE FROM services_clockfloor")
    return ahead


class TestTheClock:
    def test_is_the_databases(self):
        before = machine()
        assert before <= book_clock() <= machine()

    def test_does_not_go_back_behind_what_is_recorded(self, recorded_ahead):
        assert book_clock() == recorded_ahead
        assert renew_clock()
        assert not renew_clock()
        assert book_clock() == recorded_ahead  # from now on without looking the entry up

    def test_dates_what_is_written_next_after_it(self, recorded_ahead):
        a_subscription()
        newest = WholeLedger.objects.latest("id")
        assert newest.effective_at == newest.recorded_at == recorded_ahead

    def test_forgets_another_life_of_the_server(self):
        execute("DELETE FROM services_clockfloor")
        long_ago, ahead = machine() - 9 * HOUR, machine() + HOUR
        execute("INSERT INTO services_clockfloor VALUES (%s, %s)", long_ago, ahead)
        assert book_clock() < ahead
        assert renew_clock()
        assert [life for (life,) in execute("SELECT life FROM services_clockfloor")] != [long_ago]

    def test_is_one_instant_for_all_rows_of_a_statement(self):
        for _ in range(3):
            a_subscription()
        asked = Subscription.objects.annotate(asked_at=BookNow())
        assert len(set(asked.values_list("asked_at", flat=True))) == 1
