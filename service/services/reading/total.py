"""The total: the exact sum of prices, and the number, of all subscriptions that match a filter.

Beside it is the paid part: the same for those among them that have begun, and have not ended.

It is called by the list (`pages.page`), by code that needs only the figures (`figures`), and by the
task that folds the subtotals (`fold`).

Triggers keep subtotals for each (service, plan) (migrations `0003_total`, `0023_who_pays`), so a
total by service, plan and plan type is a sum over a few hundred of their rows. Any other total (of
a client, of a source, of a comment) needs the subscriptions, so it is summed once, and is in the
cache with its version of the book:

    PRICE_CACHE_NAME : filter  →  version of the book, total, its paid part

**Why a cached total can't be stale.** A reader hands the version that the cache has to the
database, and the statement that reads the book's version sums the rows unless it is the same, in
one snapshot. So the cache never decides what is current, it only saves the sum. Snapshots of one
server are ordered, and each commit that changes the book advances the version, so equal versions
mean equal books. A slow reader that stores its old sum last costs the next one a sum.

With each start and end that passes, other subscriptions pay, and the version changes. The clock
that decides which ones pay is `book_clock`, taken after the snapshot: a start that its writer has
seen pass does not change the version any more.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.core.cache import cache
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from pricebook.kit import replica
from pricebook.kit.prepared import prepared_cursor
from services.reading.filters import BookFilter
from services.reading.version import VERSION
from services.sql import SQL

EVERYTHING = BookFilter()
TIMEOUT = 60 * 60


@dataclass(frozen=True)
class Total:
    amount: Decimal
    subscriptions: int


@dataclass(frozen=True)
class Figures:
    """The total of all that match, and its part that is paid: by those begun and not ended."""

    total: Total
    paid: Total


NOTHING = Total(Decimal(0), 0)


class Book(NamedTuple):
    """The version and figures of the book in one snapshot: of `from_subtotals`, of `summed`."""

    version: str | None
    uncommitted: bool
    amount: Decimal
    subscriptions: int
    paid_amount: Decimal
    paid_subscriptions: int

    @property
    def figures(self) -> Figures:
        return Figures(
            Total(self.amount, self.subscriptions),
            Total(self.paid_amount, self.paid_subscriptions),
        )

    @property
    def cacheable(self) -> bool:
        """Whether others will ever see this version with this book.

        A transaction that has written sees its own version before the commit. If it is rolled back,
        the number is given out again, for another book.
        """
        return self.version is not None and not self.uncommitted


KEPT = """
SELECT {version},
       coalesce(sum(amount) FILTER (WHERE matches), 0) AS amount,
       coalesce(sum(subscriptions) FILTER (WHERE matches), 0)::bigint AS subscriptions,
       coalesce(sum(paid_amount) FILTER (WHERE matches), 0) AS paid_amount,
       coalesce(sum(paid_subscriptions) FILTER (WHERE matches), 0)::bigint AS paid_subscriptions
  FROM (SELECT *, {where} AS matches FROM subtotal_in_force) subtotal
"""
# Whether a row with its start and end pays at an instant.
PAYS = "started_at <= {at} AND (ended_at IS NULL OR ended_at > {at})"
# The condition on the book needs no row, so it is evaluated once, and if it is false no
# subscription is read: amounts and numbers are 0 then, and the known figures are used.
SUMMED = """
SELECT book.version, book.uncommitted, total.*
  FROM (SELECT {version}, {clock} AS at FROM services_subtotal) book
  LEFT JOIN LATERAL (
    SELECT coalesce(sum(price), 0) AS amount, count(*) AS subscriptions,
           coalesce(sum(price) FILTER (WHERE {pays}), 0) AS paid_amount,
           count(*) FILTER (WHERE {pays}) AS paid_subscriptions
      FROM ({subscriptions}) subscription (price, started_at, ended_at)
     WHERE (book.uncommitted OR book.version IS DISTINCT FROM %s) {condition}
  ) total ON true
