"""A total as of then, from a point and the facts after it, is the sum of the rows as of then.

This holds whatever is written about the past once the points are made, in any transaction.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise, product
from typing import Any

import pytest
from django.db import connection, transaction
from django.urls import reverse

from clients.models import Client
from price_changes.running import lifecycle
from price_changes.tests.changes import approved, planned
from pricebook.kit.figures import instant
from services import ledger, repricing
from services.audit import book_check
from services.ledger import page, points, total_then
from services.ledger.course import GROUPS, course, nearest_of, statement_of
from services.ledger.months import last_months
from services.ledger.page import statement_as_of
from services.ledger.paid_by_client import Paid, paid_by_client
from services.ledger.point_in_time import as_of
from services.ledger.recorded import all_recorded_until
from services.ledger.total_then import THERE, Nearest
from services.models import Backdated, LedgerEntry, Point, Subscription, book_clock
from services.reading import total
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


def summed(at: datetime, book_filter: BookFilter = EVERYTHING, there: str = THERE) -> Total:
    """By all rows, without a point."""
    rows, params = as_of(at, book_filter)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT coalesce(sum(entry.price), 0), count(*) FROM ({rows}) entry {there}", params
        )
        return Total(*cursor.fetchone())


def make_points(facts: int = 0) -> int:
    """All that are due now; what this transaction has written is there to be read."""
    made = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "FACTS", facts)
        while points.make_next(book_clock()):
            made += 1
    return made


def assert_told(*instants: datetime, by_points: bool = True) -> None:
    for at in instants:
        assert by_points <= (total_then.nearest(at) is not None), at
        assert ledger.total_as_of(at) == summed(at), at
        told = ledger.page_as_of(at, EVERYTHING, None, 1000)
        assert told.total == summed(at), at
        assert [row["id"] for row in told.result] == sorted(row["id"] for row in told.result)
        assert sum(row["price"] for row in told.result) == told.total.amount, at


class Past:
    """A book over which four days have passed, each with something of its own; their instants."""

    def __init__(self, clock: MovedClock) -> None:
        self.clock = clock
        self.client = a_client()
        self.service, self.other = a_service(100), a_service(300)
        self.plan, self.half = a_plan(), a_plan(50)
        self.follows, self.own, self.locked, self.ended, self.gone = (
            self.subscription() for _ in range(5)
        )
        # Begins and ends with no entry of these instants, and is deleted later.
        brief = self.subscription(
            started_at=clock.now() + DAY / 2, ended_at=clock.now() + DAY + 2 * HOUR
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
        brief.delete()
        self.a_day()
        make_points()

    def subscription(self, **fields: Any) -> Subscription:
        return a_subscription(self.client, self.service, self.plan, **fields)

    def say(self, subscription: Subscription, **fields: Any) -> None:
        Subscription.objects.filter(pk=subscription.pk).update(**fields)

    def a_day(self) -> None:
        self.clock.passes(HOUR)
        now = self.clock.now()
        self.instants += [now, now + HOUR, now + DAY / 2]
        self.clock.passes(DAY)

    def assert_told(self, by_points: bool = True) -> None:
        assert_told(*self.instants, by_points=by_points)


@pytest.fixture
def past(moved_clock: MovedClock) -> Past:
    return Past(moved_clock)


def test_the_course_is_the_totals_by_service_and_by_plan(past: Past) -> None:
    instants = [*past.instants, past.clock.now() + DAY]
    for by in GROUPS:
        told = course(instants, by)
        for at, totals in zip(instants, told, strict=True):
            assert totals is not None, at
            assert sum(each.amount for each in totals.values()) == summed(at).amount, at
            assert sum(each.subscriptions for each in totals.values()) == summed(at).subscriptions
    assert told[-1] is not None
    assert told[-1].keys() == {past.plan.pk}
    # Planned once, however many there are.
    one, all_of_them = instants[:1], [(0, at, Nearest(past.early)) for at in instants]
    assert nearest_of(instants)[0] == nearest_of(one)[0]
    assert statement_of(all_of_them, "plan")[0] == statement_of(all_of_them[:1], "plan")[0]


def test_the_course_of_a_client_has_the_totals_that_differ(past: Past) -> None:
    since, upto = past.early, past.clock.now()
    steps = paid_by_client(past.client.pk, since, upto)
    assert steps[0] == Paid(since, Decimal(0))
    assert all(one.amount != other.amount for one, other in pairwise(steps))
    for at in past.instants:
        told = [step.amount for step in steps if step.at <= at][-1]
        assert told == summed(at, BookFilter(client=past.client.pk)).amount, at


def test_the_course_has_a_gap_where_too_much_came_since(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "LEAST", 0)
    monkeypatch.setattr(points, "ONE_OF", 10**9)
    Point.objects.all().delete()
    assert course([past.instants[3], past.clock.now() + DAY], "service")[0] is None


def test_a_month_begins_with_a_point(past: Past) -> None:
    since = past.clock.now()
    for _ in range(3):
        past.clock.passes(31 * DAY)
    make_points(facts=1000)
    begun = last_months(past.clock.now(), 3)
    assert all(begin > since for begin in begun)
    points_at = set(Point.objects.filter(at__gt=since).values_list("at", flat=True))
    assert points_at == {*begun}
    past.say(past.follows, ended_at=begun[1] - DAY)  # the points after it hold no more
    make_points(facts=1000)
    assert {*Point.objects.filter(at__gt=since).values_list("at", flat=True)} == points_at
    assert_told(*begun)


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
        planned(
            kind="list_price", service=past.service.pk, new_value=500, effective_at=now + 4 * DAY
        )
    )
    make_points()
    assert Point.objects.latest("at").at >= now
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
    end = past.clock.now() + HOUR
    past.say(past.follows, ended_at=end)
    past.clock.passes(DAY)
    make_points()
    past.say(past.follows, ended_at=None)
    past.clock.passes(HOUR)
    instants = [end - HOUR / 2, end, end + HOUR, past.clock.now()]
    assert_told(*instants, by_points=False)
    make_points()
    assert_told(*instants)


def test_a_total_is_had_from_a_point_before_what_is_said_of_the_past(past: Past) -> None:
    last, since = past.instants[-1], past.instants[3]
    past.say(past.follows, ended_at=since)
    point = total_then.nearest(last)
    assert point is not None
    assert point.at is not None
    assert past.instants[0] <= point.at < since
    assert_told(last)


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


def test_a_client_who_comes_back_under_an_id_is_in_the_totals_of_it_again(past: Past) -> None:
    other = a_subscription(service=past.service, started_at=past.instants[1])
    client = other.client
    pk = client.pk
    other.delete()
    make_points()
    Client.objects.filter(pk=pk).update(id=pk + 1000)
    past.assert_told(by_points=False)
    make_points()
    Client.objects.filter(pk=pk + 1000).update(id=pk)
    past.assert_told(by_points=False)
    make_points()
    client.delete()
    make_points()
    client.pk = pk
    client.save(force_insert=True)
    past.assert_told(by_points=False)
    assert ledger.total_as_of(past.instants[2]).subscriptions == 6


def test_all_clients_who_are_emptied_are_in_no_total_of_the_past(past: Past) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE clients_client CASCADE")
    past.assert_told(by_points=False)
    assert ledger.total_as_of(past.instants[2]).subscriptions == 0


@pytest.mark.parametrize("late", [True, False])
def test_a_copy_that_is_written_behind_an_end_changes_nothing(past: Past, late: bool) -> None:
    """The lock's end is swept after the subscription's, or is told again once that is put there."""
    until = past.clock.now() + HOUR
    moved, end = until + DAY, until + 2 * DAY
    past.say(past.follows, price=Decimal(80), price_state="locked", locked_until=until)
    past.say(past.follows, ended_at=end if late else until - HOUR / 2)
    approved(planned(kind="list_price", service=past.service.pk, new_value=500, effective_at=moved))
    if not late:
        for at in (until, moved):
            past.clock.to(at + HOUR)
            repricing.reprice()
    past.clock.to(end + HOUR)
    if not late:
        past.say(past.follows, ended_at=end)
        past.clock.passes(HOUR)
    make_points()
    instants = [until, until + HOUR, moved, moved + HOUR, end - HOUR, end, past.clock.now()]
    assert_told(*instants, by_points=False)
    before = [summed(at) for at in instants]
    repricing.reprice()
    past.clock.passes(HOUR)
    assert [summed(at) for at in instants] == before
    assert_told(*instants, by_points=False)
    make_points()
    assert_told(*instants)


def test_who_comes_ended_at_its_own_price_has_paid_that_whoever_copies(past: Past) -> None:
    start = past.clock.now() + HOUR
    moved, end = start + DAY, start + 2 * DAY
    approved(planned(kind="list_price", service=past.service.pk, new_value=500, effective_at=moved))
    past.clock.to(end + HOUR)
    past.subscription(started_at=start, ended_at=end, price=Decimal(9))
    past.subscription(started_at=moved + HOUR / 2)
    past.clock.passes(HOUR)
    make_points()
    assert Point.objects.filter(at__gt=moved, at__lt=moved + HOUR).exists()
    instants = [start, moved - HOUR, moved, moved + HOUR, end, past.clock.now()]
    assert_told(*instants)
    before = [summed(at) for at in instants]
    repricing.reprice()
    assert [summed(at) for at in instants] == before
    assert_told(*instants)


def test_who_is_given_back_late_follows_since_the_revert(past: Past) -> None:
    """Kept by a change for new subscriptions only, ended, and opened again."""
    at = past.clock.now() + HOUR
    change = approved(
        planned(
            kind="list_price",
            service=past.service.pk,
            new_value=500,
            effective_at=at,
            for_new_only=True,
        )
    )
    past.clock.to(at + HOUR)
    repricing.reprice()
    past.say(past.follows, ended_at=past.clock.now())
    past.clock.passes(DAY)
    past.say(past.follows, ended_at=None)
    past.clock.passes(DAY)
    past.service.full_price = Decimal(600)
    past.service.save()
    repricing.reprice()
    lifecycle.revert(change.pk, "carl", approve_too=True)
    back = past.clock.now()
    past.clock.passes(HOUR)
    make_points()
    before = summed(back)
    repricing.reprice()
    assert summed(back) == before
    assert_told(back, past.clock.now())


@pytest.mark.parametrize("gone", ["service", "plan"])
def test_what_is_gone_from_the_catalogue_is_in_no_total_of_the_past(past: Past, gone: str) -> None:
    kind = a_service() if gone == "service" else a_plan(33)
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


@pytest.mark.parametrize(
    "adjustment", [{"adjustment": "percent", "operand": 10}, {"adjustment": "release"}]
)
def test_a_set_whose_worker_comes_late_counts_from_its_instant(
    past: Past, adjustment: dict[str, Any]
) -> None:
    at = past.clock.now() + HOUR
    past.say(past.own, price_state="locked")
    change = approved(planned(kind="set", effective_at=at, **adjustment), "current")
    past.clock.passes(2 * HOUR)
    a_subscription()
    past.clock.passes(HOUR)
    make_points()
    instants = [at, at + HOUR / 2, past.clock.now()]
    before = [summed(instant) for instant in instants]
    repricing.reprice()
    assert all(summed(instant) != paid for instant, paid in zip(instants, before, strict=True))
    assert_told(*instants, by_points=False)
    make_points()
    assert_told(*instants)
    lifecycle.revert(change.pk, "carl", approve_too=True)
    past.clock.passes(HOUR)
    make_points()
    repricing.reprice()
    assert_told(*instants, past.clock.now(), by_points=False)
    make_points()
    assert_told(*instants, past.clock.now())


def test_whom_a_change_for_new_subscriptions_only_keeps_pays_the_old_price(past: Past) -> None:
    at = past.clock.now() + HOUR
    until = at + 3 * DAY
    approved(
        planned(
            kind="list_price",
            service=past.service.pk,
            new_value=500,
            effective_at=at,
            for_new_only=True,
            locked_until=until,
        )
    )
    past.clock.passes(2 * HOUR)
    past.subscription()
    instants = [at, past.clock.now(), until + HOUR]
    assert_told(*instants, by_points=False)
    make_points()
    assert_told(at, past.clock.now())
    past.clock.passes(HOUR)
    repricing.reprice()
    assert_told(*instants, by_points=False)
    past.clock.to(until + HOUR)
    make_points()
    assert_told(*instants)
    assert ledger.total_as_of(until + HOUR).amount == 3 * 500 + 70


def test_a_page_is_the_same_with_points_and_without(moved_clock: MovedClock) -> None:
    """By service, plan and both, forwards and backwards, of those too who were another's then."""
    rows = list(a_book(40))
    services = {row.service_id for row in rows}
    plans = {row.plan_id for row in rows}
    moved_clock.passes(HOUR)
    then = moved_clock.now()
    moved_clock.passes(HOUR)
    random.seed(1)
    for row in random.sample(rows, 12):
        row.service_id = random.choice([pk for pk in services if pk != row.service_id])
        row.plan_id = random.choice(list(plans))
        row.save()
    for row in random.sample(rows, 5):
        row.delete()
    moved_clock.passes(HOUR)

    def pages() -> list[Any]:
        found: list[Any] = []
        for given in [
            {},
            *({"service": pk} for pk in services),
            *({"plan": pk} for pk in plans),
            {"service": min(services), "plan": min(plans)},
        ]:
            query = {"as_of": then.isoformat(), "page_size": 7} | given
            url: str | None = reverse("subscription-list")
            back = None
            while url:
                body = a_reader().get(url, {name: str(it) for name, it in query.items()}).json()
                found.append(body)
                url, back, query = body["next"], body["previous"] or back, {}
            if back:
                found.append(a_reader().get(back).json())
        return found

    without = pages()
    assert make_points()
    assert total_then.nearest(then) is not None
    assert pages() == without
    assert max(body["count"] for body in without) == 40


