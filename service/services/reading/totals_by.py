"""The totals paid by all that match a filter: by service, plan or plan type, and of all.

Only subscriptions that have begun, and have not ended, pay: others are in no figure here. It is one
statement. For filters by service and plan it adds up the subtotals; for others it reads the rows
that match, within the limits of their list.
"""

from __future__ import annotations

from decimal import Decimal

from services.reading.access_paths import AccessPath, NotServed, access_path
from services.reading.breakdown import Row, named_row, rows_and_columns
from services.reading.filters import BookFilter
from services.reading.limits import within_limits
from services.reading.total import PAYS, Total, of_subtotals
from services.reading.version import Seen, book_as_seen, version_of
from services.sql import SQL

GROUPS = {
    "service": ("service_id", "service_name"),
    "plan": ("plan_id", "plan_type", "discount_percent"),
    "plan_type": ("plan_type",),
}
MOST_GROUPS = 10_000
KEPT_PAIRS = """
SELECT service_id, plan_id, sum(paid_subscriptions) AS subscriptions, sum(paid_amount) AS amount
  FROM subtotal_in_force WHERE service_id IS NOT NULL AND {where} GROUP BY service_id, plan_id
"""
SUMMED_PAIRS = """
SELECT service_id, plan_id, count(*) AS subscriptions, sum(price) AS amount
  FROM ({matching}) subscription (service_id, plan_id, price, started_at, ended_at)
 WHERE (SELECT NOT seen FROM book) AND (SELECT allowed FROM asked) AND {pays}
 GROUP BY service_id, plan_id
"""
TOTALS = """
WITH book AS MATERIALIZED ({book}),
     moment AS MATERIALIZED (SELECT book_clock() AS at),
     asked AS MATERIALIZED (SELECT seen OR ({allowed}) AS allowed FROM book)
SELECT book.*, asked.allowed, groups.*
  FROM book
 CROSS JOIN asked
  LEFT JOIN ({groups}) groups ON true
{order}
"""
GROUPED = """
SELECT {columns}sum(subscriptions)::bigint AS count, sum(amount) AS total_amount
  FROM (SELECT pair.*, service.name AS service_name, plan.plan_type, plan.discount_percent
          FROM ({pairs}) pair
          JOIN service_in_force service ON service.id = pair.service_id
          JOIN plan_in_force plan ON plan.id = pair.plan_id
         WHERE pair.subscriptions <> 0 AND (SELECT NOT seen FROM book)) paid
 {grouped}
 LIMIT %s
"""


class TooManyGroups(Exception):
    """There are more than `MOST_GROUPS` groups."""


def totals(
    book_filter: BookFilter, by: list[str], seen: Seen | None = None
) -> tuple[list[Row], Total, str | None]:
    """Totals paid by all that match: by service, plan, plan type (`by`, in this order), and of all.

    Also the version of the book, if the answer depends on nothing else. One query, hence one
    snapshot; groups in which nobody pays are left out. A filter by anything but service, plan and
    plan type reads the rows that match. Unchanged where the caller has `seen` this very book;
    NotServed if their list, in the order of ids, is not served either.
    """
    seen = seen if book_filter.timeless else None
    path = access_path(book_filter)
    rows, names = rows_and_columns(*totals_statement(path, by, seen))
    version = version_of(*rows[0][:3])
    if not rows[0][3]:
        raise NotServed(path)
    if len(rows) > MOST_GROUPS:
        raise TooManyGroups
    groups = [named_row(names[4:], row[4:]) for row in rows]
    groups = [group for group in groups if group["count"]]
    together = Total(
        sum((group["total_amount"] for group in groups), Decimal(0)),
        sum(group["count"] for group in groups),
    )
    return groups, together, version if book_filter.timeless else None


def totals_statement(path: AccessPath, by: list[str], seen: Seen | None = None) -> SQL:
    """The SQL of a row for each group, with the book and whether it may be read at all."""
    book_filter = path.book_filter
    if book_filter.by_catalogue:
        where, params = of_subtotals(book_filter)
        pairs = KEPT_PAIRS.format(where=where)
    else:
        matching = book_filter.subscriptions().order_by()
        matching_sql, params = matching.values_list(
            "service_id", "plan_id", "price", "started_at", "ended_at"
        ).query.sql_with_params()
        pairs = SUMMED_PAIRS.format(
            matching=matching_sql, pays=PAYS.format(at="(SELECT at FROM moment)")
        )
    columns = list(dict.fromkeys(column for name in by for column in GROUPS[name]))
    named = ", ".join(columns)
    groups = GROUPED.format(
        columns=f"{named}, " if columns else "",
        pairs=pairs,
        grouped=f"GROUP BY {named} ORDER BY {named}" if columns else "",
    )
    book, book_params = book_as_seen(seen)
    allowed, allowed_params = within_limits(path)
    order = f"ORDER BY {named}" if columns else ""
    sql = TOTALS.format(book=book, allowed=allowed, groups=groups, order=order)
    return sql, (*book_params, *allowed_params, *params, MOST_GROUPS + 1)