"""


@dataclass(frozen=True)
class Known:
    """Figures that were summed before, and their version of the book."""

    version: str
    figures: Figures


NOTHING_KNOWN = Known("", Figures(NOTHING, NOTHING))  # no book has this version


def from_subtotals(book_filter: BookFilter) -> SQL:
    """A statement of one `Book` row from the subtotals, for a filter that is `by_catalogue`."""
    where, params = of_subtotals(book_filter)
    return KEPT.format(version=VERSION, where=where), params


def of_subtotals(book_filter: BookFilter) -> SQL:
    """The condition on subtotals for what a filter says about service, plan and plan type."""
    conditions = {
        "service": "service_id = %s",
        "plan": "plan_id = %s",
        "plan_type": "plan_id IN (SELECT id FROM services_plan WHERE plan_type = %s)",
    }
    given = {name: value for name, value in book_filter.given.items() if name in conditions}
    where = " AND ".join(conditions[name] for name in given) or "true"
    return where, tuple(given.values())


def summed(book_filter: BookFilter, known: Known = NOTHING_KNOWN, condition: str = "true") -> SQL:
    """A statement of one `Book` row, summed over the subscriptions themselves, in one snapshot.

    It reads none of them if the book still has the known version, or if the condition, which has no
    parameters, is false.
    """
    columns = ("price", "started_at", "ended_at")
    rows = book_filter.subscriptions().order_by().values_list(*columns)
    sql, params = rows.query.sql_with_params()
    statement = SUMMED.format(
        version=VERSION,
        # With `state`, for which nothing is cached, the instant is that of the filter.
        clock="book_clock()" if book_filter.state is None else "book_now()",
        pays=PAYS.format(at="book.at"),
        subscriptions=sql,
        condition=f"AND {condition}",
    )
    return statement, (*params, known.version)


def figures(book_filter: BookFilter = EVERYTHING) -> Figures:
    """The total of all subscriptions that match, and its paid part, as of now. One query."""
    if book_filter.by_catalogue:
        # Any plan will do: the subtotals are few.
        with prepared_cursor() as cursor:
            return _read(cursor, from_subtotals(book_filter)).figures
    known = cached(book_filter)
    with connection.cursor() as cursor:
        return settle(_read(cursor, summed(book_filter, known)), book_filter, known)


def total_amount(book_filter: BookFilter = EVERYTHING) -> Total:
    """The total of all subscriptions that match, whether they pay or not. One query."""
    return figures(book_filter).total


def version_now() -> str:
    """The version of the book. One query."""
    with prepared_cursor() as cursor:
        return _read(cursor, from_subtotals(EVERYTHING)).version or "0"


def _read(cursor: CursorWrapper, statement: SQL) -> Book:
    cursor.execute(*statement)
    return Book(*cursor.fetchone())


def settle(book: Book, book_filter: BookFilter, known: Known) -> Figures:
    """The figures of a `summed` book; a new sum is cached for the next reader. No query."""
    if book.version == known.version and not book.uncommitted:
        return known.figures
    remember(book, book_filter)
    return book.figures


def cached(book_filter: BookFilter) -> Known:
    """The figures in the cache; the database decides whether they are of this book. No query."""
    value = cache.get(_key(book_filter)) if book_filter.timeless else None
    if value is None:
        return NOTHING_KNOWN
    found = Book(
        value["version"],
        False,
        Decimal(value["amount"]),
        value["subscriptions"],
        Decimal(value["paid_amount"]),
        value["paid_subscriptions"],
    )
    return Known(value["version"], found.figures)


def remember(book: Book, book_filter: BookFilter) -> None:
    """Cache the figures of a `summed` book for others who read the same one. No query."""
    if book.cacheable and book_filter.timeless:
        value = {
            "version": book.version,
            "amount": str(book.amount),
            "subscriptions": book.subscriptions,
            "paid_amount": str(book.paid_amount),
            "paid_subscriptions": book.paid_subscriptions,
        }
        cache.set(_key(book_filter), value, TIMEOUT)


def _key(book_filter: BookFilter) -> str:
    # A digest: filters hold text of any length and kind, and people's comments. Each server has a
    # key of its own: a version is one of its server, so they would overwrite one another's.
    of = msgspec.json.encode((book_filter, replica.server_of_keys()))
    digest = blake2b(of, digest_size=16).hexdigest()
    return f"{settings.PRICE_CACHE_NAME}:paid:{digest}"


# One statement, so that a reader sees all of it or nothing. A boundary that has passed counts as a
# change: a reader who saw the version before the boundary must not find it again when the boundary
# is deleted.
FOLD = """
WITH passed AS (
    DELETE FROM services_paidboundary WHERE at <= (SELECT book_clock()) RETURNING *
), crowded AS (
    DELETE FROM services_subtotal
     WHERE id IN (SELECT id
                    FROM (SELECT id, count(*) OVER (PARTITION BY service_id, plan_id) AS rows
                            FROM services_subtotal) subtotal
                   WHERE rows > 1)
    RETURNING *
), merged AS (
    INSERT INTO services_subtotal
           (service_id, plan_id, subscriptions, amount, followers, followers_amount,
            paid_subscriptions, paid_amount, paid_followers, paid_followers_amount, changes)
    SELECT service_id, plan_id, sum(subscriptions), sum(amount), sum(followers),
           sum(followers_amount), sum(paid_subscriptions), sum(paid_amount), sum(paid_followers),
           sum(paid_followers_amount), sum(changes)
      FROM (SELECT service_id, plan_id, subscriptions, amount, followers, followers_amount,
                   paid_subscriptions, paid_amount, paid_followers, paid_followers_amount, changes
              FROM crowded
             UNION ALL
            SELECT service_id, plan_id, 0, 0, 0, 0,
                   subscriptions, amount, followers, followers_amount, 1
              FROM passed) part
     GROUP BY service_id, plan_id
)
SELECT (SELECT count(*) FROM crowded) + (SELECT count(*) FROM passed)
"""
# Only the near boundaries to come: all of them need not be looked through all the time.
FOLD_AHEAD = """
WITH crowded AS (
    DELETE FROM services_paidboundary
     WHERE id IN (SELECT id
                    FROM (SELECT id, count(*) OVER (PARTITION BY service_id, plan_id, at) AS rows
                            FROM services_paidboundary
                           WHERE at <= coalesce((SELECT book_clock() + %s::interval), 'infinity'))
                         boundary
                   WHERE rows > 1)
    RETURNING *
), merged AS (
    INSERT INTO services_paidboundary
           (service_id, plan_id, at, subscriptions, amount, followers, followers_amount)
    SELECT service_id, plan_id, at, sum(subscriptions), sum(amount), sum(followers),
           sum(followers_amount)
      FROM crowded GROUP BY service_id, plan_id, at
)
SELECT count(*) FROM crowded
"""
HOUR = timedelta(hours=1)


def fold(ahead: timedelta | None = HOUR) -> int:
    """Merge the subtotal rows that belong to one (service, plan); return how many were merged.

    Boundaries that have passed are added to them; those that come within `ahead` (None: all) are
    merged if they have the same instant. No sum changes, and the version changes only if a boundary
    has passed: it is one statement, which a reader sees whole or not at all. Returns 0 while
    another fold runs. Four queries.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock('services_subtotal'::regclass::oid::int, 0)"
        )
        if cursor.fetchone() == (False,):
            return 0
        # TRUNCATE empties the subtotals; it would miss the rows of a fold that it overtakes.
        cursor.execute("LOCK TABLE services_subscription IN ACCESS SHARE MODE")
        merged = 0
        within = None if ahead is None else str(ahead)
        for statement, params in ((FOLD, []), (FOLD_AHEAD, [within])):
            cursor.execute(statement, params)
            (rows,) = cursor.fetchone()
            merged += rows
        return merged