def test_no_total_reaches_across_a_change_for_new_only_that_comes_while_it_is_read(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = total_then.nearest
    at = past.clock.now() + 2 * HOUR

    def and_then(*args: Any) -> Any:
        point = found(*args)
        approved(
            planned(
                kind="list_price",
                service=past.service.pk,
                new_value=500,
                effective_at=at - HOUR,
                for_new_only=True,
            )
        )
        return point

    monkeypatch.setattr(total_then, "nearest", and_then)
    before = summed(at)
    assert ledger.total_as_of(at) == summed(at) == before


def test_a_point_that_goes_while_it_is_read_is_not_used(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = total_then.nearest

    def and_then(*args: Any) -> Any:
        point = found(*args)
        past.say(past.follows, ended_at=past.instants[0])
        return point

    at = past.instants[3]
    before = ledger.total_as_of(at)
    for reader in (total_then, page):
        monkeypatch.setattr(reader, "nearest", and_then)
    assert ledger.total_as_of(at) == summed(at) != before
    past.say(past.follows, ended_at=None)
    make_points()
    told = ledger.page_as_of(at, EVERYTHING, None, 100)
    assert told.total == summed(at) != before


def test_no_point_holds_the_very_instant_up_to_which_all_is_recorded(past: Past) -> None:
    """Another fact of that instant may still be recorded, and would be no later than itself."""
    past.say(past.follows, price=Decimal(7), price_state="negotiated")
    at = LedgerEntry.objects.latest("pk").effective_at
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "FACTS", 0)
        while points.make_next(at):
            pass
    assert Point.objects.latest("at").at < at
    assert make_points() == 1
    assert Point.objects.latest("at").at == at


def test_the_book_check_finds_a_point_that_is_wrong_and_has_it_made_anew(past: Past) -> None:
    report = book_check.check()
    assert (report.wrong_point, report.differs) == (None, False)
    point = Point.objects.latest("at")
    Point.objects.exclude(pk=point.pk).delete()
    Point.objects.update(amounts=[amount + 1 for amount in point.amounts])
    report = book_check.check()
    assert (report.wrong_point, report.differs) == (point.at, True)
    assert f"what was paid at {instant(point.at)} is kept wrongly" in str(report)
    book_check.repair()
    make_points()
    assert not book_check.check().differs
    past.assert_told()


@pytest.mark.django_db(transaction=True)
def test_reads_no_more_of_the_ledger_than_the_page_and_what_came_since(empty_files: None) -> None:
    a_book(3000)
    made(100)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE services_subscription")
    then = book_clock()
    point = total_then.nearest(then)
    assert point is not None
    # In a book of this size a table at large is as cheap as an index.
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        read = rows_by_relation(*statement_as_of(then, EVERYTHING, None, None, 20, point=point))
    of_ledger = {name: n for name, n in read.items() if "ledger" in name}
    assert 20 < sum(of_ledger.values()) < 200, of_ledger
    of_indexes = {name: n for name, n in read.items() if name.startswith("subscription_")}
    assert sum(of_indexes.values()) < 200, read
    assert 20 < read["services_subscription_pkey"] < 200, read


@pytest.mark.django_db(transaction=True)
class TestOthers:
    """Other transactions are in the middle of a write while points are made."""

    def test_what_is_recorded_and_not_committed_yet_is_after_the_last_point(self) -> None:
        rows = [a_subscription() for _ in range(6)]
        with transaction.atomic():
            Subscription.objects.filter(pk=rows[0].pk).update(price=7, price_state="negotiated")
            elsewhere(
                lambda: Subscription.objects.filter(pk=rows[1].pk).update(ended_at=book_clock())
            )
            elsewhere(lambda: made(1))
            now = book_clock()
        assert ledger.total_as_of(now) == summed(now)
        assert total_then.nearest(now) is not None
        made(1)
        assert ledger.total_as_of(now) == summed(now)

    def test_what_is_said_of_the_past_meanwhile_is_not_forgotten(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is committed after the points before it are forgotten, and before the next is made."""
        rows = [a_subscription() for _ in range(6)]
        then = book_clock()
        made(1)
        for row in rows[:4]:
            Subscription.objects.filter(pk=row.pk).update(price=7, price_state="negotiated")
        pause = Pause(monkeypatch, points, "_instant")
        maker = in_background(made, 1)
        pause.until_reached()
        Subscription.objects.filter(pk=rows[5].pk).update(ended_at=then)
        pause.go_on()
        maker.result()
        now = book_clock()
        for at in (then, now):
            assert ledger.total_as_of(at) == summed(at)
        made(1)
        for at in (then, now):
            assert ledger.total_as_of(at) == summed(at)

    def test_who_makes_a_point_holds_up_nobody_who_waits_for_all_that_is_recorded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = [a_subscription() for _ in range(6)]
        then = book_clock()
        made(1)
        Subscription.objects.filter(pk=rows[0].pk).update(ended_at=then)
        assert Backdated.objects.exists()
        pause = Pause(monkeypatch, points, "_instant")
        maker = in_background(made, 1)
        pause.until_reached()
        now = book_clock()
        until = all_recorded_until()
        pause.go_on()
        maker.result()
        assert until is not None
        assert until >= now
        assert not Backdated.objects.exists()

    def test_two_make_no_point_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for _ in range(6):
            a_subscription()
        pause = Pause(monkeypatch, points, "_instant")
        maker = in_background(made, 1)
        pause.until_reached()
        assert not made(1)
        pause.go_on()
        maker.result()
        assert Point.objects.count() == Point.objects.values("at").distinct().count() > 2


def made(facts: int) -> int:
    """As a worker makes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "FACTS", facts)
        return points.make()


class TestAnInstantToCome:
    """It is answered by today's sums, and the starts, ends and ends of locks until then."""

    # With the day on which the lock ends; and the days of the start and the end.
    STATES: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 0),
        ({"price_state": "negotiated", "price": 70}, 0),
        ({"price_state": "locked", "price": 80}, 0),
        ({"price_state": "locked", "price": 80}, 2),
        ({"price_state": "locked", "price": 80}, 6),
    )
    PERIODS = tuple(product((-1, 1, 3), (0, 3.5, 4, 7)))

    @pytest.fixture
    def ahead(self, past: Past) -> list[datetime]:
        """The instants of a week around all that is to come; nothing is due."""
        now = past.clock.now()
        for (state, until), (started, ended) in product(self.STATES, self.PERIODS):
            made = past.subscription(
                started_at=now + DAY * started, ended_at=now + DAY * ended if ended else None
            )
            if state:
                past.say(made, **state, locked_until=now + DAY * until if until else None)
        for day, (thing, value) in {
            2: (past.service, 130),
            3: (past.plan, 20),
            5: (past.service, 90),
        }.items():
            kind = "list_price" if thing == past.service else "discount"
            role = "service" if thing == past.service else "plan"
            approved(planned(
                kind=kind, **{role: thing.pk}, new_value=value, effective_at=now + DAY * day
            ))  # fmt: skip
        make_points()
        halves = [now + DAY * half / 2 for half in range(1, 17)]
        return [at + shift for at in halves for shift in (-MICROSECOND, MICROSECOND * 0)]

    def test_is_told_by_todays_sums(self, past: Past, ahead: list[datetime]) -> None:
        for at in ahead:
            assert total_then.nearest(at) == total_then.Nearest(None)
        assert_told(*ahead)
        of_service = BookFilter(service=past.service.pk, plan=past.plan.pk)
        for at in ahead:
            assert ledger.total_as_of(at, of_service) == summed(at, of_service)
        total.fold(ahead=None)
        assert_told(*ahead)

    def test_is_told_while_workers_sleep(self, past: Past, ahead: list[datetime]) -> None:
        """Not by today's sums, once one of the copies is late."""
        past.clock.passes(2.25 * DAY)
        for at in ahead:
            assert total_then.nearest(at) != total_then.Nearest(None)
        assert_told(*ahead, by_points=False)
        repricing.reprice()
        later = [at for at in ahead if at > past.clock.now()]
        assert {total_then.nearest(at) for at in later} == {total_then.Nearest(None)}
        assert_told(*later)

    def test_is_told_across_a_change_for_new_ones(self, past: Past, ahead: list[datetime]) -> None:
        approved(planned(
            kind="list_price", service=past.service.pk, new_value=500, for_new_only=True,
            effective_at=past.clock.now() + 3.5 * DAY,
        ))  # fmt: skip
        assert_told(*ahead, by_points=False)

    def test_does_not_read_who_ends_until_then(self, past: Past) -> None:
        now = past.clock.now()
        ends = Subscription.objects.bulk_create(
            Subscription(
                client=past.client, service=past.service, plan=past.plan, ended_at=now + DAY
            )
            for _ in range(1000)
        )
        total.fold(ahead=None)
        with connection.cursor() as cursor:  # else the plan is by pages that others have left
            cursor.execute("ANALYZE services_subscription")
        point = total_then.nearest(now + 2 * DAY)
        assert point is not None
        read = rows_by_relation(*total_then.total_from(point, now + 2 * DAY, EVERYTHING))
        assert max(read.values()) < len(ends) / 10
        assert_told(now + 2 * DAY)
