"""Writes prices together with their ledger entries, and sets the origin that entries name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models.sql import UpdateQuery

from services.models import SubscriptionQuerySet


@contextmanager
def ledger_origin(
    change_id: int | None = None, effective_at: datetime | None = None, writes_entries: bool = False
) -> Iterator[None]:
    """Set the change and the instant that ledger entries of the block's writes name.

    With `writes_entries` the writer itself sets the prices and enters them into the ledger. Two
    queries; within a transaction only.
    """
    names = ("pricebook.change", "pricebook.effective_at", "pricebook.kept")
    values = (
        "" if change_id is None else str(change_id),
        "" if effective_at is None else effective_at.isoformat(),
        "on" if writes_entries else "",
    )
    setting = "SELECT set_config(%s, %s, true), set_config(%s, %s, true), set_config(%s, %s, true)"
    with connection.cursor() as cursor:
        cursor.execute(setting, [part for pair in zip(names, values, strict=True) for part in pair])
        yield
        cursor.execute(setting, [part for name in names for part in (name, "")])


def backdate(since: datetime) -> None:
    """Note that something has been recorded that counts from an earlier instant on. One query.

    Triggers do so, except for an entry of a price change that says that a subscription follows: an
    entry of a catalogue change is a copy, and only its writer knows that it is one of a set.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT backdate(%s)", [since])


# The client at an instant: a late writer may find the subscription with another client.
CLIENT_THEN = """(
    SELECT client_id FROM services_ledgerentry
     WHERE subscription_id = {subscription}.id AND effective_at <= {at}
     ORDER BY effective_at DESC, id DESC LIMIT 1)"""

# In the order of ids, which would otherwise be spread over the whole index of the ledger.
WITH_ENTRIES = """
WITH moved AS (
    {update} RETURNING id, client_id, service_id, plan_id, price, price_state, locked_until,
             started_at, ended_at
)
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        started_at, ended_at, effective_at, recorded_at, change_id, author)
SELECT id, client_id, service_id, plan_id, price, price_state, locked_until, started_at, ended_at,
       (SELECT ledger_effective_at()), (SELECT book_clock()), ledger_change(), ledger_author()
  FROM moved ORDER BY id
"""


# For rows that a change of the catalogue moves: one row for all of them (`MovedFollowers`). The ids
# of their entries are drawn in the order of the subscriptions.
MOVED = """
WITH moved AS (
    {update} RETURNING id, service_id, plan_id
), entry AS (
    SELECT *, nextval('services_ledgerentry_id_seq') AS entry_id
      FROM (SELECT * FROM moved ORDER BY id) ordered
)
INSERT INTO services_movedfollowers
       (change_id, service_id, plan_id, price, old_price, effective_at, recorded_at,
        number, first_id, last_id, subscription_ids, entry_ids)
SELECT ledger_change(), service_id, plan_id, %s,
       price_rule_at(service_id, plan_id, at - interval '1 microsecond'), at,
       (SELECT book_clock()), count(*), min(id), max(id),
       array_agg(id ORDER BY id), array_agg(entry_id ORDER BY entry_id)
  FROM entry, (SELECT ledger_effective_at() AS at OFFSET 0) moment
 GROUP BY service_id, plan_id, at
RETURNING number
"""


def write_price(
    rows: SubscriptionQuerySet, price: Decimal, effective_at: datetime | None = None
) -> int:
    """Write a price, and the ledger's entries of it, in one statement; return how many rows.

    The entries are as of `effective_at` (now).

    It does what `rows.update(price=price)` does, in half of the time: the trigger that writes the
    ledger for everybody would compare each row with its old values. `rows` must be followers whose
    prices differ from `price`, and the caller must hold the locks of their catalogue, because
    nothing else compares them with the rule.
    """
    with ledger_origin(None, effective_at, writes_entries=True), connection.cursor() as cursor:
        cursor.execute(*price_sql(rows, price))
        return int(cursor.rowcount)


def move_price(
    rows: SubscriptionQuerySet, price: Decimal, change_id: int, effective_at: datetime | None = None
) -> int:
    """Like `write_price`, for a change of the catalogue, from its instant on (now)."""
    with ledger_origin(change_id, effective_at, writes_entries=True), connection.cursor() as cursor:
        cursor.execute(*price_sql(rows, price, MOVED))
        return sum(number for (number,) in cursor.fetchall())


def price_sql(
    rows: SubscriptionQuerySet, price: Decimal, around: str = WITH_ENTRIES
) -> tuple[str, tuple[Any, ...]]:
    """The statement of `write_price`, or with `around` MOVED that of `move_price`."""
    update: UpdateQuery = rows.query.chain(UpdateQuery)  # type: ignore[assignment]
    update.add_update_values({"price": price})
    sql, params = update.get_compiler(connection=connection).as_sql()
    return around.format(update=sql), (*params, price) if around is MOVED else params
