"""Time that a test sets, and that passes when the test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import connection

MICROSECOND = timedelta(microseconds=1)

# The one function that says what time it is. A statement's instant (`book_now`) does not bring the
# clock on, and so is the same in all of the statement's rows.
CLOCK = """
CREATE SEQUENCE pg_temp.tick;
CREATE OR REPLACE FUNCTION book_clock(machine timestamptz) RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
    SELECT current_setting('timeline.now')::timestamptz
           + CASE WHEN current_setting('timeline.ticks') = 'off' THEN 0
                  WHEN machine = statement_timestamp() THEN (SELECT last_value FROM pg_temp.tick)
                  ELSE nextval('pg_temp.tick') END * interval '1 microsecond'
$$;
"""


class Timeline:
    """The clock of the book in the transaction of a test.

    It stands still at the instant that was set, so that several facts may have one instant; with
    `ticks`, it is a microsecond later at each look.
    """

    def __init__(self) -> None:
        self.now = datetime(2027, 1, 1, tzinfo=UTC)
        self.ticks = False
        with connection.cursor() as cursor:
            cursor.execute(CLOCK)
        self.set(self.now)

    def set(self, now: datetime, ticks: bool | None = None) -> None:
        self.now = now
        if ticks is not None:
            self.ticks = ticks
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('timeline.now', %s, true),"
                " set_config('timeline.ticks', %s, true), setval('pg_temp.tick', 1, false)",
                [now.isoformat(), "on" if self.ticks else "off"],
            )
