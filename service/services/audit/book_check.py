"""The book check: proves price = rule, total = rows and ledger = rows, and mends the first two.

Total = rows, and what is paid of it = the rows that pay: now, and from each instant on at which one
begins or ends.

Who calls it: the command `check_book`, and the task of that name, by beat. Triggers keep all, so
a difference means that something went around the triggers: a restore, `session_replication_role`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import msgspec
from django.core.cache import cache
from django.db import connection, transaction

from services import repricing
from services.audit.book_check_sql import (
    CHECK,
    COUNTED,
    LEDGER,
    MEND_LEDGER,
    MEND_TOTAL,
    UNRECORDED,
)
from services.models import Repricing, book_clock
from services.repricing import chunks


@dataclass(frozen=True)
class Mispriced:
    """An active subscription whose price is not the rule's, and that no worker will reach."""

    id: int
    client: str
    service: str
    plan: str
    price: Decimal
    rule_price: Decimal

    @property
    def difference(self) -> Decimal:
        return self.price - self.rule_price


@dataclass(frozen=True)
class Unrecorded:
    """A subscription of which the ledger's last entry says something else than the row.

    `price` is None of one that is gone, `recorded_price_state` of one that the ledger never knew.
    """

    id: int
    price: Decimal | None
    price_state: str | None
    recorded_price: Decimal | None
    recorded_price_state: str | None


@dataclass(frozen=True)
class WrongSubtotal:
    """A (service, plan) whose part of the total is not what its rows add up to."""

    service_id: int | None
    plan_id: int | None
    subscriptions: int
    amount: Decimal
    followers: int  # that have no end
    followers_amount: Decimal
    paid_subscriptions: int
    paid_amount: Decimal
    paid_followers: int
    paid_followers_amount: Decimal
    counted_subscriptions: int
    counted_amount: Decimal
    counted_followers: int
    counted_followers_amount: Decimal
    counted_paid_subscriptions: int
    counted_paid_amount: Decimal
    counted_paid_followers: int
    counted_paid_followers_amount: Decimal
    boundaries: int  # instants to come, from which on what is paid would be wrong


@dataclass
class BookCheck:
    """What one snapshot of the book holds. `mispriced` and `unrecorded` have the first rows."""

    subscriptions: int = 0
    amount: Decimal = Decimal(0)
    paid_subscriptions: int = 0  # of these, by those that have begun and have not ended
    paid_amount: Decimal = Decimal(0)
    waiting: int = 0  # prices that a due repricing has yet to reach: late, not wrong
    paused: int = 0  # of these, where somebody has paused the price change
    differing: int = 0
    mispriced: list[Mispriced] = field(default_factory=list)
    wrong_subtotals: list[WrongSubtotal] = field(default_factory=list)
    mispriced_pairs: list[tuple[int, int]] = field(default_factory=list)
    differing_from_ledger: int = 0
    unrecorded: list[Unrecorded] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        return bool(self.differing or self.wrong_subtotals or self.differing_from_ledger)

    def _paid(self) -> str:
        if self.paid_subscriptions == self.subscriptions:
            return ""
        return f", of which {self.paid_amount:,.2f} is paid by {self.paid_subscriptions:,}"

    def __str__(self) -> str:
        paused = f" ({self.paused:,} of them for a price change that is paused)"
        return (
            f"{self.subscriptions:,} subscriptions, total {self.amount:,.2f}{self._paid()}; "
            f"{self.differing:,} prices differ from the rule, {self.waiting:,} wait for a worker"
            f"{paused if self.paused else ''}, "
            f"{len(self.wrong_subtotals):,} subtotals differ from the rows, "
            f"{self.differing_from_ledger:,} rows from the ledger's last entry"
        )


@dataclass(frozen=True)
class Repair:
    """What was mended: prices moved, pairs whose part of the total was put right, and
    subscriptions of which the ledger got an entry that says what the row says.
    """

    prices: int
    subtotals: int
    entries: int


LAST = "last_book_check"
KEPT_FOR = 7 * 24 * 60 * 60


