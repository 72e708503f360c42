"""Moving the rows of a set, a chunk at a time, from the list that `listing` has made.

Every drain of the workers (`services.repricing`) calls it, by way of `services.hooks`.

    move_rows()   judge a chunk by one statement, which moves a row or skips it with the reason;
                  rows that somebody has written meanwhile are locked and judged anew
    next_row()    take the row that can't be written off the list

A set that is moved late never overwrites a later instant: later entries of a row apply on top of
what the set makes of it (`late_rows`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F, Max

from price_changes.models import ListedRows, PriceChange
from price_changes.running import late_rows
from price_changes.running.judging import (
    JUDGED,
    LATE,
    change_id_of,
    change_of,
    judged_with,
    stamp_of,
    values_of,
)
from pricebook.kit.points import at_point
from services.hooks import Chunk
from services.models import LedgerEntry, Repricing, RepricingStep, Skip
from services.repricing import accounts, lock_ends
from services.repricing.locks import lock_catalogue
from services.repricing.writes import backdate, ledger_origin

# The next chunk: it ends no later than the stretch of the list in which it begins.
NEXT = """
SELECT stretch.id, coalesce(part.last_id, stretch.last_id), coalesce(part.rows, stretch.rows)
  FROM (SELECT *, first_id > %(after)s AND rows <= %(size)s AS is_whole
          FROM price_changes_listedrows
         WHERE change_id = %(change)s AND service_id = %(service)s AND plan_id = %(plan)s
           AND last_id > %(after)s
         ORDER BY first_id LIMIT 1) stretch
  LEFT JOIN LATERAL (
       SELECT max(id) AS last_id, count(*) AS rows
         FROM (SELECT id FROM unnest(ids) id
                WHERE NOT is_whole AND id > %(after)s ORDER BY id LIMIT %(size)s) next
       HAVING count(*) > 0) part ON true
"""

FORGET = """
DELETE FROM price_changes_listedrows
 WHERE change_id = %s AND service_id = %s AND plan_id = %s AND last_id <= %s
"""

# Rows are judged without a lock, which would write each row once more. If somebody has written a
# row since, the update finds another version of it under its lock: the row stays, and is returned
# in the third column, to be locked and judged anew. So is a row whose lock has ended.
# The ctid is not compared by "=": that may become a TID scan, and older minor versions of
# PostgreSQL do not compare its ctid again when the lock is there.
MOVE = (
    JUDGED  # noqa: S608 - constants
    + """
), moved AS (
    UPDATE services_subscription subscription
       SET price = target, price_state = target_state, locked_until = target_until,
           price_reason = new_reason {set_comment}
      FROM judged
     WHERE subscription.id = item_id AND reason IS NULL
       AND subscription.ctid IS NOT DISTINCT FROM version
    RETURNING id, client_id, service_id, plan_id, price, price_state, locked_until, started_at,
              ended_at, is_listed, old_comment, old_stamp, old_reason,
              comment <> old_comment AS is_stamped,
              (price, price_state, locked_until)
              IS DISTINCT FROM (old_price, old_state, old_until) AS has_moved
), entered AS (
    INSERT INTO services_ledgerentry
           (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
            started_at, ended_at, effective_at, recorded_at, change_id)
    {entries}
), ending AS (
    INSERT INTO services_lockend (subscription_id, until)
    SELECT id, locked_until FROM moved WHERE locked_until IS NOT NULL
), written_over AS (
    INSERT INTO services_stampedcomment (change_id, subscription_id, comment, stamp, price_reason)
    SELECT %(change)s, id, old_comment, old_stamp, old_reason FROM moved
     WHERE is_stamped OR old_reason <> ''
    ON CONFLICT DO NOTHING
), skipped AS (
    INSERT INTO services_skip (repricing_id, reason, subscription_id, by_change_id)
    SELECT %(repricing)s, reason, item_id,
           CASE WHEN reason = 'touched_since' THEN newest_change END
      FROM judged WHERE reason NOT IN ('again', 'late', 'done')
)
SELECT (SELECT count(*) FROM moved WHERE NOT is_listed),
       (SELECT count(*) FROM moved),
       (SELECT count(*) FROM moved WHERE is_stamped),
       ARRAY(SELECT item_id FROM judged WHERE coalesce(reason, 'again') = 'again'
             EXCEPT SELECT id FROM moved),
       ARRAY(SELECT item_id FROM judged WHERE reason = 'late')
