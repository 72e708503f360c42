"""Statements that PostgreSQL plans once a connection, and not at each request.

Django writes the values into the text, so to PostgreSQL each execution is another statement: of a
page of the list, planning was half of its work. Here the values travel beside the text, and the
plan is kept: `PREPARED_STATEMENTS` in the settings says whether it may be.

After five times PostgreSQL takes one plan for all values. So only for statements whose plan does
not depend on them, and with a LIMIT that is written out: it would guess at one that is a value.
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
    """A cursor for statements of a program's own; it counts and logs them as Django's does."""
    with connection.cursor() as cursor:
        session = connection.connection
        cursor.cursor = _Cursor(session)
        # Sessions are in UTC. Django's loader, in Python, says so anew to each instant it reads.
        cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        # (Of a prepared one Django's log of queries would have no text.)
        if not settings.PREPARED_STATEMENTS or connection.queries_logged:
            yield cursor
            return
        # Only meanwhile: psycopg keeps the text of each statement that it may come to prepare.
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
