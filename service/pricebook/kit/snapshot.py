"""One snapshot for all that an answer reads, so that its figures agree while workers commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Let the statements inside read one snapshot, and write nothing. One query.

    Within a transaction of the caller, whose isolation can't be changed any more, they read as they
    do there.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
