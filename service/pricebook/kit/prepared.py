"""Prepared statements: PostgreSQL plans them once for each connection, and not at each request.

Django writes the values into the text, so to PostgreSQL each execution is another statement: for a
page of the list, planning was half of its work. Here the values are sent beside the text, and the
plan is kept, if `PREPARED_STATEMENTS` in the settings allows it.

After five executions PostgreSQL uses one plan for all values. So this is only for statements whose
plan does not depend on them, and whose LIMIT is written out: a LIMIT that is a value would be
guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper
from psycopg.errors import FeatureNotSupported
from psycopg.pq import TransactionStatus
from psycopg.types.datetime import TimestamptzLoader


@contextmanager
def prepared_cursor() -> Iterator[CursorWrapper]:
    """A cursor for a program's own statements; it counts and logs them as Django's does."""
    with connection.cursor() as cursor:
        session = connection.connection
        cursor.cursor = _Cursor(session)
        # Sessions are in UTC; Django's loader, in Python, would set that for each instant that it
        # reads.
        cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        # (Django's log of queries would have no text of a prepared statement.)
        if not settings.PREPARED_STATEMENTS or connection.queries_logged:
            yield cursor
            return
        # Only in this block: psycopg keeps the text of each statement that it may come to prepare.
        session.prepare_threshold = 0
        try:
            yield cursor
        finally:
            session.prepare_threshold = None


class _Cursor(psycopg.Cursor[Any]):
    def execute(self, *args: Any, **options: Any) -> Self:
        try:
            return super().execute(*args, **options)
        except FeatureNotSupported:  # a column that it reads was altered: the plan may not change
            if self.connection.info.transaction_status != TransactionStatus.IDLE:
                raise
            self.connection.execute("DEALLOCATE ALL")  # psycopg sees it, and prepares anew
            return super().execute(*args, **options)
