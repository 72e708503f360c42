"""Time that a test sets, and that passes when the test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

MICROSECOND = timedelta(microseconds=1)

# Until there is one clock: found before those of PostgreSQL, wherever names are looked up when a
# statement is planned. What was bound when it was made is made anew.
CLOCK = """
CREATE SCHEMA timeline;
CREATE SEQUENCE timeline.tick;
CREATE FUNCTION timeline.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT current_setting('timeline.now')::timestamptz
           + CASE current_setting('timeline.step') WHEN '0' THEN interval '0'
             ELSE nextval('timeline.tick') * interval '1 microsecond' END
$$;
CREATE FUNCTION timeline.statement_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT timeline.clock_timestamp()';
CREATE FUNCTION timeline.now() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT timeline.clock_timestamp()';
ALTER TABLE services_ledgerentry
    ALTER effective_at SET DEFAULT timeline.clock_timestamp(),
    ALTER recorded_at SET DEFAULT timeline.clock_timestamp();
ALTER TABLE services_repricing
    ALTER effective_at SET DEFAULT timeline.clock_timestamp(),
    ALTER requested_at SET DEFAULT timeline.clock_timestamp();
ALTER TABLE services_repricingstep ALTER effective_at SET DEFAULT timeline.clock_timestamp();
ALTER TABLE services_subscription ALTER started_at SET DEFAULT timeline.clock_timestamp();
ALTER TABLE price_changes_pricechange ALTER planned_at SET DEFAULT timeline.clock_timestamp();
CREATE OR REPLACE FUNCTION ledger_effective_at() RETURNS timestamptz LANGUAGE sql AS $$
    SELECT coalesce(nullif(current_setting('pricebook.effective_at', true), '')::timestamptz,
                    clock_timestamp())
$$;
SET LOCAL search_path = timeline, pg_catalog, public;
"""


class Timeline:
    """The clock of the book in the transaction of a test.

    It stands still at the instant that was set, so that several facts may be of one instant; or,
    where `ticks`, it is a microsecond later at each look.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = datetime(2027, 1, 1, tzinfo=UTC)
        self.ticks = False
        patch.setattr(timezone, "now", lambda: self.recording)
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
                " set_config('timeline.step', %s, true), setval('timeline.tick', 1, false)",
                [now.isoformat(), "1" if self.ticks else "0"],
            )

    @property
    def recording(self) -> datetime:
        """When what is written now is recorded, but for what later looks at the clock add."""
        return self.now + MICROSECOND if self.ticks else self.now
