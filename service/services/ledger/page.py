"""A page of the book as it was at an instant: what was paid then, and the total.

With a point before the instant, the total is computed from it, and no more rows are read than the
page has. Without one, for a client, and by what was known at an instant, all rows are read and
added up.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection

from pricebook.kit.read_timeout import long_read
from services.ledger.entries import REASON_NOW
from services.ledger.point_in_time import as_of
from services.ledger.total_then import THERE, Nearest, nearest, total_from
from services.reading.filters import BookFilter
from services.reading.ordering import BY_ID, Cursor, key_of_subscriptions, paged
from services.reading.pages import Page
from services.reading.row import JOINED, BookRow
from services.reading.total import EVERYTHING, NOTHING, Total
from services.reading.version import Seen, book_as_seen, version_of
from services.sql import SQL

BY_ROWS = """
WITH book AS MATERIALIZED ({book}), entry AS MATERIALIZED (
    SELECT entry.*
      FROM ({entries}) entry
      {there}
     WHERE (SELECT NOT seen FROM book)
), page AS MATERIALIZED (
    SELECT * FROM entry WHERE subscription_id {beyond} %s
     ORDER BY subscription_id {way} LIMIT %s
), total AS (
    SELECT coalesce(sum(price), 0) AS amount, count(*) AS subscriptions, true AS holds FROM entry
)
"""
BY_POINT = """
WITH book AS MATERIALIZED ({book}), page AS MATERIALIZED (
    SELECT entry.*
      FROM ({entries}) entry
      {there}
     WHERE (SELECT NOT seen FROM book)
     ORDER BY subscription_id {way} LIMIT %s
), total AS (
    SELECT * FROM ({total}) total WHERE (SELECT NOT seen FROM book)
)
"""
# The subscriptions that can have been there: those that are there now, and those that have changed
# their service or plan since, or were deleted. Each part is in order, so that no more are read than
# the page has.
CANDIDATES = """
(SELECT id FROM services_subscription WHERE id {beyond} %s {of_now} ORDER BY id {way})
 UNION ALL
(SELECT id
   FROM (SELECT DISTINCT subscription_id AS id FROM services_ledgerentry
          WHERE effective_at > %s AND subscription_id {beyond} %s AND {changed}) since
  WHERE NOT EXISTS (SELECT FROM services_subscription one WHERE one.id = since.id {of_now})
  ORDER BY id {way})
"""
GONE = "price IS NULL"
MOVED_OR_GONE = "(price_state <> 'follows' OR change_id IS NULL)"
# The names of service and client, the comment and the dates are today's. A subscription that was
# deleted since has the period of its last entry, and ended with that entry at the latest; if the
# entry is older than the period in entries, it began with its first entry.
PAGE = """
SELECT book.*, total.*, page.subscription_id, page.client_id, page.service_id, page.plan_id,
       page.price, page.price_state, page.locked_until,
       {told}
  FROM book
  LEFT JOIN total ON true
  LEFT JOIN (page
       {joined}
       LEFT JOIN services_subscription subscription ON subscription.id = page.subscription_id)
    ON true
 ORDER BY page.subscription_id
