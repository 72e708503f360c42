"""Entering the rows of a set into the ledger, in the commit that lists them.

`listing` calls it for a set of more rows than one transaction may lock. From that commit on the set
is in force for all readers, and `moving` copies its rows, a chunk at a time.

    enter()   enter all rows that move, without a lock of any; then, while no other writer is in the
              middle of a transaction, what somebody has written upon the set since its instant
"""

from __future__ import annotations

from django.db import connection
from django.db.models import Max

from price_changes.models import ListedRows, PriceChange
from price_changes.running import late_rows
from price_changes.running.judging import JUDGED, LATE, judged_with, stamp_of, values_of
from pricebook.kit.points import at_point
from services.models import LedgerEntry, Repricing, RepricingStep
from services.repricing import accounts
from services.repricing.writes import backdate

# Rows that can't be written have no price in the list (NaN), and are left to `moving`.
ENTER = (
    JUDGED  # noqa: S608 - constants
    + """
), moved AS (
    SELECT subscription.id, client_id, service_id, plan_id, target AS price,
           target_state AS price_state, target_until AS locked_until, started_at, ended_at,
           is_listed, true AS has_moved
      FROM judged
      JOIN services_subscription subscription ON subscription.id = item_id
     WHERE reason IS NULL AND target <> 'NaN'
       AND (target, target_state, target_until) IS DISTINCT FROM (old_price, old_state, old_until)
), entered AS (
    INSERT INTO services_ledgerentry
           (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
            started_at, ended_at, effective_at, recorded_at, change_id)
    {entries}
)
SELECT ARRAY(SELECT item_id FROM judged WHERE reason = 'late' AND target <> 'NaN'),
       ARRAY(SELECT id FROM moved)
"""
)

ALONE = "SELECT pg_advisory_xact_lock('services_repricing'::regclass::oid::int, 0)"

# The rows that were entered while others were writing them, or were waiting to commit that.
WRITTEN_UPON = """
WITH others AS MATERIALIZED (
    SELECT subscription_id FROM services_ledgerentry
     WHERE xact >= %(oldest)s AND xact < ledger_xact() AND effective_at > %(effective)s
     UNION
    SELECT subscription_id FROM services_ledgerentry
     WHERE xact > ledger_xact() AND effective_at > %(effective)s
     UNION
    SELECT unnest(subscription_ids) FROM services_movedfollowers
     WHERE xact >= %(oldest)s AND xact <> ledger_xact() AND effective_at > %(effective)s
)
SELECT subscription_id FROM others
 WHERE EXISTS (SELECT FROM services_ledgerentry own
                WHERE own.change_id = %(change)s AND own.subscription_id = others.subscription_id
                  AND own.id > %(after)s)
"""
OLDEST = "SELECT ledger_oldest()"
# Counted once for all: how far the copying has come is no part of the outcome.
IN_FORCE = """
UPDATE services_repricing
   SET planned_at = book_clock(), listed_reason = %(reason)s, listed_after = %(after)s,
       listed_up_to = (SELECT max(id) FROM services_ledgerentry),
       repriced = (SELECT count(DISTINCT subscription_id) FROM services_ledgerentry
                    WHERE change_id = %(change)s AND id > %(after)s)
 WHERE id = ANY (%(works)s)
"""
VERSION_MOVES = "INSERT INTO services_subtotal DEFAULT VALUES"


def enter(change: PriceChange) -> None:
    """Enter the rows of a change's list into the ledger, in the caller's transaction.

    Waits for others that write subscriptions, and they for it, for the end of it alone. For each
    stretch of the list two queries.
    """
    works = list(Repricing.objects.filter(change_id=change.pk).due())
    after = _newest()
    with connection.cursor() as cursor:
        cursor.execute(OLDEST)
        (oldest,) = cursor.fetchone()
    late: list[int] = []
    for work in works:
        backdate(work.effective_at)  # first: then no entry has to note it
        for step in work.steps.filter(kind=RepricingStep.Lane.PRICE).order_by("pk"):
            step.repricing = work
            late += _enter_step(change, step)
    at_point("rows entered")
    lock_alone()
    with connection.cursor() as cursor:
        cursor.execute(
            WRITTEN_UPON,
            {
                "change": change.pk,
                "effective": change.effective_at,
                "oldest": oldest,
                "after": after,
            },
        )
        late += [pk for (pk,) in cursor.fetchall()]
    if late:
        late_rows.move_listed(change, sorted(set(late)))
    with connection.cursor() as cursor:
        cursor.execute(
            IN_FORCE,
            {
                "change": change.pk,
                "after": after,
                "reason": None if change.reverts is not None else change.why,
                "works": [work.pk for work in works],
            },
        )
        cursor.execute(VERSION_MOVES)
    at_point("set in force")


def lock_alone() -> None:
    """Wait until nobody is in the middle of writing subscriptions, and keep others out."""
    with connection.cursor() as cursor:
        cursor.execute(ALONE)


def _enter_step(change: PriceChange, step: RepricingStep) -> list[int]:
    """Enter the rows of one (service, plan); return those that were written since the instant."""
    late: list[int] = []
    stretches = ListedRows.objects.filter(
        change_id=change.pk, service_id=step.service_id, plan_id=step.plan_id
    ).order_by("first_id")
    for stretch, last in stretches.values_list("pk", "last_id"):
        values = values_of(change, step, stretch, last) | {"after": 0}
        with connection.cursor() as cursor:
            cursor.execute(LATE, values)
            (moved_at,) = cursor.fetchone()
            values["ruled_at"] = moved_at or step.repricing.effective_at
            if moved_at is not None:
                accounts.wait_for_counts(step)
            before = _newest()
            _, written = stamp_of(change)
            cursor.execute(
                ENTER.format(**judged_with(change, moved_at is not None), **written), values
            )
            written_since, entered = cursor.fetchone()
        late += written_since
        if moved_at is not None:
            # Entries of later instants are those of other changes, and count for them.
            accounts.correct(entered, before)
    return late


def _newest() -> int:
    newest: int = LedgerEntry.objects.aggregate(id=Max("id", default=0))["id"]
    return newest
