"""A page of the book as it was at an instant: what was paid then, and the total of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection

from pricebook.kit.read_timeout import long_read
from services.ledger.point_in_time import as_of
from services.reading.filters import BookFilter
from services.reading.ordering import BY_ID, Cursor, marked, paged
from services.reading.pages import Page, row_of_api
from services.reading.total import NOTHING, Total
from services.reading.version import Seen, book_as_seen, version_of
from services.sql import SQL

# The name of what is sold and of who pays it, its comment and its dates are those of today. One
# that was deleted since has the period of its last entry, and ended with it at the latest; of
# the time before entries had one it began with its first. Joined before the
# total, so that it stays the sum of the rows: what is gone from the catalogue has no row.
AS_OF = """
WITH book AS MATERIALIZED ({book}), entry AS MATERIALIZED (
    SELECT entry.*
      FROM ({entries}) entry
      JOIN clients_client client ON client.id = entry.client_id
      JOIN service_in_force service ON service.id = entry.service_id
      JOIN plan_in_force plan ON plan.id = entry.plan_id
     WHERE (SELECT NOT seen FROM book)
), page AS MATERIALIZED (
    SELECT * FROM entry WHERE subscription_id {beyond} %s
     ORDER BY subscription_id {way} LIMIT %s
)
SELECT book.*, total.*, page.subscription_id, page.client_id, page.service_id, page.plan_id,
       page.price, page.price_state, page.locked_until,
       CASE WHEN ends.said_id = page.entry_id THEN coalesce(subscription.price_reason, '')
            ELSE '' END,
       coalesce(subscription.comment, ''), coalesce(subscription.source, last.source),
       coalesce(subscription.external_id, last.external_id),
       coalesce(subscription.started_at, last.started_at,
                (SELECT effective_at FROM services_ledgerentry WHERE id = ends.first_id)),
       CASE WHEN subscription.id IS NULL
            THEN least(last.ended_at, last.effective_at)
            ELSE subscription.ended_at END,
       client.company_name, login.email, service.name, service.full_price,
       plan.plan_type, plan.discount_percent
  FROM book
 CROSS JOIN (SELECT coalesce(sum(price), 0) AS amount, count(*) AS subscriptions FROM entry) total
  LEFT JOIN (page
       JOIN LATERAL (SELECT min(id) AS first_id, max(id) AS last_id,
                            max(id) FILTER (WHERE NOT period_only) AS said_id
                       FROM services_ledgerentry
                      WHERE subscription_id = page.subscription_id) ends ON true
       JOIN services_ledgerentry last ON last.id = ends.last_id
       JOIN clients_client client ON client.id = page.client_id
       JOIN auth_user login ON login.id = client.user_id
       JOIN service_in_force service ON service.id = page.service_id
       JOIN plan_in_force plan ON plan.id = page.plan_id
       LEFT JOIN services_subscription subscription ON subscription.id = page.subscription_id)
    ON true
 ORDER BY page.subscription_id
"""


def page_as_of(
    instant: datetime,
    book_filter: BookFilter,
    cursor: Cursor | None,
    size: int,
    seen: Seen | None = None,
) -> Page:
    """Up to `size` subscriptions that matched at `instant`, with what they paid then, and a total.

    Rows have the shape of `page()`'s. Deleted ones are there, with the comment empty, unless their
    client, service or plan is gone too. One query, which reads what `ledger.as_of` reads.
    Unchanged where the caller has `seen` this very book: what is written late moves its version.
    """
    entries = as_of(instant, book_filter)
    version, amount, rows = _read_as_of(entries, cursor, size, seen)
    mark = marked(book_filter, BY_ID, instant)
    result, following, previous = paged(rows, cursor, size, BY_ID, mark)
    paid = amount if book_filter.state in (None, "active") else NOTHING
    return Page(result, amount, paid, following, previous, version)


def one_as_of(
    instant: datetime, subscription_id: int, seen: Seen | None = None
) -> tuple[dict[str, Any] | None, str | None]:
    """One subscription as `page_as_of` has it (None if it was not there then), and the version.

    One query. Unchanged as there.
    """
    entries = as_of(instant, subscription_id=subscription_id)
    version, _, rows = _read_as_of(entries, None, 1, seen)
    return rows[0] if rows else None, version


def _read_as_of(
    entries: SQL, cursor: Cursor | None, size: int, seen: Seen | None
) -> tuple[str | None, Total, list[dict[str, Any]]]:
    sql, params = statement_as_of(entries, cursor, size, seen)
    with long_read(), connection.cursor() as db:
        db.execute(sql, params)
        rows = db.fetchall()
    version = version_of(*rows[0][:3])
    found = [row_of_api(*row[5:]) for row in rows if row[5] is not None]
    return version, Total(*rows[0][3:5]), found


def statement_as_of(
    entries: SQL, cursor: Cursor | None, size: int, seen: Seen | None = None
) -> SQL:
    """The SQL of a page of `entries`, one row longer than `size`."""
    entries_sql, params = entries
    book_sql, book_params = book_as_seen(seen)
    cursor = cursor or Cursor(-1)
    beyond, way = ("<", "DESC") if cursor.backward else (">", "ASC")
    sql = AS_OF.format(book=book_sql, entries=entries_sql, beyond=beyond, way=way)
    return sql, (*book_params, *params, cursor.id, size + 1)
