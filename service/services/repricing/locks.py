"""The locks of a price writer. docs/decisions/0002-advisory-locks.md has the reasons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg.errors
from django.db import OperationalError, connection, transaction

from services.models import SubscriptionQuerySet

# A worker that meets a lock gives way after this time. It is shorter than deadlock_timeout (1 s):
# if a worker and a person wait for each other, the person's transaction is never cancelled.
LOCK_TIMEOUT = "200ms"
# A deadlock is looked for after a second: a request that may cross others' gives way before that,
# and is done, or sent, once more.
GIVE_WAY = "SET LOCAL lock_timeout = '500ms'"
WAIT_AGAIN = "SET LOCAL lock_timeout TO DEFAULT"


class LockHeld(Exception):
    """Somebody else holds a lock that we needed, and we gave way."""


@contextmanager
def giving_way(at_once: bool = False) -> Iterator[None]:
    """A transaction, or a part of one, that waits for no lock longer than LOCK_TIMEOUT.

    `LockHeld` if it would have to; with `at_once`, if it would have to wait longer than 10 ms.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = %s", ["10ms" if at_once else LOCK_TIMEOUT])
            yield
            if at_once:
                # The setting outlives its savepoint, and later statements are to wait as long as
                # before.
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = %s", [LOCK_TIMEOUT])
    except OperationalError as error:
        if isinstance(
            error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected
        ):
            raise LockHeld(str(error)) from error
        raise


def lock_catalogue(service_id: int, plan_id: int) -> None:
    """Take shared locks until the commit: what later statements read of the catalogue stays true.

    It must be a statement of its own, before all others. Without it a chunk that began before a
    second edit would finish after it, with the first one's price.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lock_service(%s, false), lock_plan(%s, false)", [service_id, plan_id]
        )


def wait_for_listing() -> None:
    """Wait while a set is put in force for all of its rows, and keep others from that until the
    commit. Writers wait by a trigger; workers write the ledger themselves.

    It must be a statement of its own, before all others.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT wait_for_listing()")


def lock_rows(rows: SubscriptionQuerySet) -> list[int]:
    """Lock the rows; return their ids.

    It is a statement of its own, so that the next one sees what those wrote that it waited for.
    """
    locked = rows.order_by().select_for_update(no_key=True)
    return list(locked.values_list("pk", flat=True))
