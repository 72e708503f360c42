"""Listing the rows of a set, which is in force for all of them from the same commit on.

`starting` calls it when the instant of a set, or of the revert of a set, has come.

    start_rows()   its rows, judged by what was recorded by the instant, are stored as a list; if
                   they are no more than a chunk, they are moved at once, else entered at once
                   (`entering`), and copied by steps of a repricing, a chunk a transaction
                   (`moving`)
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Sum

from price_changes import notes
from price_changes.kinds import members
from price_changes.kinds.rows import rows_sql
from price_changes.models import ListedRows, PriceChange
from price_changes.planning.fingerprint import HASH, fingerprint
from price_changes.running import entering
from price_changes.running.rows_then import begins_with_others, rows_then
from pricebook.kit.points import at_point
from services import repricing
from services.bounds import HIGHEST_PRICE
from services.ledger.recorded import all_recorded_until, oldest_writer
from services.models import Clock, Repricing, RepricingStep, Skip, book_clock
from services.repricing import chunks, lock_ends
from services.repricing.locks import LockHeld, giving_way

Status, WhenMoved = PriceChange.Status, PriceChange.WhenMoved

# One pass, aggregated by hashes: the rows of a pair are cut where their ids pass a multiple of
# `width`, which needs no order. The fingerprint has a price that is out of range as it is; the list
# has it as NaN, which no price may be, so that the move of its row fails.
LIST = f"""
WITH part AS MATERIALIZED (
    SELECT service_id, plan_id, reason, count(*) AS rows, sum(price) AS before,
           sum(new_price) AS after, {HASH} AS hash,
           min(id) AS first_id, max(id) AS last_id,
           array_agg(id) FILTER (WHERE reason IS NULL) AS ids,
           array_agg(price) FILTER (WHERE reason IS NULL) AS prices,
           array_agg(price_state) FILTER (WHERE reason IS NULL) AS price_states,
           array_agg(locked_until) FILTER (WHERE reason IS NULL) AS untils,
           array_agg(CASE WHEN new_price BETWEEN 0 AND {HIGHEST_PRICE} THEN new_price
                          ELSE 'NaN' END) FILTER (WHERE reason IS NULL) AS new_prices,
           array_agg(new_state) FILTER (WHERE reason IS NULL) AS new_states,
           array_agg(new_until) FILTER (WHERE reason IS NULL) AS new_untils
      FROM ({{rows}}) change_row
     GROUP BY service_id, plan_id, id / {{width}}, reason
), listed AS (
    INSERT INTO price_changes_listedrows
           (change_id, service_id, plan_id, first_id, last_id, rows, ids, prices, price_states,
            untils, new_prices, new_states, new_untils)
    SELECT {{change}}, service_id, plan_id, first_id, last_id, rows, ids, prices, price_states,
           untils, new_prices, new_states, new_untils
      FROM part WHERE reason IS NULL ORDER BY service_id, plan_id, first_id
)
SELECT reason, sum(rows)::bigint, bit_xor(hash), sum(before), sum(after) FROM part GROUP BY reason
"""  # noqa: S608 - constants

# The number of ids that spans about a chunk of rows of the pair that has most rows.
WIDTH = """
SELECT greatest(1, %s * max(last.id) / greatest(1, max(pair.subscriptions)))::bigint
  FROM (SELECT sum(subscriptions) AS subscriptions
          FROM services_subtotal GROUP BY service_id, plan_id) pair,
       (SELECT max(id) AS id FROM services_subscription) last
"""

STEPS = """
INSERT INTO services_repricingstep
       (repricing_id, kind, service_id, plan_id, subscriptions, last_id, effective_at)
SELECT %(repricing)s, 'price', service_id, plan_id, sum(rows), max(last_id), %(effective_at)s
  FROM price_changes_listedrows
 WHERE change_id = %(change)s
 GROUP BY service_id, plan_id
 ORDER BY service_id, plan_id
