"""Who and what the book's money comes from: clients, services, plans, and totals by them.

Each answer is one statement. What is cut along services and plans is added up from the subtotals,
of which there are a few for each (service, plan), so it costs the same however many subscriptions
there are; a page of clients reads the subscriptions of these clients, by the foreign key.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import connection

from services.filters import BookFilter
from services.models import Subscription
from services.ordering import Cursor
from services.total import SQL, Total, of_subtotals

Row = dict[str, Any]

# --- Clients, services, plans -----------------------------------------------------------------

CLIENTS = """
SELECT client.id, client.company_name, login.email, client.full_address,
       paid.subscriptions AS count, paid.amount AS total_amount
  FROM (SELECT client.* FROM clients_client client WHERE {where}
         ORDER BY {order} LIMIT %s) client
  JOIN auth_user login ON login.id = client.user_id
 CROSS JOIN LATERAL (
    SELECT count(*) AS subscriptions, coalesce(sum(price), 0) AS amount
      FROM services_subscription WHERE client_id = client.id
  ) paid
 ORDER BY {order}
"""
SERVICES = """
SELECT service.id, service.name, service.full_price,
       coalesce(paid.subscriptions, 0)::bigint AS count, coalesce(paid.amount, 0) AS total_amount
  FROM (SELECT service.* FROM services_service service WHERE {where}
         ORDER BY {order} LIMIT %s) service
  LEFT JOIN (SELECT service_id, sum(subscriptions) AS subscriptions, sum(amount) AS amount
               FROM services_subtotal GROUP BY service_id) paid ON paid.service_id = service.id
 ORDER BY {order}
"""
PLANS = """
SELECT plan.id, plan.plan_type, plan.discount_percent,
       coalesce(paid.subscriptions, 0)::bigint AS count, coalesce(paid.amount, 0) AS total_amount
  FROM (SELECT plan.* FROM services_plan plan WHERE {where}
         ORDER BY {order} LIMIT %s) plan
  LEFT JOIN (SELECT plan_id, sum(subscriptions) AS subscriptions, sum(amount) AS amount
               FROM services_subtotal GROUP BY plan_id) paid ON paid.plan_id = plan.id
 ORDER BY {order}
"""
STATEMENTS = {"client": CLIENTS, "service": SERVICES, "plan": PLANS}


def page(kind: str, cursor: Cursor | None, size: int) -> tuple[list[Row], Cursor | None]:
    """Up to `size` clients, services or plans by their ids, with what each of them pays.

    With the place of the page behind, if there is one. One query.
    """
    after = cursor.id if cursor else 0
    rows = _fetch(statement(kind, f"{kind}.id > %s"), (after, size + 1))
    more = Cursor(rows[size - 1]["id"]) if len(rows) > size else None
    return rows[:size], more


def one(kind: str, id: int) -> Row | None:
    """One of them, as `page` has it. One query."""
    rows = _fetch(statement(kind, f"{kind}.id = %s"), (id, 1))
    return rows[0] if rows else None


def statement(kind: str, where: str) -> str:
    return STATEMENTS[kind].format(where=where, order=f"{kind}.id")


# --- Totals by ... ----------------------------------------------------------------------------

GROUPS = {
    "service": ("service_id", "service_name"),
    "plan": ("plan_id", "plan_type", "discount_percent"),
    "plan_type": ("plan_type",),
}
MOST_GROUPS = 10_000
KEPT_PAIRS = """
SELECT service_id, plan_id, sum(subscriptions) AS subscriptions, sum(amount) AS amount
  FROM services_subtotal WHERE service_id IS NOT NULL AND {where} GROUP BY service_id, plan_id
"""
SUMMED_PAIRS = """
SELECT service_id, plan_id, count(*) AS subscriptions, sum(price) AS amount
  FROM ({matching}) subscription (service_id, plan_id, price) GROUP BY service_id, plan_id
"""
TOTALS = """
SELECT {columns}sum(subscriptions)::bigint AS count, sum(amount) AS total_amount
  FROM (SELECT pair.*, service.name AS service_name, plan.plan_type, plan.discount_percent
          FROM ({pairs}) pair
          JOIN services_service service ON service.id = pair.service_id
          JOIN services_plan plan ON plan.id = pair.plan_id
         WHERE pair.subscriptions <> 0) paid
 {grouped}
 LIMIT %s
"""


class TooManyGroups(Exception):
    """More than `MOST_GROUPS`."""


def totals(book_filter: BookFilter, by: list[str]) -> tuple[list[Row], Total]:
    """What all that match pay by service, plan, plan type (`by`, in this order), and together.

    One query, hence one snapshot; groups without a subscription are left out. A filter by anything
    but service, plan and plan type reads the rows that match.
    """
    sql, params = totals_statement(book_filter, by)
    rows = _fetch(sql, params)
    if len(rows) > MOST_GROUPS:
        raise TooManyGroups
    rows = [row for row in rows if row["count"]]
    return rows, Total(
        sum((row["total_amount"] for row in rows), Decimal(0)), sum(row["count"] for row in rows)
    )


def totals_statement(book_filter: BookFilter, by: list[str]) -> SQL:
    if book_filter.by_catalogue:
        where, params = of_subtotals(book_filter)
        pairs = KEPT_PAIRS.format(where=where)
    else:
        matching = Subscription.objects.matching(book_filter).order_by()
        matching_sql, params = matching.values_list(
            "service_id", "plan_id", "price"
        ).query.sql_with_params()
        pairs = SUMMED_PAIRS.format(matching=matching_sql)
    columns = list(dict.fromkeys(column for name in by for column in GROUPS[name]))
    named = ", ".join(columns)
    sql = TOTALS.format(
        columns=f"{named}, " if columns else "",
        pairs=pairs,
        grouped=f"GROUP BY {named} ORDER BY {named}" if columns else "",
    )
    return sql, (*params, MOST_GROUPS + 1)


def _fetch(sql: str, params: tuple[Any, ...]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
