"""The total: the exact sum of prices, and the number of subscriptions, of all that a filter means.

Who calls it: the list (`pages.page`), whoever wants a number alone (`total_amount`), and the
task that folds the subtotals (`fold`).

Triggers keep subtotals for each (service, plan) (migration `0003_total`), so a total that is cut
along services, plans and plan types is a sum over a few hundred of their rows. Any other total (of
a client, of a source, of a comment) needs the subscriptions, so it is summed once and kept in the
cache with the version of the book that it is of:

    PRICE_CACHE_NAME : filter  →  version of the book, amount, number of subscriptions

**Why a cached total can't be stale.** Who reads hands the version that the cache has to the
database, and the statement that reads the book's version sums the rows unless it is the same, in
one snapshot. So the cache never says what is current, it only spares the sum. Snapshots of one
server are ordered, each commit that changes the book moves the version on, so equal versions mean
equal books. A reader that was overtaken, and stores its old sum last, costs the next one a sum.
"""

from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.core.cache import cache
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

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


class Book(NamedTuple):
    """What one statement's snapshot says of the book; the columns of `kept` and `summed`."""

    version: str | None
    uncommitted: bool
    amount: Decimal
    subscriptions: int

    @property
    def total(self) -> Total:
        return Total(self.amount, self.subscriptions)

    @property
    def cacheable(self) -> bool:
        """Whether others will ever see this version with this book.

        A transaction that has written sees its own version before the commit. Rolled back, the
        number is given out again, for another book.
        """
        return self.version is not None and not self.uncommitted


KEPT = """
SELECT {version},
       coalesce(sum(amount) FILTER (WHERE {where}), 0) AS amount,
       coalesce(sum(subscriptions) FILTER (WHERE {where}), 0)::bigint AS subscriptions
  FROM subtotal_in_force
"""
# The condition on the book needs no row, so the planner asks it once, and reads no subscription
# where it does not hold: amount and number are 0 then, and the known total is the one.
SUMMED = """
SELECT book.version, book.uncommitted, total.amount, total.subscriptions
  FROM (SELECT {version} FROM services_subtotal) book
  LEFT JOIN LATERAL (
    SELECT coalesce(sum(price), 0) AS amount, count(*) AS subscriptions
      FROM ({subscriptions}) subscription (price)
     WHERE (book.uncommitted OR book.version IS DISTINCT FROM %s) {condition}
  ) total ON true
"""


@dataclass(frozen=True)
class Known:
    """A total that somebody has summed, and the version of the book that it is of."""

    version: str
    total: Total


NOTHING_KNOWN = Known("", Total(Decimal(0), 0))  # no book has this version


def kept(book_filter: BookFilter) -> SQL:
    """One `Book` row from the subtotals; for a filter that is `by_catalogue`."""
    where, params = of_subtotals(book_filter)
    return KEPT.format(version=VERSION, where=where), (*params, *params)


def of_subtotals(book_filter: BookFilter) -> SQL:
    """The condition on subtotals of what a filter says about service, plan and plan type."""
    conditions = {
        "service": "service_id = %s",
        "plan": "plan_id = %s",
        "plan_type": "plan_id IN (SELECT id FROM services_plan WHERE plan_type = %s)",
    }
    given = {name: value for name, value in book_filter.given.items() if name in conditions}
    where = " AND ".join(conditions[name] for name in given) or "true"
    return where, tuple(given.values())


def summed(book_filter: BookFilter, known: Known = NOTHING_KNOWN, condition: str = "true") -> SQL:
    """One `Book` row with the total of the subscriptions themselves, in the same snapshot.

    Reads none of them where the book is still of the known version, or the condition, which is
    one without parameters, does not hold.
    """
    prices = book_filter.subscriptions().order_by().values_list("price")
    sql, params = prices.query.sql_with_params()
    statement = SUMMED.format(version=VERSION, subscriptions=sql, condition=f"AND {condition}")
    return statement, (*params, known.version)


def total_amount(book_filter: BookFilter = EVERYTHING) -> Total:
    """The total of all subscriptions that match, as of now. One query."""
    if book_filter.by_catalogue:
        # However they are planned: the subtotals are few.
        with prepared_cursor() as cursor:
            return _read(cursor, kept(book_filter)).total
    known = cached(book_filter)
    with connection.cursor() as cursor:
        return settle(_read(cursor, summed(book_filter, known)), book_filter, known)


def _read(cursor: CursorWrapper, statement: SQL) -> Book:
    cursor.execute(*statement)
    return Book(*cursor.fetchone())


def settle(book: Book, book_filter: BookFilter, known: Known) -> Total:
    """The total of a `summed` book; what had to be summed is kept for the next reader. No query."""
    if book.version == known.version and not book.uncommitted:
        return known.total
    remember(book, book_filter)
    return book.total


def cached(book_filter: BookFilter) -> Known:
    """What the cache has; whether it is of this book is for the database to say. No query."""
    value = cache.get(_key(book_filter)) if book_filter.timeless else None
    if value is None:
        return NOTHING_KNOWN
    return Known(value["version"], Total(Decimal(value["amount"]), value["subscriptions"]))


def remember(book: Book, book_filter: BookFilter) -> None:
    """Keep the total of a `summed` book for those who read the same one. No query."""
    if book.cacheable and book_filter.timeless:
        value = {
            "version": book.version,
            "amount": str(book.amount),
            "subscriptions": book.subscriptions,
        }
        cache.set(_key(book_filter), value, TIMEOUT)


def _key(book_filter: BookFilter) -> str:
    # A digest: filters hold text of any length and kind, and people's comments.
    digest = blake2b(msgspec.json.encode(book_filter), digest_size=16).hexdigest()
    return f"{settings.PRICE_CACHE_NAME}:{digest}"


FOLD = """
WITH crowded AS (
    DELETE FROM services_subtotal
     WHERE id IN (SELECT id
                    FROM (SELECT id, count(*) OVER (PARTITION BY service_id, plan_id) AS rows
                            FROM services_subtotal) subtotal
                   WHERE rows > 1)
    RETURNING *
), merged AS (
    INSERT INTO services_subtotal
           (service_id, plan_id, subscriptions, amount, followers, followers_amount, changes)
    SELECT service_id, plan_id, sum(subscriptions), sum(amount), sum(followers),
           sum(followers_amount), sum(changes)
      FROM crowded GROUP BY service_id, plan_id
)
SELECT count(*) FROM crowded
"""


def fold() -> int:
    """Merge the subtotal rows that belong to one (service, plan); return how many were merged.

    Changes no sum and no version: it is one statement, which a reader sees whole or not at all.
    0 while another one folds. Three queries.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock('services_subtotal'::regclass::oid::int, 0)"
        )
        if cursor.fetchone() == (False,):
            return 0
        # TRUNCATE empties the subtotals; it would miss the rows of a fold that it overtakes.
        cursor.execute("LOCK TABLE services_subscription IN ACCESS SHARE MODE")
        cursor.execute(FOLD)
        (merged,) = cursor.fetchone()
        return int(merged)
