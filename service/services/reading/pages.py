"""A page of the book: rows, total, number and version from one statement, hence one snapshot.

    the book's version and total ──────┐
                                       ├─ LEFT JOIN ON true: an empty page has a total too
    one page of subscription ids ──────┘
        → joined with client, login, service and plan by primary key

The LIMIT comes before the joins: a page costs the same at 300 rows and at ten million, and it
avoids the Memoize nodes, sized for every client, that the planner puts into the plain join.
`access_paths` decides how a page is read, and which pages are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection

from pricebook.kit.prepared import prepared_cursor
from services.hooks import price_changes
from services.reading import total
from services.reading.access_paths import AccessPath, NotServed, access_path
from services.reading.copies import IS_LATE, expected, from_copies
from services.reading.filters import BookFilter
from services.reading.limits import within_limits
from services.reading.ordering import (
    BY_ID,
    COLUMN,
    Cursor,
    Ordering,
    key_of_subscriptions,
    order_by,
    paged,
)
from services.reading.row import JOINED, OF_SUBSCRIPTION, BookRow
from services.reading.total import Book, Known, Total
from services.reading.version import Seen, Unchanged, is_seen
from services.reading.walks import rows_along
from services.sql import SQL


@dataclass(frozen=True)
class Page:
    result: list[dict[str, Any]]
    total: Total
    paid: Total  # the part paid by those that have begun and have not ended
    next: Cursor | None
    previous: Cursor | None
    # The version of the book that it shows; None if no other reader will ever see that.
    version: str | None
    waits: bool = False  # a change of a set has come, and not all of its rows are moved


# MATERIALIZED: while the catalogue has no statistics yet, the planner may put the page inside a
# loop over the services, and would read it once for each.
STATEMENT = """
WITH asked AS MATERIALIZED (
         SELECT limited.*, waits, NOT waits AND {seen} AS seen, {late} AS late
           FROM ({limits}) limited, (SELECT {waits} AS waits) waiting
     ),
     subscription ({columns}) AS MATERIALIZED (
         SELECT * FROM ({subscriptions}) read_on WHERE {reads}
     )
SELECT asked.allowed, asked.late, asked.waits, asked.seen,
       book.version, book.uncommitted, book.amount, book.subscriptions,
       book.paid_amount, book.paid_subscriptions, page.*
  FROM asked
 CROSS JOIN ({book}) book
  LEFT JOIN (
    SELECT subscription.*, {joined}
      FROM subscription
      JOIN clients_client client ON client.id = subscription.client_id
      JOIN auth_user login ON login.id = client.user_id
      JOIN service_in_force service ON service.id = subscription.service_id
      JOIN plan_in_force plan ON plan.id = subscription.plan_id
  ) page ON true
 ORDER BY {order}
"""
READS = "(SELECT allowed AND NOT seen AND {copies_will_do} FROM asked)"


def page(
    book_filter: BookFilter,
    cursor: Cursor | None,
    size: int,
    ordering: Ordering = BY_ID,
    seen: Seen | None = None,
) -> Page:
    """Up to `size` subscriptions that match, in their order, and the figures of all that match.

    One query; a second one when a copy has become late. NotServed for a combination of filter and
    ordering that would read too much. Unchanged, which has no rows and no total, where the caller
    has `seen` this very book; but never while a set whose instant has passed waits to be moved,
    because nothing is written yet.
    """
    path = access_path(book_filter, ordering)
    known = total.NOTHING_KNOWN if book_filter.by_catalogue else total.cached(book_filter)
    with prepared_cursor() if path.planned_once else connection.cursor() as db:
        for copies in expected.ways():
            db.execute(*statement(path, cursor, size, known, seen, copies))
            rows = db.fetchall()
            allowed, expected.late, waits, unchanged = rows[0][:4]
            if not allowed:
                raise NotServed(path)
            if unchanged or not expected.late:
                break
    book = Book(*rows[0][4:10])
    if unchanged:
        raise Unchanged(book.version)
    figures = book.figures if book_filter.by_catalogue else total.settle(book, book_filter, known)
    found = [BookRow(*row[10:]).for_api() for row in rows if row[10] is not None]
    key = key_of_subscriptions(book_filter, ordering)
    result, following, previous = paged(found, cursor, size, ordering, key)
    # No version of the book distinguishes answers that the clock changes, too.
    told_apart = book.cacheable and book_filter.timeless and not waits
    version = book.version if told_apart else None
    return Page(result, figures.total, figures.paid, following, previous, version, waits)


def statement(
    path: AccessPath,
    cursor: Cursor | None,
    size: int,
    known: Known = total.NOTHING_KNOWN,
    seen: Seen | None = None,
    copies: bool = True,
) -> SQL:
    """The SQL of a page, one row longer than `size`.

    With `copies` it reads the tables in place of what is in force, and no rows if one is `late`.
    """
    book_filter, ordering = path.book_filter, path.ordering
    limits, limits_params = within_limits(path)
    rows, rows_params = rows_along(path, cursor, size + 1)
    reads = READS.format(copies_will_do="NOT late" if copies else "true")
    if book_filter.by_catalogue:
        book, book_params = total.from_subtotals(book_filter)
    else:
        book, book_params = total.summed(book_filter, known, reads)
    seen_sql, seen_params = is_seen(seen if book_filter.timeless else None)
    order = [f"page.{name}" for name in ([] if ordering.by_id else [COLUMN[ordering.name]])]
    sql = STATEMENT.format(
        limits=limits,
        seen=seen_sql,
        waits=price_changes().a_set_waits(),
        late=IS_LATE,
        reads=reads,
        columns=", ".join(OF_SUBSCRIPTION),
        joined=", ".join(JOINED.values()),
        subscriptions=rows,
        book=book,
        order=order_by([*order, "page.id"], ordering.descending),
    )
    params = (*seen_params, *limits_params, *rows_params, *book_params)
    return from_copies(sql) if copies else sql, params
