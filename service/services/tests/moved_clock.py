"""A clock of the book that a test moves on: so a start or an end passes and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.db import connection

from services.models import book_clock

# Committed where the test's writes are; each session is as far ahead as it says itself.
AHEAD = """
CREATE OR REPLACE FUNCTION book_clock(machine timestamptz) RETURNS timestamptz LANGUAGE sql STABLE
AS $$
    SELECT machine + coalesce(nullif(current_setting('pricebook.ahead', true), ''), '0')::interval
$$
"""
# The same for all sessions, for those that a test lets meet.
SHARED = """
CREATE TABLE book_ahead AS SELECT interval '0' AS ahead;
CREATE OR REPLACE FUNCTION book_clock(machine timestamptz) RETURNS timestamptz LANGUAGE sql STABLE
AS 'SELECT machine + ahead FROM book_ahead'
"""
# A statement that began a while before its snapshot was taken: it waited for a lock, perhaps.
LATE_SNAPSHOT = """
CREATE OR REPLACE FUNCTION book_clock(machine timestamptz) RETURNS timestamptz LANGUAGE sql STABLE
AS $$
    SELECT machine - CASE WHEN machine = statement_timestamp() THEN interval '1 second'
                          ELSE interval '0' END
$$
"""


class MovedClock:
    """The database's, as far ahead as has passed."""

    SET = "SELECT set_config('pricebook.ahead', %s, false)"

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        self.passes(timedelta(0))

    def passes(self, time: timedelta) -> None:
        self.ahead += time
        with connection.cursor() as cursor:
            cursor.execute(self.SET, [str(self.ahead.total_seconds())])

    def to(self, instant: datetime) -> None:
        """A little later than that."""
        self.passes(instant - book_clock() + timedelta(milliseconds=1))

    def now(self) -> datetime:
        return book_clock()


class SharedClock(MovedClock):
    SET = "UPDATE book_ahead SET ahead = %s::interval"


def _replaced(definition: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef('book_clock(timestamptz)'::regprocedure)")
        (original,) = cursor.fetchone()
        cursor.execute(definition)
    yield
    if connection.in_atomic_block:
        return  # which takes it back
    with connection.cursor() as cursor:  # the test may have closed the connection
        cursor.execute(original)
        cursor.execute("SELECT set_config('pricebook.ahead', '', false)")


@pytest.fixture
def moved_clock(db: None) -> Iterator[MovedClock]:
    """In a test with `transaction=True` for other connections as well, which are not ahead."""
    for _ in _replaced(AHEAD):
        yield MovedClock()


@pytest.fixture
def shared_clock(db: None) -> Iterator[SharedClock]:
    """In a test with `transaction=True`: all connections are as far ahead."""
    for _ in _replaced(SHARED):
        yield SharedClock()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE book_ahead")


@pytest.fixture
def late_snapshot(db: None) -> Iterator[None]:
    """Every statement began a second before its snapshot was taken."""
    yield from _replaced(LATE_SNAPSHOT)
