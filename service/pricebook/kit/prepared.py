"""Prepared statements: PostgreSQL plans them once for each connection, and not at each request.

Django writes the values into the text, so to PostgreSQL each execution is another statement: for a
page of the list, planning was half of its work. Here the values are sent beside the text, and the
plan is kept, if `PREPARED_STATEMENTS` in the settings allows it.

After five executions PostgreSQL uses one plan for all values. So this is only for statements whose
plan does not depend on them, and whose LIMIT is written out: a LIMIT that is a value would be
guessed.

A pooler that drops the startup options hands out sessions that have none of them. A process that
meets one prepares no more, and its log says why.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper
from psycopg.errors import (
    DuplicatePreparedStatement,
    FeatureNotSupported,
    InvalidSqlStatementName,
)
from psycopg.pq import TransactionStatus
from psycopg.types.datetime import TimestamptzLoader

logger = logging.getLogger(__name__)
LOST = (InvalidSqlStatementName, DuplicatePreparedStatement)
_sessions_are_shared = False


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
        if not settings.PREPARED_STATEMENTS or _sessions_are_shared or connection.queries_logged:
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
        except LOST as error:
            prepare_no_more()
            self.connection.prepare_threshold = None
            if self.connection.info.transaction_status != TransactionStatus.IDLE:
                raise psycopg.OperationalError(str(error)) from error
            return super().execute(*args, **options)
        except FeatureNotSupported:  # a column that it reads was altered: the plan may not change
            if self.connection.info.transaction_status != TransactionStatus.IDLE:
                raise
            self.connection.execute("DEALLOCATE ALL")  # psycopg sees it, and prepares anew
            return super().execute(*args, **options)


def prepare_no_more() -> None:
    """From now on this process prepares nothing: its sessions are not its own."""
    global _sessions_are_shared
    if not _sessions_are_shared:
        _sessions_are_shared = True
        logger.error(
            "Between this process and PostgreSQL a pooler drops the startup options, and with them"
            " limits and settings, and shares sessions: statements are planned each time. Fix:"
            " DB_STARTUP_OPTIONS= (empty), and what docs/operating.md says of PgBouncer."
        )
