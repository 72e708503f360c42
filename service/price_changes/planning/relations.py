"""The relations by which the rows of a change are judged: as written, as in force, as to come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

SQL = tuple[str, list[Any]]

# A set is judged by the rows as they are written; the catalogue by what is in force, though it may
# not be copied yet.
WRITTEN = {
    "subscriptions": "services_subscription",
    "services": "services_service",
    "plans": "services_plan",
}
IN_FORCE = {
    "subscriptions": "subscription_in_force",
    "services": "service_in_force",
    "plans": "plan_in_force",
}
# A set that is to come is judged by what will be in force at its instant, where that is another
# thing than what is written.
TO_COME = {
    "subscriptions": """(
       SELECT written.id, client_id, service_id, plan_id, ended_at,
              coalesce(kept.price, CASE WHEN written.price_state = 'follows'
                                        THEN price_rule_at(service_id, plan_id, {at})
                                        ELSE written.price END) AS price,
              coalesce(kept.price_state, written.price_state) AS price_state,
              CASE WHEN kept.price IS NULL THEN written.locked_until ELSE kept.locked_until
               END AS locked_until
         FROM services_subscription written
         LEFT JOIN LATERAL (
              SELECT (story).price, (story).price_state, (story).locked_until
                FROM (SELECT kept_entry(written.id, {at}) AS story
                       WHERE (SELECT keeps_late({at})) AND written.price_state <> 'negotiated'
                      OFFSET 0) told) kept ON true)""",
    "services": "(SELECT id, list_price_at(id, {at}) AS full_price FROM services_service)",
    "plans": "(SELECT id, discount_at(id, {at}) AS discount_percent FROM services_plan)",
}
COMES = "SELECT copies_late_since({at}) IS NOT NULL"


def standing_at(at: datetime) -> Mapping[str, str]:
    """Which relations say how rows will stand at an instant, by what is known. One query."""
    [(comes,)] = fetch(COMES.format(at=literal(at)), [])
    return {name: sql.format(at=literal(at)) for name, sql in TO_COME.items()} if comes else WRITTEN


def literal(value: Decimal | datetime | None) -> str:
    """A checked value as SQL: numbers and instants only, which have no quotes in them."""
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'::timestamptz"
    return f"({value})"


def fetch(sql: str, params: list[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
