"""A page of the book: rows, total, number and version from one statement, hence one snapshot.

    the book's version and kept total ─┐
                                       ├─ LEFT JOIN ON true: an empty page has a total too
    one page of subscription ids ──────┘
        → joined with client, login, service and plan by primary key

The LIMIT comes before the joins: a page costs the same at 300 rows and at ten million, and the
planner is spared the Memoize nodes, sized for every client, that it puts into the plain join.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Self

from django.db import connection
from django.db.models import F
from django.db.models.fields.tuple_lookups import (  # type: ignore[import-untyped]
    Tuple,
    TupleGreaterThan,
    TupleGreaterThanOrEqual,
    TupleLessThan,
    TupleLessThanOrEqual,
)

from services import ledger, total
from services.filters import BookFilter
from services.models import Subscription
from services.querysets import SubscriptionQuerySet
from services.total import Book, Total
from services.values import MAX_BIGINT


@dataclass(frozen=True)
class Cursor:
    """A place beside a row, and the way to read on from there.

    Written as 16 characters that need no quoting in a URL: way and id (9 bytes) and a check
    (3 bytes), so that what is not a cursor of ours is known for it. It is no secret.
    """

    id: int
    backward: bool = False

    def __str__(self) -> str:
        place = struct.pack(">?q", self.backward, self.id)
        return base64.urlsafe_b64encode(place + self._check(place)).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what no page has given out."""
        if len(text) != 16 or not text.isascii():
            raise ValueError("a cursor has 16 characters")
        content = base64.b64decode(text, altchars=b"-_", validate=True)
        place, check = content[:9], content[9:]
        if check != cls._check(place):
            raise ValueError("the check does not fit")
        backward, id = struct.unpack(">?q", place)
        return cls(id, backward)

    @staticmethod
    def _check(place: bytes) -> bytes:
        return blake2b(place, digest_size=3, person=b"cursor").digest()


@dataclass(frozen=True)
class Page:
    result: list[dict[str, Any]]
    total: Total
    next: Cursor | None
    previous: Cursor | None


COLUMNS = (
    "id",
    "client_id",
    "service_id",
    "plan_id",
    "price",
    "price_state",
    "locked_until",
    "price_reason",
    "comment",
    "source",
    "external_id",
    "started_at",
    "ended_at",
)

# MATERIALIZED: while the catalogue has no statistics yet, the planner may put the page inside a
# loop over the services, and would read it as often as there are any.
STATEMENT = """
WITH subscription ({columns}) AS MATERIALIZED ({subscriptions})
SELECT book.version, book.uncommitted, book.amount, book.subscriptions, page.*
  FROM ({book}) book
  LEFT JOIN (
    SELECT subscription.*, client.company_name, login.email, service.name, service.full_price,
           plan.plan_type, plan.discount_percent
      FROM subscription
      JOIN clients_client client ON client.id = subscription.client_id
      JOIN auth_user login ON login.id = client.user_id
      JOIN services_service service ON service.id = subscription.service_id
      JOIN services_plan plan ON plan.id = subscription.plan_id
  ) page ON true
 ORDER BY page.id
"""


def page(book_filter: BookFilter, cursor: Cursor | None, size: int) -> Page:
    """Up to `size` subscriptions that match, in the order of their ids.

    One query; two where the total is neither kept for this filter, nor on the page itself, nor
    in the cache. Rows and total are of the same book in each case.
    """
    book, rows = _read(*statement(book_filter, cursor, size, total.kept(book_filter)))
    amount = book.total or _on_page(rows, cursor, size) or total.cached(book, book_filter)
    if amount is None:
        # Rows again, too: the book may have moved on since the first statement.
        book, rows = _read(*statement(book_filter, cursor, size, total.summed(book_filter)))
        amount = total.remember(book, book_filter)

    return _page(rows, amount, cursor, size)


