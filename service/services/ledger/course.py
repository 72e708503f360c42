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
# Statements for many instants name each by columns. With a branch for each, PostgreSQL took longer
# to plan them than to run them.
NEAREST_OF = f"""
SELECT place, today, at, subscriptions,
       coalesce(facts, (SELECT count(*) FROM (
           SELECT FROM facts_between('-infinity', asked.instant) LIMIT {points.LEAST + 1}) fact))
       AS facts
  FROM unnest(%s::timestamptz[]) WITH ORDINALITY asked (instant, place)
 CROSS JOIN LATERAL ({NEAREST.replace("%s", "asked.instant")}) nearest
 ORDER BY place
"""  # noqa: S608 - constants
# For each id of the group, what its subscriptions paid at an instant, and how many paid: of those
# instants whose sums are found in the same way, by the same statement of `pairs`.
AT = """
SELECT place, told.*
  FROM unnest(%s::integer[], %s::timestamptz[], %s::timestamptz[]) asked (place, instant, since)
 CROSS JOIN LATERAL (
       SELECT {group}_id AS id,
              sum(followers * price_rule(full_price, discount_percent) + amount) AS amount,
              sum(followers + others)::bigint AS subscriptions
         FROM ({pairs}) pair
         JOIN (SELECT id, list_price_at(id, asked.instant) AS full_price
                 FROM services_service OFFSET 0) service ON service.id = service_id
         JOIN (SELECT id, discount_at(id, asked.instant) AS discount_percent
                 FROM services_plan OFFSET 0) plan ON plan.id = plan_id
        GROUP BY {group}_id
       HAVING sum(followers + others) <> 0) told
"""
INSTANT, SINCE = datetime(2, 1, 1, tzinfo=UTC), datetime(3, 1, 1, tzinfo=UTC)
BY_COLUMN = {
    INSTANT: "asked.instant",
    SINCE: "asked.since",
    points.NEVER: f"'{points.NEVER}'",
}


def course(instants: Sequence[datetime], by: str) -> list[dict[int, Total] | None]:
    """The sums paid at each instant, past or future, by the ids of the services or plans (`by`).

    None for an instant that no stored sums are near enough to: a worker is still making them, and
    a sum over the whole ledger would take too long for a page. Two queries, to be made in one
    snapshot.
    """
    assert by in GROUPS
    near = _nearest(instants)
    found: list[dict[int, Total] | None] = [{} if each else None for each in near]
    near_enough = [
        (place, instants[place], point) for place, point in enumerate(near) if point is not None
    ]
    if not near_enough:
        return found
    with prepared_cursor() as cursor:
        cursor.execute(*statement_of(near_enough, by))
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


def statement_of(asked: Sequence[tuple[int, datetime, Nearest]], by: str) -> SQL:
    """(place, id, amount, subscriptions) of instants, each with its place and the `Nearest` sums.

    Its text depends on the ways alone by which they are found, of which there are four.
    """
    ways: dict[Nearest, list[tuple[int, datetime, datetime]]] = {}
    for place, instant, point in asked:
        since = instant if point.at is None else point.at
        way = point if point.at in (None, BEFORE_ALL) else Nearest(SINCE)
        ways.setdefault(Nearest(INSTANT) if point.at == instant else way, []).append(
            (place, instant, since)
        )
    sql = []
    for way in ways:
        pairs, params = _pairs(INSTANT, way)
        pairs %= tuple(map(BY_COLUMN.__getitem__, params))
        sql.append(AT.format(group=by, pairs=pairs))
    return " UNION ALL ".join(sql), tuple(
        list(column) for rows in ways.values() for column in zip(*rows, strict=True)
    )


def _pairs(instant: datetime, point: Nearest) -> SQL:
    if point.at is None:
        return FROM_TODAY, (instant,) * 5
    if point.at == instant:
        return points.OF_POINT, (instant,)
    return points.pairs_sql(instant, None if point.at == BEFORE_ALL else point.at)