"""


def list_rows(change: PriceChange, rows: tuple[str, list[Any]]) -> tuple[dict[str, int], str]:
    """Store the rows that move; return the numbers of the others by reason, and the fingerprint.

    Two queries, one of them over all rows.
    """
    sql, params = rows
    with connection.cursor() as cursor:
        cursor.execute(WIDTH, [chunks.CHUNK])
        width = cursor.fetchone()[0] or 1
        cursor.execute(LIST.format(rows=sql, change=int(change.pk), width=width), params or None)
        counts = cursor.fetchall()
    at_point("rows listed")
    stays: dict[str, int] = {}
    moves = digest = 0
    before = after = Decimal(0)
    for reason, rows_of_reason, hash, was, becomes in counts:
        digest, before, after = digest ^ hash, before + was, after + becomes
        if reason is None:
            moves = rows_of_reason
        else:
            stays[reason] = rows_of_reason
    total = moves + sum(stays.values())
    return stays, fingerprint(change, digest, total, moves, before, after)


def start_rows(change: PriceChange) -> None:
    """List the rows, judged by what had been recorded by the instant, and move them."""
    change.note = ""
    _refuse_to_come_before_others(change)
    if change.when_moved == WhenMoved.FROZEN:
        assert change.preview is not None
        stays = change.preview["stays"]
    else:
        rows = rows_then(change) if change.reverts is None else rows_sql(change)
        stays, found = list_rows(change, rows)
        if change.when_moved == WhenMoved.HOLD and found != change.fingerprint:
            ListedRows.objects.filter(change_id=change.pk).delete()
            change.status, change.started_at = Status.HELD, None
            change.note = notes.ROWS_MOVED
            members.forget(change)
            return
    members.forget(change)
    _make_steps(change, stays)
    if not _move_at_once(change):
        entering.enter(change)


class Waits(LockHeld):
    """The start waits for somebody's open transaction, which may take long; the text says whose."""


def copy_what_came_before(change: PriceChange) -> bool:
    """Plan the copies that a set has to wait for, in transactions of their own. False if a lock was
    in the way.
    """
    return lock_ends.release_ended(change.effective_at) and repricing.plan_due()


def _refuse_to_come_before_others(change: PriceChange) -> None:
    """Raise `LockHeld` unless all that was recorded by its instant is committed, and copied.

    Raise `Waits` while somebody's transaction that began to write before the instant is open: its
    writes may be recorded before the instant.
    """
    at = change.effective_at
    assert at is not None
    recorded = all_recorded_until(by_others=True)
    if recorded is not None and recorded < at:
        raise Waits(notes.WAITS_FOR % {"writer": oldest_writer()})
    steps = RepricingStep.objects.filter(kind=RepricingStep.Lane.PRICE)
    # Copies of just its instant are not waited for while a value of that instant is not started:
    # they wait for it in their turn.
    at_it = steps.filter(effective_at=at)
    if (
        steps.filter(effective_at__lt=at).exists()
        or Repricing.objects.due().filter(planned_at=None, effective_at__lte=at).exists()
        or (at_it.exists() and not begins_with_others(change))
    ):
        raise LockHeld("Changes that came before have yet to be copied.")
    if change.preview is not None and change.preview["moves"] > chunks.AT_ONCE:
        _refuse_while_others_write()


class _NobodyWrites(Exception):
    """Takes back the lock that has shown it."""


def _refuse_while_others_write() -> None:
    """Raise `Waits` if somebody is in the middle of a long transaction that writes subscriptions:
    the end of the listing would wait for it, and all the work before that would be in vain.
    """
    try:
        with giving_way():
            entering.lock_alone()
            raise _NobodyWrites
    except _NobodyWrites:
        return
    except LockHeld as held:
        raise Waits(notes.WAITS_FOR % {"writer": oldest_writer()}) from held


def _move_at_once(change: PriceChange) -> bool:
    """Move all rows in the transaction that lists them, if they are no more than a chunk's; return
    whether it did. If a row can't be written, nothing is moved here.
    """
    try:
        with transaction.atomic():
            for work in Repricing.objects.filter(change_id=change.pk).due():
                if not chunks.do_all(work):
                    return False
                Repricing.objects.filter(pk=work.pk).update(finished_at=Clock())
    except (OperationalError, InterfaceError):
        raise
    except DatabaseError:
        return False
    done = Repricing.objects.filter(change_id=change.pk).exclude(finished_at=None)
    if not change.note and done and not any(work.repriced for work in done):
        change.note = notes.NONE_MOVED
    return True


def _make_steps(change: PriceChange, stays: dict[str, int]) -> None:
    skipped = sum(stays.values())
    assert change.effective_at is not None
    work = Repricing.objects.create(
        kind=Repricing.Mode.ROWS,
        change_id=change.pk,
        effective_at=change.effective_at,
        author=change.approved_by,
        checked=skipped,
        planned_at=book_clock(),
    )
    Skip.objects.bulk_create(
        Skip(repricing=work, reason=reason, rows=rows) for reason, rows in stays.items() if rows
    )
    with connection.cursor() as cursor:
        cursor.execute(
            STEPS,
            {
                "repricing": work.pk,
                "change": change.pk,
                "effective_at": change.effective_at,
            },
        )
    of_change = ListedRows.objects.filter(change_id=change.pk)
    listed = of_change.aggregate(rows=Sum("rows", default=0))["rows"]
    if not listed:
        change.note = notes.NONE_MOVED if skipped else notes.NONE_FOUND
    Repricing.objects.filter(pk=work.pk).update(
        subscriptions=listed + skipped, finished_at=None if listed else Clock()
    )
