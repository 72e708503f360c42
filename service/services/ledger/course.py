"""The totals paid at several instants, by service or by plan: the course of the book."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pricebook.kit.prepared import prepared_cursor
from services.ledger import points
from services.ledger.total_then import FROM_TODAY, NEAREST, Nearest
from services.reading.total import Total
from services.sql import SQL

GROUPS = ("service", "plan")
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
# For each id of the group, what its subscriptions paid at an instant, and how many paid.
AT = """
SELECT %s::integer AS place, {group}_id AS id,
       sum(followers * price_rule(full_price, discount_percent) + amount) AS amount,
       sum(followers + others)::bigint AS subscriptions
  FROM ({pairs}) pair
  JOIN (SELECT id, list_price_at(id, %s) AS full_price
          FROM services_service OFFSET 0) service ON service.id = service_id
  JOIN (SELECT id, discount_at(id, %s) AS discount_percent
          FROM services_plan OFFSET 0) plan ON plan.id = plan_id
 GROUP BY {group}_id
HAVING sum(followers + others) <> 0
"""
# One for all instants: a branch for each would take thirteen times as long to plan as to run.
NEAREST_OF = f"""
SELECT place, today, at, subscriptions,
       coalesce(facts, (SELECT count(*) FROM (
           SELECT FROM facts_between('-infinity', asked.instant) LIMIT {points.LEAST + 1}) fact))
       AS facts
  FROM unnest(%s::timestamptz[]) WITH ORDINALITY asked (instant, place)
 CROSS JOIN LATERAL ({NEAREST.replace("%s", "asked.instant")}) nearest
 ORDER BY place
"""  # noqa: S608 - constants


def course(instants: Sequence[datetime], by: str) -> list[dict[int, Total] | None]:
    """The sums paid at each instant, past or future, by the ids of the services or plans (`by`).

    None for an instant that no stored sums are near enough to: a worker is still making them, and
    a sum over the whole ledger would take too long for a page. Two queries, to be made in one
    snapshot.
    """
    assert by in GROUPS
    near = _nearest(instants)
    found: list[dict[int, Total] | None] = [{} if each else None for each in near]
    statements = [
        statement(place, instants[place], point, by)
        for place, point in enumerate(near)
        if point is not None
    ]
    if not statements:
        return found
    with prepared_cursor() as cursor:
        sql = " UNION ALL ".join(f"({each})" for each, _ in statements)
        cursor.execute(sql, [param for _, params in statements for param in params])
        for place, id, amount, subscriptions in cursor.fetchall():
            totals = found[place]
            assert totals is not None
            totals[id] = Total(amount, subscriptions)
    return found


def _nearest(instants: Sequence[datetime]) -> list[Nearest | None]:
    """The stored sums from which each total can be computed. One query."""
    with prepared_cursor() as cursor:
        cursor.execute(*nearest_of(instants))
        return [
            Nearest(None)
            if today
            else None
            if facts > points.at_most(subscriptions or 0)
            else Nearest(at or BEFORE_ALL)
            for _, today, at, subscriptions, facts in cursor.fetchall()
        ]


def nearest_of(instants: Sequence[datetime]) -> SQL:
    """(place, whether today's sums hold, else the last point: at, subscriptions, facts since).

    Without a point, the facts are those since the beginning. A row for each instant, in order.
    """
    return NEAREST_OF, (list(instants),)


def statement(place: int, instant: datetime, point: Nearest, by: str) -> SQL:
    pairs, params = _pairs(instant, point)
    return AT.format(group=by, pairs=pairs), (place, *params, instant, instant)


def _pairs(instant: datetime, point: Nearest) -> SQL:
    if point.at is None:
        return FROM_TODAY, (instant,) * 5
    if point.at == instant:
        return points.OF_POINT, (instant,)
    return points.pairs_sql(instant, None if point.at == BEFORE_ALL else point.at)
