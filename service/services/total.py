"""The total: the exact sum of prices, and the number of subscriptions, of all that a filter means.

Who calls it: the list (`listing.page`), whoever wants a number alone (`total_amount`), and the
task that folds the subtotals (`fold`).

Triggers keep subtotals for each (service, plan) (migration `0003_total`), so a total that is cut
along services and plans is a sum over a few hundred of their rows. Any other total (of a client,
of a source, of a comment) needs the subscriptions, so it is summed once and kept in the cache:

    PRICE_CACHE_NAME : version of the book : filter  →  amount, number of subscriptions

**Why a cached total can't be stale.** Reader sums, writer commits and deletes the key, reader
stores its old sum: that is how a cache beside a database goes wrong, and it can't happen here,
because nothing is ever deleted or replaced. The statement that sums reads the version in the same
snapshot, and the sum is kept under that version; who reads asks for the version of its own
snapshot. Snapshots of one server are ordered, each commit that changes the book moves the version
on, so equal versions mean equal books. An old sum is not wrong, it is only never asked for again.
"""

from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from django.core.cache import cache
from django.db import connection, transaction

from services.filters import BookFilter
from services.models import Subscription

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
    amount: Decimal | None
    subscriptions: int | None

    @property
    def total(self) -> Total | None:
        if self.amount is None or self.subscriptions is None:
            return None
        return Total(self.amount, self.subscriptions)

    @property
    def cacheable(self) -> bool:
        """Whether others will ever see this version with this book.

        A transaction that has written sees its own version before the commit. Rolled back, the
        number is given out again, for another book.
        """
        return self.version is not None and not self.uncommitted


SQL = tuple[str, tuple[Any, ...]]  # a statement and its parameters

# The sum of changes tells commits apart while the table lives on one server. The rest tells apart
# what would count through the same numbers again: a database made from a template or a dump (its
# oid), a table emptied or made anew (its file), a server started from a backup or a standby.
VERSION = """
       sum(changes)
       || '.' || (SELECT oid FROM pg_database WHERE datname = current_database())
       || '.' || pg_relation_filenode('services_subtotal')
       || '.' || extract(epoch FROM pg_postmaster_start_time()) AS version,
       pg_current_xact_id_if_assigned() IS NOT NULL AS uncommitted
"""
KEPT = """
SELECT {version},
       coalesce(sum(amount) FILTER (WHERE {where}), 0) AS amount,
       coalesce(sum(subscriptions) FILTER (WHERE {where}), 0)::bigint AS subscriptions
  FROM services_subtotal
"""
NOT_KEPT = """
SELECT {version}, NULL::numeric AS amount, NULL::bigint AS subscriptions
  FROM services_subtotal
"""
SUMMED = """
SELECT *
  FROM (SELECT {version} FROM services_subtotal) book,
       (SELECT coalesce(sum(price), 0) AS amount, count(*) AS subscriptions
          FROM ({subscriptions}) subscription (price)) total
"""


def kept(book_filter: BookFilter) -> SQL:
    """One `Book` row from the subtotals; its total is NULL for a filter they can't answer."""
    if not book_filter.by_catalogue:
        return NOT_KEPT.format(version=VERSION), ()
    given = book_filter.given
    where = " AND ".join([f"{name}_id = %s" for name in given]) or "true"
    return KEPT.format(version=VERSION, where=where), (*given.values(), *given.values())


def summed(book_filter: BookFilter) -> SQL:
    """One `Book` row with the total of the subscriptions themselves, in the same snapshot."""
    prices = Subscription.objects.matching(book_filter).order_by().values_list("price")
    sql, params = prices.query.sql_with_params()
    return SUMMED.format(version=VERSION, subscriptions=sql), params


def total_amount(book_filter: BookFilter = EVERYTHING) -> Total:
    """The total of all subscriptions that match, as of now.

    One query by service and plan, or with the total in the cache; else two.
    """
    book = _read(*kept(book_filter))
    total = book.total or cached(book, book_filter)
    if total is None:
        book = _read(*summed(book_filter))
        total = remember(book, book_filter)
    return total


def _read(sql: str, params: tuple[Any, ...]) -> Book:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return Book(*cursor.fetchone())


def cached(book: Book, book_filter: BookFilter) -> Total | None:
    """The total that somebody has summed of this very book. No query."""
    value = cache.get(_key(book, book_filter)) if book.cacheable else None
    return None if value is None else Total(Decimal(value["amount"]), value["subscriptions"])


def remember(book: Book, book_filter: BookFilter) -> Total:
    """Keep the total of a `summed` book for those who read the same one. No query."""
    total = book.total
    assert total is not None
    if book.cacheable:
        value = {"amount": str(total.amount), "subscriptions": total.subscriptions}
        cache.set(_key(book, book_filter), value, TIMEOUT)
    return total


def _key(book: Book, book_filter: BookFilter) -> str:
    # A digest: filters hold text of any length and kind, and people's comments.
    digest = blake2b(msgspec.json.encode(book_filter), digest_size=16).hexdigest()
    return f"{settings.PRICE_CACHE_NAME}:{book.version}:{digest}"


FOLD = """
WITH crowded AS (
    DELETE FROM services_subtotal
     WHERE id IN (SELECT id
                    FROM (SELECT id, count(*) OVER (PARTITION BY service_id, plan_id) AS rows
                            FROM services_subtotal) subtotal
                   WHERE rows > 1)
    RETURNING service_id, plan_id, subscriptions, amount, changes
), merged AS (
    INSERT INTO services_subtotal (service_id, plan_id, subscriptions, amount, changes)
    SELECT service_id, plan_id, sum(subscriptions), sum(amount), sum(changes)
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
