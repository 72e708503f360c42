"""The transaction of who writes prices: its locks, and what the ledger says of its entries.

docs/decisions/0002-advisory-locks.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

import psycopg.errors
from django.db import OperationalError, connection, transaction
from django.db.models.sql import UpdateQuery

from services.models import SubscriptionQuerySet

# A worker that meets a lock gives way: shorter than deadlock_timeout (1 s), so that of a worker
# and a person who wait for each other it is never the person's transaction that is cancelled.
LOCK_TIMEOUT = "200ms"


class LockHeld(Exception):
    """Somebody else holds a lock that we needed, and we gave way."""


@contextmanager
def giving_way(at_once: bool = False) -> Iterator[None]:
    """A transaction, or a part of one, that waits for no lock longer than LOCK_TIMEOUT.

    `LockHeld` if it had to; `at_once` if it had to wait at all, more or less.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = %s", ["10ms" if at_once else LOCK_TIMEOUT])
            yield
            if at_once:
                # It outlives its savepoint, and what comes next is to wait as long as before.
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = %s", [LOCK_TIMEOUT])
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
        cursor.execute(
            "SELECT lock_service(%s, false), lock_plan(%s, false)", [service_id, plan_id]
        )


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


# In the order of ids, which are spread over the whole index of the ledger otherwise.
WITH_ENTRIES = """
WITH moved AS (
    {update} RETURNING id, client_id, service_id, plan_id, price, price_state, locked_until
)
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        effective_at, change_id, author)
SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
       (SELECT ledger_effective_at()), ledger_change(), ledger_author()
  FROM moved ORDER BY id
"""


def write_price(
    rows: SubscriptionQuerySet,
    price: Decimal,
    change_id: int | None = None,
    effective_at: datetime | None = None,
) -> int:
    """Write a price, and the ledger's entries of it, in one statement; return how many rows.

    What `ledger_origin(…): rows.update(price=price)` does, in half of the time: the trigger that
    writes the ledger for everybody would compare each row with what it was. Wants prices that
    differ from `price`, rows of followers, and the locks of their catalogue, for nobody else
    compares them with the rule.
    """
    update: UpdateQuery = rows.query.chain(UpdateQuery)  # type: ignore[assignment]
    update.add_update_values({"price": price})
    sql, params = update.get_compiler(connection=connection).as_sql()
    with ledger_origin(change_id, effective_at, kept=True), connection.cursor() as cursor:
        cursor.execute(WITH_ENTRIES.format(update=sql), params)
        return int(cursor.rowcount)


def at_point(name: str) -> None:
    """A named point of a change. Does nothing; the kill rounds have it wait here, to be killed."""
    if POINT is not None:
        POINT(name)


POINT: Callable[[str], None] | None = None
