"""Points: totals stored for some instants, so that a total as of any other needs only few facts.

    facts ─▶ triggers note what changes the past ─▶ services_backdated ─┐
      │                                                                ▼
      └─▶ `make` ─▶ services_point: for each (service, plan) the followers, and what others pay
                        │
    `total_then` at t = the last point before t that still holds
                      + what subscriptions touched by facts between pay at t − what they paid there

A point keeps no price of a follower: that is the rule's at t, looked up once for each service and
plan. So a list price that moves for a million subscriptions adds no cost to a point or a total.

`facts_between` (migration `0028_points`) finds the subscriptions that facts touch. A change for new
subscriptions only touches all followers, and no entry says so before a worker comes: so a point is
made at its instant, and no total is computed across it. Where no point helps, the total is summed
over the whole ledger.

The beginning of each of the last months has a point too, so that the course of a year is quick.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.db import connection, transaction

from services.ledger.months import month_after
from services.ledger.point_in_time import as_of
from services.ledger.recorded import all_recorded_until
from services.sql import SQL

# The number of facts between two points: for each of them a total reads its subscription twice. It
# is higher in a book of many services and plans, so that points don't outweigh the facts.
FACTS = 100
PAIRS_A_FACT = 4
# The number of facts up to which a total reads each subscription, and not the whole ledger once:
# one for every ONE_OF subscriptions that pay, within bounds.
ONE_OF = 4
LEAST, MOST = 1_000, 100_000
MICROSECOND = timedelta(microseconds=1)
# The months that have a point at their beginning.
MONTHS = 36

PAIRS = """
SELECT service_id, plan_id, sum(followers)::bigint AS followers, sum(others)::bigint AS others,
       sum(amount) AS amount
  FROM ({parts}) part (service_id, plan_id, followers, others, amount)
 GROUP BY service_id, plan_id
"""
OF_POINT = """
SELECT pair.*
  FROM services_point point,
       unnest(services, plans, point.followers, point.others, amounts)
       AS pair (service_id, plan_id, followers, others, amount)
 WHERE at = %s
"""
# A subscription whose client was deleted is in no list as of then.
OF_ROWS = """
SELECT service_id, plan_id, {sign} by_rule::integer, {sign} (NOT by_rule)::integer,
       CASE WHEN by_rule THEN 0 ELSE {sign} price END
  FROM ({rows}) paid JOIN clients_client client ON client.id = client_id
"""
TOUCHED = "SELECT id FROM touched_between(%s, %s) id"
NEVER = "-infinity"


def at_most(subscriptions: int) -> int:
    """The number of facts after a point up to which totals are computed from it, by its size."""
    return min(max(LEAST, subscriptions // ONE_OF), MOST)


def pairs_sql(instant: datetime, since: datetime | None, whole: bool = False) -> SQL:
    """A statement of the followers, and what the others pay, for each (service, plan) at `instant`.

    From the point at `since` (None: before all), or from the `whole` ledger.
    """
    if whole:
        rows, params = as_of(instant)
        return PAIRS.format(parts=OF_ROWS.format(rows=rows, sign="")), params
    touched = (TOUCHED, (since or NEVER, instant))
    then, of_then = as_of(instant, candidates=touched)
    parts = [OF_ROWS.format(rows=then, sign="")]
    params = of_then
    if since is not None:
        before, of_before = as_of(since, candidates=touched)
        parts += [OF_ROWS.format(rows=before, sign="-"), OF_POINT]
        params = (*of_then, *of_before, since)
    return PAIRS.format(parts=" UNION ALL ".join(parts)), params


# The pairs in which a point and the whole ledger differ, counted; 0 for a point that holds no more.
DIFFERING = """
WITH stored AS (
    SELECT service_id, plan_id, followers, others, amount FROM ({of_point}) pair
), counted AS (
    SELECT service_id, plan_id, followers, others, amount FROM ({pairs}) pair
     WHERE followers <> 0 OR others <> 0
)
SELECT count(*) FROM (
       (SELECT * FROM stored EXCEPT SELECT * FROM counted)
        UNION (SELECT * FROM counted EXCEPT SELECT * FROM stored)) differing
 WHERE EXISTS (SELECT FROM services_point WHERE at = %s
                  AND NOT EXISTS (SELECT FROM services_backdated WHERE since <= at))