def _page(rows: list[dict[str, Any]], amount: Total, cursor: Cursor | None, size: int) -> Page:
    """Of the rows that were read, one more than asked for if there is a page behind this one."""
    backward = cursor is not None and cursor.backward
    more = len(rows) > size
    if backward:
        rows = rows[-size:]
        before, after = more, True
    else:
        rows = rows[:size]
        before, after = cursor is not None, more
    if rows:
        first, last = rows[0]["id"], rows[-1]["id"]
    else:  # beyond an end of the book: what was there when the link was made is gone
        first = min(cursor.id + 1, MAX_BIGINT) if cursor else 0
        last = max(cursor.id - 1, 0) if cursor else 0
    return Page(
        rows,
        amount,
        next=Cursor(last) if after else None,
        previous=Cursor(first, backward=True) if before else None,
    )


# The name of what is sold and of who pays it, its comment and its dates are those of today. One
# that was deleted since began with its first entry and ended with its last. Joined before the
# total, so that it stays the sum of the rows: what is gone from the catalogue has no row.
AS_OF = """
WITH entry AS MATERIALIZED (
    SELECT entry.*
      FROM ({entries}) entry
      JOIN clients_client client ON client.id = entry.client_id
      JOIN services_service service ON service.id = entry.service_id
      JOIN services_plan plan ON plan.id = entry.plan_id
), page AS MATERIALIZED (
    SELECT * FROM entry WHERE subscription_id {beyond} %s
     ORDER BY subscription_id {way} LIMIT %s
)
SELECT total.*, page.subscription_id, page.client_id, page.service_id, page.plan_id, page.price,
       page.price_state, page.locked_until,
       CASE WHEN ends.last_id = page.entry_id THEN coalesce(subscription.price_reason, '')
            ELSE '' END,
       coalesce(subscription.comment, ''), subscription.source, subscription.external_id,
       coalesce(subscription.started_at,
                (SELECT effective_at FROM services_ledgerentry WHERE id = ends.first_id)),
       CASE WHEN subscription.id IS NULL
            THEN (SELECT effective_at FROM services_ledgerentry WHERE id = ends.last_id)
            ELSE subscription.ended_at END,
       client.company_name, login.email, service.name, service.full_price,
       plan.plan_type, plan.discount_percent
  FROM (SELECT coalesce(sum(price), 0) AS amount, count(*) AS subscriptions FROM entry) total
  LEFT JOIN (page
       JOIN LATERAL (SELECT min(id) AS first_id, max(id) AS last_id FROM services_ledgerentry
                      WHERE subscription_id = page.subscription_id) ends ON true
       JOIN clients_client client ON client.id = page.client_id
       JOIN auth_user login ON login.id = client.user_id
       JOIN services_service service ON service.id = page.service_id
       JOIN services_plan plan ON plan.id = page.plan_id
       LEFT JOIN services_subscription subscription ON subscription.id = page.subscription_id)
    ON true
 ORDER BY page.subscription_id
"""


def page_as_of(
    instant: datetime, book_filter: BookFilter, cursor: Cursor | None, size: int
) -> Page:
    """Up to `size` subscriptions that matched at `instant`, with what they paid then, and a total.

    Rows have the shape of `page()`'s. Deleted ones are there, with the comment empty, unless their
    client, service or plan is gone too. One query, which reads what `ledger.as_of` reads.
    """
    amount, rows = _read_as_of(ledger.as_of(instant, book_filter), cursor, size)
    return _page(rows, amount, cursor, size)


def one_as_of(instant: datetime, subscription_id: int) -> dict[str, Any] | None:
    """One subscription as `page_as_of` has it; None if it was not there then. One query."""
    _, rows = _read_as_of(ledger.as_of(instant, subscription_id=subscription_id), None, 1)
    return rows[0] if rows else None


def _read_as_of(
    entries: total.SQL, cursor: Cursor | None, size: int
) -> tuple[Total, list[dict[str, Any]]]:
    sql, params = statement_as_of(entries, cursor, size)
    with connection.cursor() as db:
        db.execute(sql, params)
        rows = db.fetchall()
    return Total(*rows[0][:2]), [_subscription(*row[2:]) for row in rows if row[2] is not None]