"""
BY_ALL = {
    "there": THERE,
    "told": f"""CASE WHEN page.entry_id IS NULL
            THEN kept_reason(kept_entry(
                 page.subscription_id,
                 least(%s, subscription.ended_at - interval '1 microsecond')))
            WHEN ends.said_id = page.entry_id THEN coalesce({REASON_NOW}, '')
            ELSE '' END,
       coalesce(subscription.comment, ''), coalesce(subscription.source, last.source),
       coalesce(subscription.external_id, last.external_id),
       coalesce(subscription.started_at, last.started_at,
                (SELECT effective_at FROM services_ledgerentry WHERE id = ends.first_id)),
       CASE WHEN subscription.id IS NULL
            THEN least(last.ended_at, last.effective_at)
            ELSE subscription.ended_at END,
       {", ".join(JOINED.values())}""",  # noqa: S608 - constants
    "joined": """JOIN LATERAL (SELECT min(id) AS first_id, max(id) AS last_id,
                            max(id) FILTER (WHERE NOT period_only) AS said_id
                       FROM services_ledgerentry
                      WHERE subscription_id = page.subscription_id) ends ON true
       JOIN services_ledgerentry last ON last.id = ends.last_id
       JOIN clients_client client ON client.id = page.client_id
       JOIN auth_user login ON login.id = client.user_id
       JOIN service_in_force service ON service.id = page.service_id
       JOIN plan_in_force plan ON plan.id = page.plan_id""",
}
# An answer by what was known then does not change any more, except for what has no history: names,
# comment and source are today's, and empty where they were deleted. Only a subscription that a
# change has kept has a reason. List price and discount are those of the instant `known_at`.
BY_KNOWN = {
    "there": "",
    "told": """coalesce(kept_reason(kept_entry(
           page.subscription_id,
           least(moment.at, period.ended_at - interval '1 microsecond'), moment.known)), ''),
       coalesce(subscription.comment, ''), coalesce(subscription.source, last.source),
       coalesce(subscription.external_id, last.external_id),
       coalesce(period.started_at,
                (SELECT effective_at FROM services_ledgerentry WHERE id = ends.first_id)),
       CASE WHEN newest.price IS NULL THEN least(period.ended_at, newest.effective_at)
            ELSE period.ended_at END,
       coalesce(client.company_name, ''), coalesce(login.email, ''), coalesce(service.name, ''),
       list_price_at(page.service_id, moment.known, moment.known),
       coalesce(plan.plan_type, ''), discount_at(page.plan_id, moment.known, moment.known)""",
    "joined": """CROSS JOIN (SELECT %s::timestamptz AS at, %s::timestamptz AS known) moment
       JOIN LATERAL (SELECT min(id) AS first_id, max(id) AS last_id,
                            max(id) FILTER (WHERE recorded_at <= moment.known) AS newest_id
                       FROM services_ledgerentry
                      WHERE subscription_id = page.subscription_id) ends ON true
       JOIN services_ledgerentry last ON last.id = ends.last_id
       JOIN services_ledgerentry newest ON newest.id = ends.newest_id
       LEFT JOIN LATERAL period_known(page.subscription_id, moment.known) period ON true
       LEFT JOIN clients_client client ON client.id = page.client_id
       LEFT JOIN auth_user login ON login.id = client.user_id
       LEFT JOIN services_service service ON service.id = page.service_id
       LEFT JOIN services_plan plan ON plan.id = page.plan_id""",
}


def page_as_of(
    instant: datetime,
    book_filter: BookFilter,
    cursor: Cursor | None,
    size: int,
    seen: Seen | None = None,
    known_at: datetime | None = None,
) -> Page:
    """Up to `size` subscriptions that matched at `instant`, with what they paid then, and a total.

    Rows have the shape of those of `page()`. Deleted subscriptions are included, with an empty
    comment, unless their client, service or plan was deleted too; with `known_at` all are included,
    and names of what was deleted are empty. Up to three queries. Unchanged where the caller has
    `seen` this very book: a late write changes its version.
    """
    asked = (instant, book_filter, None, cursor, size, seen, known_at)
    with long_read():
        point = nearest(instant, book_filter) if known_at is None else None
        found = None if point is None else _read_as_of(*statement_as_of(*asked, point=point))
        found = found or _read_as_of(*statement_as_of(*asked))
    assert found is not None  # without a point nothing has to hold
    version, amount, rows = found
    key = key_of_subscriptions(book_filter, BY_ID, instant, known_at)
    result, following, previous = paged(rows, cursor, size, BY_ID, key)
    paid = amount if book_filter.state in (None, "active") else NOTHING
    return Page(result, amount, paid, following, previous, version)


def one_as_of(
    instant: datetime,
    subscription_id: int,
    seen: Seen | None = None,
    known_at: datetime | None = None,
) -> tuple[dict[str, Any] | None, str | None]:
    """A subscription as `page_as_of` shows it (None if it was not there then), and the version.

    One query. Unchanged in the same case.
    """
    asked = (instant, EVERYTHING, subscription_id, None, 1, seen, known_at)
    with long_read():
        found = _read_as_of(*statement_as_of(*asked))
    assert found is not None
    version, _, rows = found
    return rows[0] if rows else None, version


Found = tuple[str | None, Total, list[dict[str, Any]]]


def _read_as_of(sql: str, params: tuple[Any, ...]) -> Found | None:
    """Run the statement; None if its point did not hold any more when it was read."""
    with connection.cursor() as db:
        db.execute(sql, params)
        rows = db.fetchall()
    version = version_of(*rows[0][:3])
    amount, subscriptions, holds = rows[0][3:6]
    if not holds:
        return None
    found = [BookRow(*row[6:]).for_api() for row in rows if row[6] is not None]
    return version, Total(amount, subscriptions), found


def statement_as_of(
    instant: datetime,
    book_filter: BookFilter,
    subscription_id: int | None,
    cursor: Cursor | None,
    size: int,
    seen: Seen | None = None,
    known_at: datetime | None = None,
    *,
    point: Nearest | None = None,
) -> SQL:
    """The SQL of a page of what `ledger.as_of` finds, one row longer than `size`."""
    cursor = cursor or Cursor(-1)
    beyond, way = ("<", "DESC") if cursor.backward else (">", "ASC")
    parts, known = (BY_ALL, ()) if known_at is None else (BY_KNOWN, (known_at,))
    book_sql, book_params = book_as_seen(seen)
    shape = {"book": book_sql, "beyond": beyond, "way": way, **parts}
    if point is None:
        entries, params = as_of(instant, book_filter, subscription_id, known_at)
        sql = BY_ROWS.format(entries=entries, **shape)
        params = (*book_params, *params, cursor.id, size + 1)
    else:
        now = [f"AND {name}_id = %s" for name in ("service", "plan") if name in book_filter.given]
        of_now = tuple(id for name, id in book_filter.given.items() if name != "state")
        candidates = CANDIDATES.format(
            of_now=" ".join(now), changed=MOVED_OR_GONE if now else GONE, **shape
        )
        beyond_it = (cursor.id, *of_now, instant, cursor.id, *of_now)
        entries, params = as_of(instant, book_filter, candidates=(candidates, beyond_it))
        total, of_total = total_from(point, instant, book_filter)
        sql = BY_POINT.format(entries=entries, total=total, **shape)
        params = (*book_params, *params, size + 1, *of_total)
    return sql + PAGE.format(**shape), (*params, instant, *known)
