"""The total paid at an instant: from the last point before it, or from the whole ledger."""

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

NEAREST = """
SELECT point.at, point.subscriptions,
       (SELECT count(*) FROM (SELECT FROM facts_between(point.at, %s) LIMIT {most}) fact)
  FROM services_point point
 WHERE at = (SELECT max(at) FROM services_point
              WHERE at <= %s
                AND at < coalesce((SELECT min(since) FROM services_backdated), 'infinity'))
   AND kept_from(point.at, %s) IS NULL
"""
TOTAL = """
SELECT coalesce(sum(followers * price_rule(full_price, discount_percent) + amount), 0) AS amount,
       coalesce(sum(followers + others), 0)::bigint AS subscriptions,
       EXISTS (SELECT FROM services_point WHERE at = %s AND kept_from(at, %s) IS NULL
                  AND NOT EXISTS (SELECT FROM services_backdated WHERE since <= at)) AS holds
  FROM ({pairs}) pair
  JOIN (SELECT id, list_price_at(id, %s) AS full_price
          FROM services_service OFFSET 0) service ON service.id = service_id
  JOIN (SELECT id, discount_at(id, %s) AS discount_percent
          FROM services_plan OFFSET 0) plan ON plan.id = plan_id
 WHERE {conditions}
"""


@dataclass(frozen=True)
class Nearest:
    """A point before an instant, from which a total as of that instant can be computed."""

    at: datetime


def nearest_sql(instant: datetime) -> SQL:
    """(at, subscriptions, facts since) of the last point that holds; no row where there is none."""
    return NEAREST.format(most=points.MOST), (instant, instant, instant)


def nearest(instant: datetime, book_filter: BookFilter = EVERYTHING) -> Nearest | None:
    """The last point before `instant` that holds; None where a sum over all is needed, or faster.

    One query; none for a filter that points can't answer.
    """
    if book_filter.given.keys() - set(BY_POINTS) or book_filter.state not in (None, "active"):
        return None
    with prepared_cursor() as cursor:
        cursor.execute(*nearest_sql(instant))
        found = cursor.fetchone()
    if found is None:
        return None
    at, subscriptions, facts = found
    return Nearest(at) if facts <= points.at_most(subscriptions) else None


def total_from(point: Nearest, instant: datetime, book_filter: BookFilter) -> SQL:
    """The statement of (amount, subscriptions, holds), with False if the point holds no more."""
    given = {name: id for name, id in book_filter.given.items() if name != "state"}
    pairs, params = points.pairs_sql(instant, point.at)
    sql = TOTAL.format(
        pairs=pairs, conditions=" AND ".join(f"{name}_id = %s" for name in given) or "true"
    )
    return sql, (point.at, instant, *params, instant, instant, *given.values())


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
