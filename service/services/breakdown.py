"""Who and what the book's money comes from: clients, services, plans, and totals by them.

Each answer is one statement. What is cut along services and plans is added up from the subtotals,
of which there are a few for each (service, plan), so it costs the same however many subscriptions
there are; a page of clients reads the subscriptions of these clients, by the foreign key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection

from services.filters import BookFilter, names_like
from services.listing import Seen, book_as_seen, version_of
from services.models import Subscription
from services.ordering import Cursor
from services.serving import SEARCH_NAMES
from services.total import SQL, Total, of_subtotals
from services.values import MAX_BIGINT

Row = dict[str, Any]

# --- Clients, services, plans -----------------------------------------------------------------

# `found` are the ids that filters lead to, if there are any. What is read is read only where the
# caller has not seen the answer of this very book.
STATEMENT = """
WITH book AS MATERIALIZED ({book}),
     found (id) AS MATERIALIZED (
         SELECT id FROM ({found}) named (id) WHERE (SELECT NOT seen FROM book) LIMIT %s
     )
SELECT book.*, (SELECT count(*) FROM found) AS found, page.*
  FROM book LEFT JOIN ({page}) page ON true
 ORDER BY page.id
"""
EVERYBODY = "SELECT 0 WHERE false"
AMONG_FOUND = "AND {kind}.id = ANY (ARRAY(SELECT id FROM found))"
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
"""
SERVICES = """
SELECT service.id, service.name, service.full_price,
       coalesce(paid.subscriptions, 0)::bigint AS count, coalesce(paid.amount, 0) AS total_amount
  FROM (SELECT service.* FROM services_service service WHERE {where}
         ORDER BY {order} LIMIT %s) service
  LEFT JOIN (SELECT service_id, sum(subscriptions) AS subscriptions, sum(amount) AS amount
               FROM services_subtotal GROUP BY service_id) paid ON paid.service_id = service.id
"""
PLANS = """
SELECT plan.id, plan.plan_type, plan.discount_percent,
       coalesce(paid.subscriptions, 0)::bigint AS count, coalesce(paid.amount, 0) AS total_amount
  FROM (SELECT plan.* FROM services_plan plan WHERE {where}
         ORDER BY {order} LIMIT %s) plan
  LEFT JOIN (SELECT plan_id, sum(subscriptions) AS subscriptions, sum(amount) AS amount
               FROM services_subtotal GROUP BY plan_id) paid ON paid.plan_id = plan.id
"""
PAGES = {"client": CLIENTS, "service": SERVICES, "plan": PLANS}

# Which filters each list takes; they mean the same in the list of subscriptions.
FILTERS = {"client": ("q", "email"), "service": ("q",), "plan": ("plan_type",)}
OF_EMAIL = """
SELECT client.id FROM clients_client client JOIN auth_user login ON login.id = client.user_id
 WHERE upper(login.email::text) = upper(%s)
"""
OF_PLAN_TYPE = "SELECT id FROM services_plan WHERE plan_type = %s"


class TooManyFound(Exception):
    """More than `SEARCH_NAMES`."""


@dataclass(frozen=True)
class Page:
    result: list[Row]
    next: Cursor | None
    previous: Cursor | None
    version: str | None  # of the book that it shows; None if no other reader will ever see it


def page(
    kind: str,
    given: Mapping[str, str],
    cursor: Cursor | None,
    size: int,
    seen: Seen | None = None,
) -> Page:
    """Up to `size` clients, services or plans by their ids, with what each of them pays.

    `given`: values of the filters of the kind. One query. Unchanged where the caller has `seen`
    this very book; TooManyFound where a search leads to more names than it may compare.
    """
    backward = cursor is not None and cursor.backward
    rows, version = _read(statement(kind, given, cursor, size, seen))
    more = len(rows) > size
    rows = rows[-size:] if backward else rows[:size]
    before, after = (more, True) if backward else (cursor is not None, more)
    if rows:
        first, last = rows[0]["id"], rows[-1]["id"]
    else:  # beyond an end: what was there when the link was made is gone
        place = cursor.id if cursor else 0
        first, last = min(place + 1, MAX_BIGINT), max(place - 1, 0)
    return Page(
        rows,
        Cursor(last) if after else None,
        Cursor(first, backward=True) if before else None,
        version,
    )


def one(kind: str, id: int, seen: Seen | None = None) -> tuple[Row | None, str | None]:
    """One of them, as `page` has it, and the version of the book. One query."""
    rows, version = _read(statement(kind, {}, Cursor(id - 1), 0, seen))
    return (rows[0] if rows and rows[0]["id"] == id else None), version


