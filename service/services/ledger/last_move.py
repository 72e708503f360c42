"""When the catalogue last moved the price of a pair's followers, and whose doing it was."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from django.db import connection


class Move(NamedTuple):
    """An instant at which the catalogue moved the price of its followers, and who decided that."""

    effective_at: datetime
    recorded_at: datetime
    change_id: int | None
    author: str


# Reads newest first along both indexes, down to the last instant at which the price moved. The move
# is due to the last value of that instant that moved the price in its turn; if none has, to the
# last undoing. A value that is undone at its own instant, or held, has moved nothing.
LAST_MOVE = """
SELECT {columns}
  FROM (SELECT * FROM services_cataloguevalue WHERE service_id = %(service)s
         UNION ALL
        SELECT * FROM services_cataloguevalue WHERE plan_id = %(plan)s) decided
 WHERE effective_at > %(since)s AND effective_at <= %(at)s
   AND {counts}
   AND price_rule_at(%(service)s, %(plan)s, effective_at{known}) IS DISTINCT FROM
       price_rule_at(%(service)s, %(plan)s, effective_at - interval '1 microsecond'{known})
 ORDER BY effective_at DESC,
       CASE WHEN value IS NULL THEN change_id IS NOT NULL
            ELSE {before} IS DISTINCT FROM {after} END DESC,
       value IS NULL, id DESC
 LIMIT 1
"""
PRICE_BEFORE = """price_rule(value_before(%(service)s, NULL, effective_at, {number}{known}),
                       value_before(NULL, %(plan)s, effective_at, {number}{known})::integer)"""
COLUMNS = "effective_at, recorded_at, change_id, author"
MOVED_BY_ALL = {
    "counts": "NOT undone @> effective_at AND NOT coalesce(held, value_is_held(id))",
    "known": "",
}
MOVED_BY_KNOWN = {
    "counts": """recorded_at <= %(known)s AND NOT value_undone(id, effective_at, %(known)s)
   AND NOT value_is_held(id, %(known)s)""",
    "known": ", %(known)s",
}


def _statement(columns: str, parts: dict[str, str]) -> str:
    before, after = [
        PRICE_BEFORE.format(number=number, known=parts["known"])
        for number in ("decided.id", "decided.id + 1")
    ]
    return LAST_MOVE.format(columns=columns, **parts, before=before, after=after)


def last_move(
    service_id: int,
    plan_id: int,
    since: datetime,
    at: datetime,
    known_at: datetime | None = None,
) -> Move | None:
    """The last move of the price of a pair's followers after `since`, and no later than `at`.

    An edit after which the rounded price is the same moved nothing. By all that is recorded, or by
    what was recorded by `known_at`. One query.
    """
    parts = MOVED_BY_ALL if known_at is None else MOVED_BY_KNOWN
    with connection.cursor() as cursor:
        cursor.execute(
            _statement(COLUMNS, parts),
            {"service": service_id, "plan": plan_id, "since": since, "at": at, "known": known_at},
        )
        row = cursor.fetchone()
    return None if row is None else Move(*row)


class Asked(NamedTuple):
    """The pair of a follower, and the period in which its last move is asked for."""

    service_id: int
    plan_id: int
    since: datetime
    at: datetime


OF_ASKED = _statement(COLUMNS, MOVED_BY_ALL) % {
    name: f"asked.{name}" for name in ("service", "plan", "since", "at")
}
EACH = f"""
SELECT asked.number, moved.*
  FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::timestamptz[])
       asked (number, service, plan, since, at)
 CROSS JOIN LATERAL ({OF_ASKED}) moved
"""  # noqa: S608 - constants


def last_moves(asked: Mapping[int, Asked]) -> dict[int, Move]:
    """`last_move` for many, by their numbers; without those that have none. One query, if any."""
    if not asked:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(EACH, [list(asked), *map(list, zip(*asked.values(), strict=True))])
        return {number: Move(*row) for number, *row in cursor.fetchall()}


def cause_at(service: str, plan: str, at: str) -> str:
    """A statement of the change whose doing a move of a pair's price at an instant was, as
    `last_move` says it; the arguments are columns. No row where the price did not move.
    """
    since = f"{at} - interval '1 microsecond'"
    given = {"service": service, "plan": plan, "since": since, "at": at}
    return _statement("change_id", MOVED_BY_ALL) % given
