"""The total paid at an instant: from sums that are stored, or from the whole ledger.

The sums are those of the last point before it, with the facts since; for an instant to come those
of today, with the starts and ends and the ends of locks until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from pricebook.kit.prepared import prepared_cursor
from services.ledger import points
from services.ledger.point_in_time import as_of
from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING, Total
from services.sql import SQL

BY_POINTS = ("service", "plan", "state")

# A list as of then, and its total, have only those whose client, service and plan still exist.
THERE = """
      JOIN clients_client client ON client.id = entry.client_id
      JOIN service_in_force service ON service.id = entry.service_id
      JOIN plan_in_force plan ON plan.id = entry.plan_id
"""

# While a copy is late, today's sums have some of those who follow among the others.
TODAY_HOLDS = """%s > (SELECT book_now()) AND copies_late_since((SELECT book_now())) IS NULL
       AND kept_from((SELECT book_now()), %s) IS NULL"""
NEAREST = f"""
SELECT today, point.at, point.subscriptions, point.facts
  FROM (SELECT {TODAY_HOLDS} AS today) of_today
  LEFT JOIN LATERAL (
       SELECT at, subscriptions,
              (SELECT count(*) FROM (SELECT FROM facts_between(at, %s) LIMIT {points.MOST}) fact)
              AS facts
         FROM services_point
        WHERE NOT today
          AND at = (SELECT max(at) FROM services_point
                     WHERE at <= %s
                       AND at < coalesce((SELECT min(since) FROM services_backdated), 'infinity'))
          AND kept_from(at, %s) IS NULL) point ON true
"""  # noqa: S608 - constants
POINT_HOLDS = """EXISTS (SELECT FROM services_point WHERE at = %s AND kept_from(at, %s) IS NULL
                  AND NOT EXISTS (SELECT FROM services_backdated WHERE since <= at))"""
# The followers, and what the others pay, by today's sums. A lock that ends by then makes a follower
# of each who still pays then.
FROM_TODAY = """
SELECT service_id, plan_id, sum(followers) AS followers, sum(subscriptions - followers) AS others,
       sum(amount - followers_amount) AS amount
  FROM (SELECT service_id, plan_id, paid_subscriptions AS subscriptions, paid_amount AS amount,
               paid_followers AS followers, paid_followers_amount AS followers_amount
          FROM services_subtotal
         UNION ALL
        SELECT service_id, plan_id, subscriptions, amount, followers, followers_amount
          FROM services_paidboundary WHERE at <= %s
         UNION ALL
        SELECT service_id, plan_id, 0, 0, 1, price
          FROM (SELECT DISTINCT subscription_id FROM services_lockend WHERE until <= %s) ended
          JOIN services_subscription ON id = subscription_id
         WHERE price_state = 'locked' AND locked_until <= %s
           AND started_at <= %s AND (ended_at IS NULL OR ended_at > %s)) part
 GROUP BY service_id, plan_id
"""
TOTAL = """
SELECT coalesce(sum(followers * price_rule(full_price, discount_percent) + amount), 0) AS amount,
       coalesce(sum(followers + others), 0)::bigint AS subscriptions, {holds} AS holds
  FROM ({pairs}) pair
  JOIN (SELECT id, list_price_at(id, %s) AS full_price
          FROM services_service OFFSET 0) service ON service.id = service_id
  JOIN (SELECT id, discount_at(id, %s) AS discount_percent
          FROM services_plan OFFSET 0) plan ON plan.id = plan_id
 WHERE {conditions}
"""


@dataclass(frozen=True)
class Nearest:
    """A point before an instant, from which a total as of that instant can be computed.

    None for today's sums, for an instant to come.
    """

    at: datetime | None


def nearest_sql(instant: datetime) -> SQL:
    """(whether today's sums hold, else the last point that does: at, subscriptions, facts since).

    One row.
    """
    return NEAREST, (instant,) * 5


def nearest(instant: datetime, book_filter: BookFilter = EVERYTHING) -> Nearest | None:
    """The last sums before `instant` that hold; None where a sum over all is needed, or faster.

    One query; none for a filter that points can't answer.
    """
    if book_filter.given.keys() - set(BY_POINTS) or book_filter.state not in (None, "active"):
        return None
    with prepared_cursor() as cursor:
        cursor.execute(*nearest_sql(instant))
        today, at, subscriptions, facts = cursor.fetchone()
    if today:
        return Nearest(None)
    return None if at is None or facts > points.at_most(subscriptions) else Nearest(at)


def total_from(point: Nearest, instant: datetime, book_filter: BookFilter) -> SQL:
    """The statement of (amount, subscriptions, holds), with False if the sums hold no more."""
    given = {name: id for name, id in book_filter.given.items() if name != "state"}
    (pairs, params), (holds, of_holds) = pairs_from(point, instant)
    sql = TOTAL.format(
        holds=holds,
        pairs=pairs,
        conditions=" AND ".join(f"{name}_id = %s" for name in given) or "true",
    )
    return sql, (*of_holds, *params, instant, instant, *given.values())


def pairs_from(point: Nearest, instant: datetime) -> tuple[SQL, SQL]:
    """The statement of `points.pairs_sql` for an instant, from the sums before it; and the
    condition that these still hold.
    """
    if point.at is None:
        return (FROM_TODAY, (instant,) * 5), (TODAY_HOLDS, (instant, instant))
    return points.pairs_sql(instant, point.at), (POINT_HOLDS, (point.at, instant))


def total_as_of(
    instant: datetime, book_filter: BookFilter = EVERYTHING, known_at: datetime | None = None
) -> Total:
    """The total that all matching subscriptions paid at `instant`, with their number.

    It has only those whose client, service and plan still exist, as a list as of then; with
    `known_at` it has all. Up to three queries.
    """
    point = nearest(instant, book_filter) if known_at is None else None
    if point is not None:
        with prepared_cursor() as cursor:
            cursor.execute(*total_from(point, instant, book_filter))
            amount, subscriptions, holds = cursor.fetchone()
        if holds:
            return Total(amount, subscriptions)
    with connection.cursor() as cursor:
        rows, params = as_of(instant, book_filter, known_at=known_at)
        there = THERE if known_at is None else ""
        cursor.execute(
            f"SELECT coalesce(sum(price), 0), count(*) FROM ({rows}) entry {there}",  # noqa: S608 - ours
            params,
        )
        return Total(*cursor.fetchone())
