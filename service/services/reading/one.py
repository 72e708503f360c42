"""One subscription as the API shows it, from one statement, with what is scheduled for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.db import connection

from pricebook.kit.prepared import prepared_cursor
from services.hooks import price_changes
from services.reading.row import JOINED, OF_SUBSCRIPTION, BookRow
from services.sql import SQL

ROWS = """
  FROM {subscription} subscription
  JOIN clients_client client ON client.id = subscription.client_id
  JOIN auth_user login ON login.id = client.user_id
  JOIN service_in_force service ON service.id = subscription.service_id
  JOIN plan_in_force plan ON plan.id = subscription.plan_id
"""
ONE = f"""
SELECT {{scheduled}} AS scheduled, {{waits}} AS waits, {{columns}} {ROWS}
 WHERE subscription.id = %s
"""
SHOWN = ", ".join([*(f"subscription.{name}" for name in OF_SUBSCRIPTION), *JOINED.values()])
THOSE = f"""
SELECT {SHOWN} {ROWS.format(subscription="subscription_in_force")}
 WHERE subscription.id = ANY (%s)
"""


def one(id: int, *, new: bool = False) -> dict[str, Any] | None:
    """The subscription as it is in force, or None. One query, and more while changes are scheduled.

    With `pending_changes`, which will move it, and with `waiting_for`, which have come and are not
    in its price yet. A `new` one was inserted in this transaction: no copy of it is late, so its
    row is read, and not the view, which costs more.
    """
    sql, params = statement(id, new)
    with prepared_cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone()
    if row is None:
        return None
    scheduled, waits, *columns = row
    return BookRow(*columns).for_api() | {
        "currency": settings.CURRENCY,
        "pending_changes": [asdict(each) for each in price_changes().pending(id)]
        if scheduled
        else [],
        "waiting_for": [asdict(each) for each in price_changes().waiting_for(None)]
        if waits
        else [],
    }


def statement(id: int, new: bool = False) -> SQL:
    """The SQL of the subscription, and of whether any change is scheduled, or waits."""
    sql = ONE.format(
        subscription="services_subscription" if new else "subscription_in_force",
        scheduled=price_changes().something_scheduled(),
        waits=price_changes().a_set_waits(),
        columns=SHOWN,
    )
    return sql, (id,)


def those(ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Subscriptions as they are in force, by their ids, without what is scheduled. One query."""
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(THOSE, [list(ids)])
        rows = [BookRow(*row).for_api() for row in cursor.fetchall()]
    return {row["id"]: row for row in rows}