def statement_as_of(entries: total.SQL, cursor: Cursor | None, size: int) -> total.SQL:
    """The SQL of a page of `entries`, one row longer than `size`."""
    entries_sql, params = entries
    cursor = cursor or Cursor(-1)
    beyond, way = ("<", "DESC") if cursor.backward else (">", "ASC")
    return AS_OF.format(entries=entries_sql, beyond=beyond, way=way), (*params, cursor.id, size + 1)


def statement(
    book_filter: BookFilter, cursor: Cursor | None, size: int, book: total.SQL
) -> total.SQL:
    """The SQL of a page, one row longer than `size`; `book` is `total.kept` or `total.summed`."""
    rows = _from(cursor or Cursor(-1), book_filter).values_list(*COLUMNS)[: size + 1]
    rows_sql, rows_params = rows.query.sql_with_params()
    book_sql, book_params = book
    sql = STATEMENT.format(book=book_sql, subscriptions=rows_sql, columns=", ".join(COLUMNS))
    return sql, (*rows_params, *book_params)


def _from(cursor: Cursor, book_filter: BookFilter) -> SubscriptionQuerySet:
    """All that match, on from the cursor and in its way.

    A service's or a plan's are walked along their index, (service_id, plan_id, id), with a range
    that holds the one pair. For an equality the planner may take the primary key, hoping to meet
    enough of them soon; those of a new service all stand at the end, and a page read 600,000 rows
    (129 ms; this way 0.2).
    """
    keys: dict[str, int] = {}
    subscriptions = Subscription.objects.all()
    if book_filter.by_catalogue:
        keys = {f"{name}_id": id for name, id in book_filter.given.items()}
    else:
        subscriptions = subscriptions.matching(book_filter)

    names, place = (*keys, "id"), (*keys.values(), cursor.id)
    beyond, up_to = (
        (TupleLessThan, TupleGreaterThanOrEqual)
        if cursor.backward
        else (TupleGreaterThan, TupleLessThanOrEqual)
    )
    subscriptions = subscriptions.filter(beyond(Tuple(*map(F, names)), place))
    if keys:
        subscriptions = subscriptions.filter(up_to(Tuple(*map(F, keys)), place[:-1]))
    return subscriptions.order_by(*[f"-{name}" if cursor.backward else name for name in names])


def _read(sql: str, params: tuple[Any, ...]) -> tuple[Book, list[dict[str, Any]]]:
    with connection.cursor() as db:
        db.execute(sql, params)
        rows = db.fetchall()
    return Book(*rows[0][:4]), [_subscription(*row[4:]) for row in rows if row[4] is not None]


def _on_page(rows: list[dict[str, Any]], cursor: Cursor | None, size: int) -> Total | None:
    """The total, where the page holds all that matches: a client's few subscriptions, say."""
    if cursor is not None or len(rows) > size:
        return None
    return Total(sum((row["price"] for row in rows), Decimal(0)), len(rows))


def _subscription(
    id: int,
    client_id: int,
    service_id: int,
    plan_id: int,
    price: Decimal,
    price_state: str,
    locked_until: Any,
    price_reason: str,
    comment: str,
    source: str | None,
    external_id: str | None,
    started_at: Any,
    ended_at: Any,
    company_name: str,
    email: str,
    service_name: str,
    full_price: Decimal,
    plan_type: str,
    discount_percent: int,
) -> dict[str, Any]:
    """What `SubscriptionSerializer` makes of it; tests/test_serializers.py compares."""
    return {
        "id": id,
        "plan_id": plan_id,
        "client_name": company_name,
        "email": email,
        "plan": {"id": plan_id, "plan_type": plan_type, "discount_percent": discount_percent},
        "price": price,
        "price_state": price_state,
        "locked_until": locked_until,
        "price_reason": price_reason,
        "service": {"id": service_id, "name": service_name, "full_price": full_price},
        "client_id": client_id,
        "comment": comment,
        "source": source,
        "external_id": external_id,
        "started_at": started_at,
        "ended_at": ended_at,
    }