"""
)


def move_rows(step: RepricingStep, size: int) -> Chunk:
    """Move the next `size` rows of a change's list, for the step's (service, plan)."""
    found = _next(step, size)
    if found is None:
        return Chunk(0, step.last_id, 0, True)
    stretch, last, rows = found
    change = change_of(step)
    lock_catalogue(step.service_id, step.plan_id)
    values = values_of(change, step, stretch, last)
    with connection.cursor() as cursor:
        cursor.execute(LATE, values)
        (moved_at,) = cursor.fetchone()
    values["ruled_at"] = moved_at or step.repricing.effective_at
    late = moved_at is not None
    move = move_sql(change, late=late)
    if late:
        accounts.wait_for_counts(step)
    if step.repricing.listed_up_to is None:
        backdate(step.repricing.effective_at)  # first: then no entry has to note it
    moved, written, stamped, left, since = _move(move, values, late)
    if left:
        # In the order of ids, and before they are judged: then they stay as they are read next.
        with connection.cursor() as cursor:
            cursor.execute(LOCK, values | {"ids": left})
            at_point("rows locked")
            for until, ended in cursor.fetchall():
                lock_ends.follow_since(until, ended)
        again = _move(move, values | {"only": left}, late)
        assert not again.left, "a row that is locked was written"
        moved, stamped = moved + again.moved, stamped + again.stamped
        written, since = written + again.written, since + again.since
    if since:
        moved_late = _move_late(change, values, since)
        moved, written = moved + moved_late, written + moved_late
    _forget(step, last)
    return Chunk(rows, last, moved, last == step.last_id, stamped, written)


def _move_late(change: PriceChange, values: dict[str, Any], ids: list[int]) -> int:
    """Move the rows that somebody has written since the instant; return how many moved."""
    moved, moved_before = late_rows.move_listed(change, ids)
    if moved_before:
        Skip.objects.bulk_create(
            Skip(repricing_id=values["repricing"], reason="moved_since", subscription_id=pk)
            for pk in moved_before
        )
    return moved


class Moved(NamedTuple):
    """The result of `MOVE`."""

    moved: int  # rows that were not entered when the set was listed
    written: int  # those, and the copies of the others
    stamped: int
    left: list[int]  # to be locked and judged anew
    since: list[int]  # somebody has written them since the instant


def _move(move: str, values: dict[str, Any], late: bool) -> Moved:
    newest = LedgerEntry.objects.aggregate(id=Max("id"))["id"] if late else None
    with connection.cursor() as cursor, ledger_origin(writes_entries=True):
        cursor.execute(move, values)
        found = Moved(*cursor.fetchone())
        at_point("rows judged")
    if newest is not None:
        # Entries of later instants are those of other changes, and count for them.
        listed = ListedRows.objects.values_list("ids", flat=True).get(pk=values["stretch"])
        ids = [id for id in listed if values["after"] < id <= values["last"]]
        accounts.correct(values["only"] or ids, newest)
    return found


def move_sql(change: PriceChange, late: bool) -> str:
    """The statement that moves a chunk; `late`: the catalogue has moved since the instant."""
    _, written = stamp_of(change)
    return MOVE.format(**judged_with(change, late), **written)


# Returns rows whose lock has ended and that no sweep has released yet: they follow since then, and
# are judged so.
LOCK = """
WITH locked AS MATERIALIZED (
    SELECT id, service_id, plan_id, price_state, locked_until, ended_at
      FROM services_subscription WHERE id = ANY (%(ids)s) ORDER BY id FOR NO KEY UPDATE
)
SELECT locked_until, array_agg(id ORDER BY id) FROM locked
 WHERE price_state = 'locked' AND locked_until <= %(effective)s
   AND (service_id, plan_id) = (%(service)s, %(plan)s)
   AND (ended_at IS NULL OR ended_at > (SELECT book_clock()))
 GROUP BY locked_until ORDER BY locked_until
"""


STAYS = """
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        started_at, ended_at, effective_at, recorded_at, change_id)
SELECT subscription.id, subscription.client_id, subscription.service_id, subscription.plan_id,
       subscription.price, subscription.price_state, subscription.locked_until,
       subscription.started_at, subscription.ended_at, %s, (SELECT book_clock()), %s
  FROM services_subscription subscription CROSS JOIN LATERAL listed_as(subscription.id) entry
 WHERE subscription.id = %s
"""

# A correction that was made meanwhile has said at its end what the row was to pay by the list.
BELOW_CORRECTIONS = """
SELECT enter_since_end(ARRAY[subscription_id], ARRAY[since], (SELECT book_clock()), '')
  FROM (SELECT DISTINCT subscription_id, %s::timestamptz AS since FROM services_correction
         WHERE subscription_id = %s AND until > %s) corrected
"""


def next_row(step: RepricingStep) -> int | None:
    """Take the row that can't be moved off the list; its id, or None if none is left."""
    found = _next(step, 1)
    if found is None:
        return None
    _, first, _ = found
    _forget(step, first)
    if step.repricing.listed_up_to is not None:
        # It was entered when it was listed, and stays as it was: it is entered so, at its instant.
        backdate(step.repricing.effective_at)
        with connection.cursor() as cursor:
            cursor.execute(STAYS, [step.repricing.effective_at, change_id_of(step), first])
            entered = cursor.rowcount
            since = step.repricing.effective_at
            cursor.execute(BELOW_CORRECTIONS, [since, first, since])
        Repricing.objects.filter(pk=step.repricing_id).update(repriced=F("repriced") - entered)
    return first


def _next(step: RepricingStep, size: int) -> tuple[int, int, int] | None:
    """The next chunk: its stretch of the list, its last id, and its number of rows; or None."""
    with connection.cursor() as cursor:
        cursor.execute(
            NEXT,
            {
                "change": change_id_of(step),
                "service": step.service_id,
                "plan": step.plan_id,
                "after": step.after_id,
                "size": size,
            },
        )
        found: tuple[int, int, int] | None = cursor.fetchone()
        return found


def _forget(step: RepricingStep, last: int) -> None:
    """Delete the stretches of the list that end at `last` or before it."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET, [change_id_of(step), step.service_id, step.plan_id, last])
