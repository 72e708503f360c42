"""The book check: proves price = rule, total = rows and ledger = rows, and fixes what differs.

The total is compared with the rows, and its paid part with the rows that pay: now, and from each
later instant at which a subscription begins or ends. One of the points, from which totals of the
past are computed, is compared with the ledger.

The command `check_book` runs it, and beat by the task of that name. Triggers keep all of this true,
so a difference means that something bypassed them: a restore, `session_replication_role`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec
from django.db import connection, transaction
from django.dispatch import Signal
from django.utils.translation import override

from pricebook.kit.authors import OF_BOOK_CHECK
from services import repricing
from services.audit.book_check_sql import (
    CHECK,
    COUNTED,
    LEDGER,
    MEND_LEDGER,
    MEND_TOTAL,
    UNRECORDED,
)
from services.audit.book_report import (
    BookCheck,
    Counts,
    Mispriced,
    Repair,
    Unrecorded,
    WrongSubtotal,
)
from services.ledger import points
from services.models import KeptBookCheck, Point, Repricing
from services.repricing import chunks

KEPT = 100  # results

# Sent with the `report` of a check that found that something differs, to those who tell others.
failed = Signal()


@dataclass(frozen=True)
class LastCheck:
    """The result of the last book check: when it ran, who started it (nobody: beat did), and what
    it counted. As text: its counts in the reader's words.
    """

    at: datetime
    author: str
    counts: Counts

    @property
    def differences(self) -> int:
        """The number of prices, subtotals, entries and points that differ; 0 is in order."""
        return self.counts.differences

    def __str__(self) -> str:
        return str(self.counts)


def remember(report: BookCheck, author: str = "") -> None:
    """Keep a check's result for `last_book_check()`, and the last hundred. Three queries.

    If it differs, `failed` is sent. A database that takes no writes, as a standby, keeps nothing.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only')::boolean")
        if cursor.fetchone()[0]:
            return
        counts = msgspec.to_builtins(report.counts)
        kept = KeptBookCheck.objects.create(author=author, counts=counts)
        KeptBookCheck.objects.filter(pk__lte=kept.pk - KEPT).delete()
        if report.differs:
            with override("en"):  # others read what is sent
                failed.send(BookCheck, report=report)


def last_book_check() -> LastCheck | None:
    """The last check that is kept, whatever became of the cache. One query."""
    kept = KeptBookCheck.objects.order_by("-pk").first()
    if kept is None:
        return None
    return kept_check(kept.at, kept.author, kept.counts)


def kept_check(at: datetime, author: str, counts: object) -> LastCheck:
    """A row of the kept checks, for whoever has read it by a session of its own. No query."""
    return LastCheck(at, author, msgspec.convert(counts, Counts))


def check(limit: int = 20) -> BookCheck:
    """Check the whole book, with up to `limit` examples of each kind. Up to three queries."""
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
    book.wrong_point = points.check()
    return book


def repair(seconds: float = 600.0) -> Repair:
    """Fix all that differs; prices for at most `seconds`, then workers go on.

    Prices are fixed by a repricing like any other: the pairs are recorded as due, and repriced at
    once, in chunks, together with the workers. The ledger gets another entry, in force from now on:
    what was paid since it was bypassed is unknown. If a point is wrong, all are deleted and made
    anew.
    """
    found = check(limit=0)
    pairs = found.mispriced_pairs
    if found.wrong_point is not None:
        Point.objects.all().delete()
    again = Repricing.objects.bulk_create(
        Repricing(service_id=service_id, plan_id=plan_id, author=OF_BOOK_CHECK)
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
    repaired = 0
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM ({LEDGER}) compared WHERE {UNRECORDED} ORDER BY id")  # noqa: S608
        ids = [id for (id,) in cursor.fetchall()]
        for first in range(0, len(ids), chunks.CHUNK):
            chunk = ids[first : first + chunks.CHUNK]
            with transaction.atomic():
                # A statement of its own, so that the next one sees what the writers of these rows
                # committed.
                cursor.execute(
                    "SELECT FROM services_subscription WHERE id = ANY (%s)"
                    " ORDER BY id FOR NO KEY UPDATE",
                    [chunk],
                )
                # A deleted subscription has no row to lock, and two repairs would each add an
                # entry.
                cursor.execute(
                    "SELECT pg_advisory_xact_lock('services_ledgerentry'::regclass::oid::int, 0)"
                )
                cursor.execute(MEND_LEDGER, [chunk])
                repaired += cursor.rowcount
    return repaired