@dataclass(frozen=True)
class LastCheck:
    """What the last book check has found, when, and in words."""

    at: datetime
    differs: bool
    says: str


def remember(report: BookCheck) -> None:
    """Keep what a check has found for `last()`: in the cache, for it can be had again."""
    found = {"at": book_clock().isoformat(), "differs": report.differs, "says": str(report)}
    cache.set(LAST, found, KEPT_FOR)


def last() -> LastCheck | None:
    """The last check of this week, if the cache still knows it. No query."""
    kept = cache.get(LAST)
    if kept is None:
        return None
    return LastCheck(datetime.fromisoformat(kept["at"]), kept["differs"], kept["says"])


def check(limit: int = 20) -> BookCheck:
    """Check the whole book, with up to `limit` examples of each kind (1 query)."""
    book = BookCheck()
    with connection.cursor() as cursor:
        cursor.execute(CHECK, [limit, limit])
        for (
            service_id,
            plan_id,
            *found,
            differing,
            waits,
            paused,
            examples,
            count,
            unrecorded,
        ) in cursor:
            if not book.differing_from_ledger:  # the same in each line
                book.differing_from_ledger = count
                book.unrecorded = msgspec.convert(unrecorded, list[Unrecorded])
            of_rows, of_subtotals = found[: len(COUNTED)], found[len(COUNTED) : -1]
            book.subscriptions += of_rows[0]
            book.amount += of_rows[1]
            book.paid_subscriptions += of_rows[4]
            book.paid_amount += of_rows[5]
            if of_rows != of_subtotals or found[-1]:
                book.wrong_subtotals.append(WrongSubtotal(service_id, plan_id, *found))
            if waits:
                book.waiting += differing
                book.paused += differing if paused else 0
            elif differing:
                book.differing += differing
                book.mispriced_pairs.append((service_id, plan_id))
                book.mispriced += msgspec.convert(examples, list[Mispriced])
    book.mispriced = sorted(book.mispriced, key=lambda row: row.id)[:limit]
    return book


def repair(seconds: float = 600.0) -> Repair:
    """Mend all that differs; prices for at most `seconds`, then workers go on.

    Prices take the way of every repricing: the pairs are recorded to be looked at again, and
    done at once, in chunks, together with the workers. The ledger gets another entry, in force
    from now on: what was paid since the price went around it, nobody knows.
    """
    pairs = check(limit=0).mispriced_pairs
    again = Repricing.objects.bulk_create(
        Repricing(service_id=service_id, plan_id=plan_id, author="check_book")
        for service_id, plan_id in pairs
    )
    if again:
        repricing.reprice(seconds)
    moved = Repricing.objects.filter(pk__in=[each.pk for each in again])
    with transaction.atomic(), connection.cursor() as cursor:
        # Two repairs at once would each add what is missing.
        cursor.execute("SELECT pg_advisory_xact_lock('services_subtotal'::regclass::oid::int, 0)")
        cursor.execute(MEND_TOTAL)
        (subtotals,) = cursor.fetchone()
    return Repair(sum(moved.values_list("repriced", flat=True)), subtotals, _mend_ledger())


def _mend_ledger() -> int:
    mended = 0
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM ({LEDGER}) compared WHERE {UNRECORDED} ORDER BY id")  # noqa: S608
        ids = [id for (id,) in cursor.fetchall()]
        for first in range(0, len(ids), chunks.CHUNK):
            chunk = ids[first : first + chunks.CHUNK]
            with transaction.atomic():
                # In a statement of its own: what their writers left is seen by the next one.
                cursor.execute(
                    "SELECT FROM services_subscription WHERE id = ANY (%s)"
                    " ORDER BY id FOR NO KEY UPDATE",
                    [chunk],
                )
                # Of who is gone no row can be locked, and two repairs would each add an entry.
                cursor.execute(
                    "SELECT pg_advisory_xact_lock('services_ledgerentry'::regclass::oid::int, 0)"
                )
                cursor.execute(MEND_LEDGER, [chunk])
                mended += cursor.rowcount
    return mended
