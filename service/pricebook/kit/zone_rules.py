"""The rules of time zones: those of the package tzdata, the same on every machine.

An instant that is given as a local time depends on them, and countries change them at a few weeks'
notice. A machine has the rules of its last update; ours come with the release, pinned.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo, reset_tzpath

import tzdata
from django.db import DataError, connection, transaction

VERSION: str = tzdata.IANA_VERSION
BEFORE, AHEAD = timedelta(days=366), timedelta(days=3660)
HOUR = timedelta(hours=1)

# Each hour that begins with another offset than the hour before.
TRANSITIONS = """
SELECT at, utc_offset FROM (
    SELECT at, utc_offset, lag(utc_offset) OVER (ORDER BY at) AS before
      FROM (SELECT at, at AT TIME ZONE %(zone)s - at AT TIME ZONE 'UTC' AS utc_offset
              FROM generate_series(%(first)s::timestamptz, %(last)s, '1 hour') at) hour) moved
 WHERE before IS DISTINCT FROM utc_offset ORDER BY at
"""

Transitions = list[tuple[datetime, timedelta]]


class Difference(NamedTuple):
    """The instant at which the database's clocks begin to differ from ours, and both offsets."""

    at: datetime
    ours: timedelta
    database: timedelta | None  # None: it does not know the zone


def use_pinned() -> None:
    """Use the pinned rules, and not the machine's, from now on in this process."""
    reset_tzpath(to=())
    ZoneInfo.clear_cache()


def first_difference(name: str) -> Difference | None:
    """The first difference of our rules from PostgreSQL's, a year back to ten ahead. One query."""
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - BEFORE
    last = first + BEFORE + AHEAD
    ours = _transitions(ZoneInfo(name), first, last)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(TRANSITIONS, {"zone": name, "first": first, "last": last})
            theirs: Transitions = cursor.fetchall()
    except DataError:
        return Difference(first, ours[0][1], None)
    differing = [at for at, _ in set(ours) ^ set(theirs)]
    if not differing:
        return None
    at = min(differing)
    return Difference(at, _offset(ours, at), _offset(theirs, at))


def _transitions(zone: ZoneInfo, first: datetime, last: datetime) -> Transitions:
    hours = [first + number * HOUR for number in range((last - first) // HOUR + 1)]
    shown = [(at, at.astimezone(zone).utcoffset() or timedelta()) for at in hours]
    return [shown[0]] + [now for before, now in pairwise(shown) if now[1] != before[1]]


def _offset(transitions: Transitions, at: datetime) -> timedelta:
    return [offset for since, offset in transitions if since <= at][-1]
