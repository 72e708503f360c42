"""The transaction of who writes prices: its locks, and what the ledger says of its entries.

docs/decisions/0002-advisory-locks.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg.errors
from django.db import OperationalError, connection, transaction

# A worker that meets a lock gives way: shorter than deadlock_timeout (1 s), so that of a worker
# and a person who wait for each other it is never the person's transaction that is cancelled.
LOCK_TIMEOUT = "200ms"


class LockHeld(Exception):
    """Somebody else holds a lock that we needed, and we gave way."""


@contextmanager
def giving_way() -> Iterator[None]:
    """A transaction that waits for no lock longer than LOCK_TIMEOUT; `LockHeld` if it had to."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            yield
    except OperationalError as error:
        if isinstance(
            error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected
        ):
            raise LockHeld(str(error)) from error
        raise


def lock_catalogue(service_id: int, plan_id: int) -> None:
    """Shared locks until the commit: what the next statements read of the catalogue stays true.

    In a statement of its own and before all others. Without it a chunk that began before a second
    edit would finish after it, with the first one's price.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT lock_service(%s, false)", [service_id])
        cursor.execute("SELECT lock_plan(%s, false)", [plan_id])


@contextmanager
def ledger_origin(
    change_id: int | None = None, effective_at: datetime | None = None, kept: bool = False
) -> Iterator[None]:
    """What the ledger's entries of the block's writes say of their origin.

    With `kept` the writer sees to the rule and the ledger itself. Two queries; within a
    transaction only.
    """
    names = ("pricebook.change", "pricebook.effective_at", "pricebook.kept")
    values = (
        "" if change_id is None else str(change_id),
        "" if effective_at is None else effective_at.isoformat(),
        "on" if kept else "",
    )
    setting = "SELECT set_config(%s, %s, true), set_config(%s, %s, true), set_config(%s, %s, true)"
    with connection.cursor() as cursor:
        cursor.execute(setting, [part for pair in zip(names, values, strict=True) for part in pair])
        yield
        cursor.execute(setting, [part for name in names for part in (name, "")])
