"""Listing the rows of a set, and moving them in the same commit.

Who calls it: `starting`, where the instant of a set or of a set's revert has come.

    start_rows()   its rows, judged by what was recorded by the instant, are kept as a list; of a
                   set that is no larger than a chunk they are moved at once, of a larger one by
                   steps of a repricing, a chunk a transaction (`moving`)
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Sum

from price_changes.models import ListedRows, PriceChange
from price_changes.planning import members
from price_changes.planning.preview import HASH, fingerprint
from price_changes.planning.rows_sql import rows_sql
from price_changes.planning.rows_then import begins_with_others, rows_then
from pricebook.kit.points import at_point
from services import repricing
from services.bounds import HIGHEST_PRICE
from services.ledger.recorded import all_recorded_until, oldest_writer
from services.models import Clock, Repricing, RepricingStep, Skip, book_clock
from services.repricing import chunks, lock_ends
from services.repricing.locks import LockHeld

# Those that have rows of their own, and no value of the catalogue.
OF_SETS = (PriceChange.Kind.SET, PriceChange.Kind.REVERT)
Kind, Status, WhenMoved = PriceChange.Kind, PriceChange.Status, PriceChange.WhenMoved

# In one pass, aggregated by hashes: the rows of a pair are cut where their ids pass a multiple of
# `width`, which needs no order. A price that does not fit counts as it is in the fingerprint, and
# fails when it is moved: no price may be NaN.
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

# So many ids hold about a chunk's rows of the pair that has most of them.
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
    """Keep the rows that move; how many don't, by reason, and the fingerprint. One statement."""
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
    # An immediate change was previewed without an instant.
    if change.when_moved == WhenMoved.FROZEN:
        assert change.preview is not None
        stays = change.preview["stays"]
    else:
        rows = rows_sql(change) if change.kind == Kind.REVERT else rows_then(change)
        stays, found = list_rows(change, rows)
        if change.when_moved == WhenMoved.HOLD and found != change.fingerprint:
            ListedRows.objects.filter(change_id=change.pk).delete()
            change.status, change.started_at = Status.HELD, None
            change.note = (
                "Rows have moved since the approval: preview it again, and approve or cancel."
            )
            members.forget(change)
            return
    members.forget(change)
    _make_steps(change, stays)
    _move_at_once(change)


class Waits(LockHeld):
    """It waits for a person, who may take long: for whom."""


def copy_what_came_before(change: PriceChange) -> bool:
    """Plan the copies that a set has to wait for, in transactions of their own; False if a lock was
    in the way."""
    return lock_ends.release_ended(change.effective_at) and repricing.plan_due()


def _refuse_to_come_before_others(change: PriceChange) -> None:
    """`LockHeld` until all that was recorded by its instant is there, and copied.

    `Waits` for whoever began to write before it: what he writes may be recorded before it.
    """
    at = change.effective_at
    assert at is not None
    recorded = all_recorded_until(by_others=True)
    if recorded is not None and recorded < at:
        raise Waits(f"It waits for {oldest_writer()}.")
    steps = RepricingStep.objects.filter(kind=RepricingStep.Kind.PRICE)
    # Copies of just its instant wait in their turn for what is of that instant and has not begun.
    at_it = steps.filter(effective_at=at)
    if (
        steps.filter(effective_at__lt=at).exists()
        or Repricing.objects.due().filter(planned_at=None, effective_at__lte=at).exists()
        or (at_it.exists() and not begins_with_others(change))
    ):
        raise LockHeld("Changes that came before have yet to be copied.")


def _move_at_once(change: PriceChange) -> None:
    """Move all rows in the transaction that lists them, if they are no more than a chunk's.

    So nobody sees a mixture. A set that has a row which can't be written goes by chunks.
    """
    try:
        with transaction.atomic():
            for work in Repricing.objects.filter(change_id=change.pk).due():
                if chunks.do_all(work):
                    Repricing.objects.filter(pk=work.pk).update(finished_at=Clock())
    except (OperationalError, InterfaceError):
        raise
    except DatabaseError:
        return
    done = Repricing.objects.filter(change_id=change.pk).exclude(finished_at=None)
    if not change.note and done and not any(work.repriced for work in done):
        change.note = "It has moved no subscription: the outcome says why."


def _make_steps(change: PriceChange, stays: dict[str, int]) -> None:
    skipped = sum(stays.values())
    assert change.effective_at is not None
    work = Repricing.objects.create(
        kind=Repricing.Kind.ROWS,
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
        why = "the outcome says why" if skipped else "its filter finds none"
        change.note = f"It has moved no subscription: {why}."
    Repricing.objects.filter(pk=work.pk).update(
        subscriptions=listed + skipped, finished_at=None if listed else Clock()
    )
