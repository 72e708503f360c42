"""How the rows of a change stand: the relations that say so, as written, in force, or to come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

SQL = tuple[str, list[Any]]

# Makes the planner compute a row's price once, and not wherever it is named. Only if all rows are
# read: for a few rows it would compute the prices of all.
ONCE = "OFFSET 0"
# A set is judged by the rows as they are written; a change of the catalogue by what is in force,
# though it may not be copied yet.
WRITTEN = {
    "subscriptions": "services_subscription",
    "services": "services_service",
    "plans": "services_plan",
    "once": ONCE,
}
IN_FORCE = {
    "subscriptions": "subscription_in_force",
    "services": "service_in_force",
    "plans": "plan_in_force",
    "once": ONCE,
}
# A set that is to come is judged by what will be in force at its instant, if that is not what is
# written. A price of NULL stands for the rule's. For a whole set each service and plan is read
# once, and not for each row.
TO_COME = {
    "subscriptions": """(
       SELECT written.id, client_id, service_id, plan_id, started_at, ended_at,
              CASE WHEN kept.price IS NOT NULL THEN kept.price
                   WHEN coalesce(listed.price_state, written.price_state) <> 'follows'
                     OR ended_at <= (SELECT copies_late_since({at}))
                   THEN coalesce(listed.price, written.price)
                   WHEN ended_at <= {at}
                   THEN price_rule_at(service_id, plan_id, ended_at - interval '1 microsecond')
               END AS price,
              coalesce(kept.price_state, listed.price_state, written.price_state) AS price_state,
              CASE WHEN kept.price IS NOT NULL THEN kept.locked_until
                   WHEN listed.price IS NOT NULL THEN listed.locked_until
                   ELSE written.locked_until END AS locked_until
         FROM services_subscription written
         LEFT JOIN LATERAL (
              SELECT (story).price, (story).price_state, (story).locked_until
                FROM (SELECT kept_entry(written.id, {at}) AS story
                       WHERE (SELECT keeps_late({at}))
                         AND (written.price_state <> 'negotiated'
                              OR (SELECT listed_late()) IS NOT NULL)
                      OFFSET 0) told) kept ON true
         LEFT JOIN LATERAL (
              SELECT price, price_state, locked_until FROM listed_as(written.id)
               WHERE (SELECT listed_late()) IS NOT NULL) listed ON true)""",
    "services": """(SELECT id, list_price_at(id, {at}) AS full_price
                      FROM services_service {once})""",
    "plans": """(SELECT id, discount_at(id, {at}) AS discount_percent FROM services_plan {once})""",
    "once": "{once}",
}
# A subscription as it stands at an instant: a lock that has ended by then counts as none, and the
# price is the rule's. `then` of filters and the SQL of adjustments are over these columns.
STANDING = """
SELECT subscription.id, client_id, subscription.service_id, subscription.plan_id,
       CASE WHEN price_state = 'locked' AND locked_until <= {at} THEN 'follows' ELSE price_state
        END AS state,
       CASE WHEN price_state = 'locked' AND locked_until <= {at} THEN price_rule(full_price,
            percent) ELSE coalesce(price, price_rule(full_price, percent))
        END AS price,
       CASE WHEN locked_until > {at} THEN locked_until END AS locked_until,
       coalesce(ended_at <= {at}, false) AS ended, started_at > {at} AS upcoming,
       CASE WHEN started_at > {at} THEN started_at ELSE ended_at END AS boundary,
       full_price, percent AS discount_percent
  FROM {subscriptions} subscription
  JOIN {services} service ON service.id = subscription.service_id
  JOIN {plans} plan ON plan.id = subscription.plan_id
 CROSS JOIN LATERAL (SELECT discount_percent::integer AS percent) whole
 WHERE {where} {once}
"""
LATE = """
SELECT at FROM unnest(%s::timestamptz[]) at
 WHERE copies_late_since(coalesce(at, book_now())) IS NOT NULL
"""


def relations_at(
    at: datetime | None, whole: bool = True, late: Collection[datetime | None] | None = None
) -> Mapping[str, str]:
    """The relations that say how rows stand now (None) or will at an instant, by what is known.

    `whole`: all rows of a change are read, and not a few. `late`: the result of `late_at`; if left
    out, it is had by one query.
    """
    shape = {"at": literal(at), "once": ONCE if whole else ""}
    if at not in (late_at([at]) if late is None else late):
        return WRITTEN | {"once": shape["once"]}
    if at is None:
        return IN_FORCE | {"once": shape["once"]}
    return {name: sql.format(**shape) for name, sql in TO_COME.items()}


def late_at(instants: Iterable[datetime | None]) -> set[datetime | None]:
    """The instants among these at which rows stand otherwise than they are written; None is now.

    By what is known now. One query, or none if there is no instant.
    """
    each = list(set(instants))
    return {at for (at,) in fetch(LATE, [each])} if each else set()


def literal(value: Decimal | datetime | None) -> str:
    """A checked value as SQL: only numbers and instants, which contain no quotes."""
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