def statement(
    kind: str,
    given: Mapping[str, str],
    cursor: Cursor | None,
    size: int,
    seen: Seen | None = None,
) -> SQL:
    """The SQL of a page, one row longer than `size`."""
    cursor = cursor or Cursor(-1)
    beyond, way = ("<", "DESC") if cursor.backward else (">", "ASC")
    book, book_params = book_as_seen(seen)
    found, found_params = _found(kind, given)
    among = AMONG_FOUND.format(kind=kind) if given else ""
    where = f"(SELECT NOT seen FROM book) AND {kind}.id {beyond} %s {among}"  # noqa: S608 - ours
    page = PAGES[kind].format(where=where, order=f"{kind}.id {way}")
    return (
        STATEMENT.format(book=book, found=found, page=page),
        (*book_params, *found_params, SEARCH_NAMES + 1, cursor.id, size + 1),
    )


def _found(kind: str, given: Mapping[str, str]) -> SQL:
    """The SQL of the ids for which every value holds."""
    parts: list[SQL] = []
    for name, value in given.items():
        if name == "q":
            ids, words = names_like(value)[f"{kind}_id"]
            parts.append((ids, tuple(words)))
        else:
            parts.append((OF_EMAIL if name == "email" else OF_PLAN_TYPE, (value,)))
    if not parts:
        return EVERYBODY, ()
    return " INTERSECT ".join(f"({sql})" for sql, _ in parts), tuple(
        value for _, params in parts for value in params
    )


def _read(sql: SQL) -> tuple[list[Row], str | None]:
    rows = _fetch(*sql)
    version = version_of(*(rows[0].pop(name) for name in ("version", "uncommitted", "seen")))
    if rows[0]["found"] > SEARCH_NAMES:
        raise TooManyFound
    for row in rows:
        for name in ("version", "uncommitted", "seen", "found"):
            row.pop(name, None)
    return [row for row in rows if row["id"] is not None], version


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
  FROM ({matching}) subscription (service_id, plan_id, price)
 WHERE (SELECT NOT seen FROM book)
 GROUP BY service_id, plan_id
"""
TOTALS = """
WITH book AS MATERIALIZED ({book})
SELECT book.*, groups.*
  FROM book
  LEFT JOIN ({groups}) groups ON true
{order}
"""
GROUPED = """
SELECT {columns}sum(subscriptions)::bigint AS count, sum(amount) AS total_amount
  FROM (SELECT pair.*, service.name AS service_name, plan.plan_type, plan.discount_percent
          FROM ({pairs}) pair
          JOIN services_service service ON service.id = pair.service_id
          JOIN services_plan plan ON plan.id = pair.plan_id
         WHERE pair.subscriptions <> 0 AND (SELECT NOT seen FROM book)) paid
 {grouped}
 LIMIT %s
"""


class TooManyGroups(Exception):
    """More than `MOST_GROUPS`."""


def totals(
    book_filter: BookFilter, by: list[str], seen: Seen | None = None
) -> tuple[list[Row], Total, str | None]:
    """What all that match pay by service, plan, plan type (`by`, in this order), and together.

    And the version of the book, if it alone tells what this is. One query, hence one snapshot;
    groups without a subscription are left out. A filter by anything but service, plan and plan
    type reads the rows that match. Unchanged where the caller has `seen` this very book.
    """
    seen = seen if book_filter.timeless else None
    rows = _fetch(*totals_statement(book_filter, by, seen))
    version = version_of(*[rows[0][name] for name in ("version", "uncommitted", "seen")])
    if len(rows) > MOST_GROUPS:
        raise TooManyGroups
    for row in rows:
        for name in ("version", "uncommitted", "seen"):
            del row[name]
    rows = [row for row in rows if row["count"]]
    together = Total(
        sum((row["total_amount"] for row in rows), Decimal(0)), sum(row["count"] for row in rows)
    )
    return rows, together, version if book_filter.timeless else None


def totals_statement(book_filter: BookFilter, by: list[str], seen: Seen | None = None) -> SQL:
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
    groups = GROUPED.format(
        columns=f"{named}, " if columns else "",
        pairs=pairs,
        grouped=f"GROUP BY {named} ORDER BY {named}" if columns else "",
    )
    book, book_params = book_as_seen(seen)
    order = f"ORDER BY {named}" if columns else ""
    sql = TOTALS.format(book=book, groups=groups, order=order)
    return sql, (*book_params, *params, MOST_GROUPS + 1)


def _fetch(sql: str, params: tuple[Any, ...]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