"""
ANY = "SELECT at FROM services_point ORDER BY random() LIMIT 1"


def check() -> datetime | None:
    """Compare a random point with the whole ledger; return its instant if it is wrong.

    Two queries, of which one reads the whole ledger.
    """
    with connection.cursor() as cursor:
        cursor.execute(ANY)
        found: tuple[datetime] | None = cursor.fetchone()
    return found[0] if found is not None and is_wrong(*found) else None


def is_wrong(at: datetime) -> bool:
    """Compare a point with the whole ledger, which one query reads."""
    with connection.cursor() as cursor:
        cursor.execute(*check_sql(at))
        return bool(cursor.fetchone()[0])


def check_sql(at: datetime) -> SQL:
    """A statement: how many pairs of a point differ from the ledger; 0 if it holds no more."""
    pairs, params = pairs_sql(at, None, whole=True)
    return DIFFERING.format(of_point=OF_POINT, pairs=pairs), (at, *params, at)


# Only one transaction at a time makes points or forgets some.
LOCK = "SELECT pg_try_advisory_xact_lock('services_point'::regclass::oid::int, 0)"
# Points that hold no more are made anew from the last one that does. The setting is cleared, so
# that writes which follow in this transaction are noted again.
FORGET = """
WITH told AS (DELETE FROM services_backdated RETURNING since),
     gone AS (DELETE FROM services_point WHERE at >= (SELECT min(since) FROM told))
SELECT set_config('pricebook.backdated', '', true)
"""
NEWEST = """
SELECT at, subscriptions, cardinality(services) FROM services_point ORDER BY at DESC LIMIT 1
"""
NEXT = "SELECT at FROM facts_between(%s, %s) ORDER BY at LIMIT %s"
COUNT = "SELECT count(*) FROM (SELECT FROM facts_between(%s, %s) LIMIT %s) fact"
MAKE = """
INSERT INTO services_point (at, services, plans, followers, others, amounts, subscriptions)
SELECT %s, coalesce(array_agg(service_id), '{{}}'), coalesce(array_agg(plan_id), '{{}}'),
       coalesce(array_agg(followers), '{{}}'), coalesce(array_agg(others), '{{}}'),
       coalesce(array_agg(amount), '{{}}'), coalesce(sum(followers + others), 0)
  FROM ({pairs}) pair
 WHERE followers <> 0 OR others <> 0
"""


def make(seconds: float = 20.0) -> int:
    """Make the points that are due, for up to `seconds`; return how many.

    Points are made only up to the instant before which all that was recorded is committed: a fact
    that comes later with an earlier instant is noted as backdated. Eight queries when none is due.
    """
    deadline = time.monotonic() + seconds
    made = 0
    while time.monotonic() < deadline:
        until = all_recorded_until()
        if until is None or not make_next(until):
            break
        made += 1
    return made


def make_next(until: datetime) -> bool:
    """Make the next point if one is due; all that was recorded before `until` must be committed."""
    last = until - MICROSECOND
    # In a transaction of its own: one that has written holds up all who wait for what is recorded.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if cursor.fetchone()[0]:
            cursor.execute(FORGET)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if not cursor.fetchone()[0]:
            return False  # somebody else makes them
        cursor.execute(NEWEST)
        since, subscriptions, pairs = cursor.fetchone() or (None, 0, 0)
        facts = max(FACTS, pairs // PAIRS_A_FACT)
        cursor.execute(NEXT, [since or NEVER, last, facts + 1])
        instants = [at for (at,) in cursor.fetchall()]
        at = _instant(instants, facts)
        month = _month(since or next(iter(instants), None), last)
        if month is not None and (at is None or month < at):
            at = month
        cursor.execute("SELECT kept_from(%s, %s)", [since or NEVER, at or last])
        [stored_from] = cursor.fetchone()
        at = stored_from or at
        if at is None:
            return False
        most = at_most(subscriptions)
        cursor.execute(COUNT, [since or NEVER, at, most + 1])
        whole = stored_from is not None or cursor.fetchone()[0] > most
        cursor.execute(*make_sql(at, since, whole))
        return True


def make_sql(at: datetime, since: datetime | None, whole: bool = False) -> SQL:
    """The statement that makes a point at an instant, from that at `since` or the whole ledger."""
    pairs, params = pairs_sql(at, since, whole)
    return MAKE.format(pairs=pairs), (at, *params)


def _month(since: datetime | None, last: datetime) -> datetime | None:
    """The first beginning of a month after an instant, of the last MONTHS by `last`."""
    if since is None:
        return None
    month = max(month_after(since), month_after(last, -MONTHS))
    return month if month <= last else None


def _instant(instants: list[datetime], facts: int) -> datetime | None:
    """The instant of the next point: the last one before the fact that is one too many, or that
    fact's if all have the same instant. None while there are no more than `facts`.
    """
    if len(instants) <= facts:
        return None
    return max((at for at in instants if at < instants[-1]), default=instants[-1])
