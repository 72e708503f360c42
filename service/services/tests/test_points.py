"""A total as of then, from a point and the facts after it, is the sum of the rows as of then.

Whatever is said of the past once the points are made, by whom and in whatever transaction.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.urls import reverse

from price_changes.tests.changes import approved, planned
from services import ledger, repricing
from services.ledger import points
from services.ledger.page import statement_as_of
from services.ledger.point_in_time import THERE, as_of
from services.models import Backdated, Point, Subscription, book_clock
from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING, Total
from services.tests.factories import (
    a_book,
    a_client,
    a_plan,
    a_reader,
    a_service,
    a_subscription,
)
from services.tests.interleaving import Pause, in_background
from services.tests.moved_clock import MovedClock
from services.tests.plans import rows_by_relation
from services.tests.test_total import elsewhere

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def summed(at: datetime, book_filter: BookFilter = EVERYTHING) -> Total:
    """By all rows, without a point."""
    rows, params = as_of(at, book_filter)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT coalesce(sum(price), 0), count(*) FROM ({rows}) entry {THERE}", params)
        return Total(*cursor.fetchone())


def make_points(facts: int = 1) -> int:
    """All that are due now; what this transaction has written is there to be read."""
    made = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "FACTS", facts)
        while points.make_next(book_clock()):
            made += 1
    return made


def assert_told(*instants: datetime, by_points: bool = True) -> None:
    for at in instants:
        assert by_points <= (points.nearest(at) is not None), at
        assert ledger.total_as_of(at) == summed(at), at
        page = ledger.page_as_of(at, EVERYTHING, None, 1000)
        assert page.total == summed(at), at
        assert [row["id"] for row in page.result] == sorted(row["id"] for row in page.result)
        assert sum(row["price"] for row in page.result) == page.total.amount, at


class Past:
    """A book that four days have passed over, each with something of its own, and their instants."""

    def __init__(self, clock: MovedClock) -> None:
        self.clock = clock
        self.client = a_client()
        self.service, self.other = a_service(100), a_service(300)
        self.plan, self.half = a_plan(), a_plan(50)
        self.follows, self.own, self.locked, self.ended, self.gone = (
            self.subscription() for _ in range(5)
        )
        self.instants = [clock.now()]
        self.early = clock.now() - DAY
        self.a_day()
        self.say(self.own, price=Decimal(70), price_state="negotiated")
        until = clock.now() + DAY + HOUR
        self.say(self.locked, price=Decimal(80), price_state="locked", locked_until=until)
        self.a_day()
        self.service.full_price = 110
        self.service.save()
        repricing.reprice()
        self.say(self.ended, ended_at=clock.now())
        self.a_day()
        self.gone.delete()
        self.a_day()
        make_points()

    def subscription(self, **fields: Any) -> Subscription:
        return a_subscription(self.client, self.service, self.plan, **fields)

    def say(self, subscription: Subscription, **fields: Any) -> None:
        Subscription.objects.filter(pk=subscription.pk).update(**fields)

    def a_day(self) -> None:
        self.clock.passes(HOUR)
        self.instants += [self.clock.now(), self.clock.now() + HOUR]
        self.clock.passes(DAY)

    def assert_told(self, by_points: bool = True) -> None:
        assert_told(*self.instants, by_points=by_points)


@pytest.fixture
def past(moved_clock: MovedClock) -> Past:
    return Past(moved_clock)


def test_a_total_is_its_point_and_what_came_after(past: Past) -> None:
    past.assert_told()
    assert Point.objects.count() >= 5
    now = past.clock.now()
    assert_told(now, now + DAY)


def test_a_total_ahead_knows_what_is_scheduled_and_what_ends(past: Past) -> None:
    now = past.clock.now()
    past.say(past.follows, ended_at=now + 2 * DAY)
    past.subscription(started_at=now + DAY)
    past.say(past.own, price_state="locked", locked_until=now + 3 * DAY, price=Decimal(70))
    approved(
        planned(kind="list_price", service=past.service.pk, new_value=500, effective_at=now + 4 * DAY)
    )
    ahead = [now + n * DAY + HOUR for n in range(6)]
    assert_told(*ahead)
    assert [ledger.total_as_of(at).amount for at in ahead] == [290, 400, 290, 330, 1500, 1500]


BACKDATED: dict[str, Callable[[Past], object]] = {
    "an end in the past": lambda past: past.say(past.follows, ended_at=past.instants[2]),
    "an end in the past is moved": lambda past: past.say(past.ended, ended_at=past.instants[2]),
    "a start is put later": lambda past: past.say(past.own, started_at=past.instants[3]),
    "a start is put earlier": lambda past: past.say(past.own, started_at=past.early),
    "one that began in the past": lambda past: past.subscription(started_at=past.instants[2]),
    "one that had ended when it came": lambda past: past.subscription(
        started_at=past.instants[1], ended_at=past.instants[5], price=Decimal(9)
    ),
}


@pytest.mark.parametrize("kind", BACKDATED)
def test_what_is_said_of_the_past_counts_at_once_and_points_are_made_anew(
    past: Past, kind: str
) -> None:
    instants = [past.early + HOUR, *past.instants]
    before = [summed(at) for at in instants]
    BACKDATED[kind](past)
    assert [summed(at) for at in instants] != before
    past.assert_told(by_points=False)
    make_points()
    assert not Backdated.objects.exists()
    past.assert_told()


def test_one_that_is_opened_again_has_not_paid_meanwhile(past: Past) -> None:
    past.say(past.ended, ended_at=None)
    past.assert_told(by_points=False)
    make_points()
    past.assert_told()


def test_a_client_who_is_gone_is_in_no_total_of_the_past(past: Past) -> None:
    other = a_subscription(service=past.service, started_at=past.instants[1])
    make_points()
    client = other.client
    assert ledger.total_as_of(past.instants[2]).subscriptions == 6
    other.delete()
    assert ledger.total_as_of(past.instants[2]).subscriptions == 6
    client.delete()
    assert ledger.total_as_of(past.instants[2]).subscriptions == 5
    past.assert_told(by_points=False)
    make_points()
    past.assert_told()


@pytest.mark.parametrize("gone", ["service", "plan"])
def test_what_is_gone_from_the_catalogue_is_in_no_total_of_the_past(past: Past, gone: str) -> None:
    kind = {"service": a_service, "plan": lambda: a_plan(33)}[gone]()
    row = past.subscription()
    Subscription.objects.filter(pk=row.pk).update(**{gone: kind})
    past.clock.passes(HOUR)
    then = past.clock.now()
    past.clock.passes(HOUR)
    row.delete()
    make_points()
    subscriptions = ledger.total_as_of(then).subscriptions
    kind.delete()
    assert ledger.total_as_of(then).subscriptions == subscriptions - 1
    assert_told(then)


def test_a_set_whose_worker_comes_late_counts_from_its_instant(past: Past) -> None:
    at = past.clock.now() + HOUR
    approved(planned(kind="set", adjustment="percent", operand=10, effective_at=at), "current")
    past.clock.passes(2 * HOUR)
    past.say(past.follows, ended_at=past.clock.now() + 10 * DAY)
    past.clock.passes(HOUR)
    make_points()
    before = summed(at)
    repricing.reprice()
    assert summed(at) != before
    assert_told(at, past.clock.now(), by_points=False)
    make_points()
    assert_told(at, past.clock.now())
