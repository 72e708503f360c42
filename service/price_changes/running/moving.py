"""Moving the rows of a set, a chunk at a time, from the list that `listing` has made.

Every drain of the workers (`services.repricing`) calls it, by way of `services.hooks`.

    move_rows()   judge a chunk by one statement, which moves a row or skips it with the reason;
                  rows that somebody has written meanwhile are locked and judged anew
    next_row()    take the row that can't be written off the list

A set that is moved late never overwrites a later instant: later entries of a row apply on top of
what the set makes of it (`late_rows`).
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Max

from price_changes.kinds import kind_of
from price_changes.models import ListedRows, PriceChange
from price_changes.running import late_rows
from pricebook.kit.points import at_point
from services.hooks import Chunk
from services.models import LedgerEntry, RepricingStep, Skip, Subscription
from services.repricing import accounts, lock_ends
from services.repricing.locks import lock_catalogue
from services.repricing.writes import CLIENT_THEN, backdate, ledger_origin

WhenMoved = PriceChange.WhenMoved

NEEDED = ("kind", "adjustment", "comment", "when_moved", "reverts", "effective_at", "approved_by")

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

# The moves of the catalogue since the instant, up to a change for new subscriptions only: that one
# keeps the rows that the set lets follow, by its own steps.
MOVED_SINCE = f"""
       SELECT * FROM ({
    lock_ends.MOVED_SINCE.format(since="%(effective)s", service="%(service)s", plan="%(plan)s")
}) moved
        WHERE NOT EXISTS (
              SELECT FROM services_cataloguevalue keep
               WHERE for_new_only AND value IS NOT NULL AND NOT undone @> effective_at
                 AND effective_at > %(effective)s AND effective_at <= moved.effective_at
                 AND (service_id = %(service)s OR plan_id = %(plan)s))
"""  # noqa: S608 - constants
LATE = f"SELECT max(effective_at) FROM ({MOVED_SINCE}) moved"  # noqa: S608 - a constant

# Rows are judged by what this statement sees, without a lock, which would write each row once more.
# If somebody has written a row since, the update finds another version of it under its lock: the
# row stays, and is returned in the third column, to be locked and judged anew. So is a row whose
# lock has ended.
# The ctid is not compared by "=": that may become a TID scan, and older minor versions of
# PostgreSQL do not compare its ctid again when the lock is there.
MOVE = """
WITH item AS MATERIALIZED (
    SELECT item.*, service_id AS item_service, plan_id AS item_plan
      FROM price_changes_listedrows,
           unnest(ids, prices, price_states, untils, new_prices, new_states, new_untils)
           AS item (item_id, item_price, item_state, item_until, new_price, new_state, new_until)
     WHERE id = %(stretch)s AND item_id > %(after)s AND item_id <= %(last)s
       AND (%(only)s::bigint[] IS NULL OR item_id = ANY (%(only)s::bigint[]))
     ORDER BY item_id
), copied AS MATERIALIZED (
    SELECT DISTINCT unnest(subscription_ids) AS id FROM services_movedfollowers
     WHERE service_id = %(service)s AND plan_id = %(plan)s AND effective_at > %(effective)s
       AND first_id <= %(last)s AND last_id > %(after)s
), known AS (
    SELECT item.*, subscription.ctid AS version, copied.id IS NOT NULL AS is_copied,
           subscription.id, subscription.price, subscription.price_state AS state, locked_until,
           subscription.service_id, subscription.plan_id, ended_at, subscription.comment,
           subscription.stamp, subscription.price_reason,
           newest.change_id AS newest_change, newest.effective_at AS newest_at,
           written_over.comment AS comment_before, written_over.stamp AS stamp_before,
           coalesce(written_over.price_reason, '') AS reason_before
      FROM item
      LEFT JOIN services_subscription subscription ON subscription.id = item_id
      LEFT JOIN LATERAL (
           SELECT change_id, effective_at FROM services_ledgerentry
            WHERE subscription_id = item_id AND NOT period_only
            ORDER BY id DESC LIMIT 1) newest ON true
      LEFT JOIN copied ON copied.id = item_id
      LEFT JOIN services_stampedcomment written_over
        ON written_over.change_id = %(reverts)s AND written_over.subscription_id = item_id
), judged AS MATERIALIZED (
    SELECT item_id, version, target, new_state, new_until, newest_change, price AS old_price,
           state AS old_state, locked_until AS old_until, comment AS old_comment,
           stamp AS old_stamp, price_reason AS old_reason {new_comment},
           CASE WHEN new_state = 'follows' THEN '' ELSE {why} END AS new_reason,
           CASE WHEN (newest_at > %(effective)s OR is_copied) AND {is_late} THEN 'late'
                WHEN id IS NULL THEN 'deleted'
                WHEN ended_at <= %(effective)s THEN {ended}
                WHEN %(only)s::bigint[] IS NULL AND locked_until <= %(effective)s
                THEN 'again'
                {reasons}
           END AS reason
      FROM (SELECT *, CASE WHEN new_state = 'follows'
                           THEN price_rule_at(service_id, plan_id, %(ruled_at)s)
                           ELSE new_price END AS target FROM known) targeted
), moved AS (
    UPDATE services_subscription subscription
       SET price = target, price_state = new_state, locked_until = new_until,
           price_reason = new_reason {set_comment}
      FROM judged
     WHERE subscription.id = item_id AND reason IS NULL
       AND subscription.ctid IS NOT DISTINCT FROM version
    RETURNING id, client_id, service_id, plan_id, price, price_state, locked_until, started_at,
              ended_at, old_comment, old_stamp, old_reason, comment <> old_comment AS is_stamped,
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
      FROM judged WHERE reason NOT IN ('again', 'late')
)
SELECT (SELECT count(*) FROM moved),
       (SELECT count(*) FROM moved WHERE is_stamped),
       ARRAY(SELECT item_id FROM judged WHERE coalesce(reason, 'again') = 'again'
             EXCEPT SELECT id FROM moved),
       ARRAY(SELECT item_id FROM judged WHERE reason = 'late')
"""

# An end before the instant that was recorded after it makes the row a late one.
ENDED = """
                       CASE WHEN (SELECT ended_at FROM period_known(id, %(effective)s))
                                 <= %(effective)s THEN 'ended' ELSE 'late' END"""

ENTRY = """
    SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
           started_at, ended_at, %(effective)s, (SELECT book_clock()), %(change)s
      FROM moved WHERE has_moved ORDER BY id
"""

# For a late worker, if the catalogue has moved since the instant: a row that follows again has had
# the rule's price of each instant since.
ENTRIES = f"""
    SELECT id, {CLIENT_THEN.format(subscription="moved", at="event.effective_at")},
           service_id, plan_id,
           CASE WHEN price_state = 'follows'
                THEN price_rule_at(service_id, plan_id, event.effective_at) ELSE price END,
           price_state, locked_until, started_at, ended_at, event.effective_at,
           (SELECT book_clock()), event.change_id
      FROM moved
      JOIN (SELECT %(effective)s::timestamptz AS effective_at, %(change)s::bigint AS change_id,
                   0 AS position
             UNION ALL
            {MOVED_SINCE}) event ON price_state = 'follows' OR position = 0
     WHERE has_moved
     ORDER BY id, event.effective_at, position
"""  # noqa: S608 - constants

# A stamp replaces no comment of a person's; taking it back restores only what it has replaced.
STAMPS = "CASE WHEN comment = '' OR comment = stamp THEN %(stamp)s ELSE {0} END"
UNSTAMPS = "CASE WHEN (comment, stamp) = (%(stamp)s, %(stamp)s) THEN {0}_before ELSE {0} END"

AS_APPROVED = """
    WHEN (price, state, locked_until, service_id, plan_id) IS DISTINCT FROM
         (item_price, item_state, item_until, item_service, item_plan) THEN 'moved_since'
"""
# A row that the catalogue has moved after the instant of a revert stays: an entry of the revert
# would come before that of the move, so it could not be the last one in force.
TOUCHED_SINCE = """
    WHEN is_copied OR newest_change IS DISTINCT FROM %(reverts)s
         AND (newest_at > %(effective)s OR NOT has_last_word(%(reverts)s, item_id))
         THEN 'touched_since'
"""
GIVEN_A_REASON = " WHEN state <> 'follows' AND price_reason <> %(undone_why)s THEN 'touched_since'"


def move_rows(step: RepricingStep, size: int) -> Chunk:
    """Move the next `size` rows of a change's list, for the step's (service, plan)."""
    found = _next(step, size)
    if found is None:
        return Chunk(0, step.last_id, 0, True)
    stretch, last, rows = found
    change = _change_of(step)
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
    backdate(step.repricing.effective_at)  # first: then no entry has to note it
    moved, stamped, left, written = _move(move, values, late)
    if left:
        # In the order of ids, and before they are judged: then they stay as they are read next.
        with connection.cursor() as cursor:
            cursor.execute(LOCK, values | {"ids": left})
            at_point("rows locked")
            for until, ended in cursor.fetchall():
                lock_ends.follow_since(until, ended)
        moved_now, stamped_now, left, written_now = _move(move, values | {"only": left}, late)
        assert not left, "a row that is locked was written"
        moved, stamped = moved + moved_now, stamped + stamped_now
        written += written_now
    if written:
        moved += _move_late(change, values, written)
    _forget(step, last)
    return Chunk(rows, last, moved, last == step.last_id, stamped)


LISTED = """
SELECT item.*, service_id, plan_id
  FROM price_changes_listedrows listed,
       unnest(ids, prices, price_states, untils, new_prices, new_states, new_untils)
       AS item (id, price, price_state, until, new_price, new_state, new_until)
 WHERE listed.id = %(stretch)s AND item.id = ANY (%(late)s)
"""


def _move_late(change: PriceChange, values: dict[str, Any], ids: list[int]) -> int:
    """Move the rows that somebody has written since the instant; return how many moved."""
    list(Subscription.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True))
    with connection.cursor() as cursor:
        cursor.execute(LISTED, values | {"late": ids})
        rows = [late_rows.LateRow(*row) for row in cursor.fetchall()]
    moved, moved_before = late_rows.move(rows, change)
    if moved_before:
        Skip.objects.bulk_create(
            Skip(repricing_id=values["repricing"], reason="moved_since", subscription_id=pk)
            for pk in moved_before
        )
    return moved


def _move(move: str, values: dict[str, Any], late: bool) -> tuple[int, int, list[int], list[int]]:
    """Run the statement; return the numbers of moved and stamped rows, the ids to be locked and
    judged anew, and the ids that somebody has written since the instant."""
    newest = LedgerEntry.objects.aggregate(id=Max("id"))["id"] if late else None
    with connection.cursor() as cursor, ledger_origin(writes_entries=True):
        cursor.execute(move, values)
        found: tuple[int, int, list[int], list[int]] = cursor.fetchone()
        at_point("rows judged")
    if newest is not None:
        # Entries of later instants are those of other changes, and count for them.
        listed = ListedRows.objects.values_list("ids", flat=True).get(pk=values["stretch"])
        ids = [id for id in listed if values["after"] < id <= values["last"]]
        accounts.correct(values["only"] or ids, newest)
    return found


def values_of(change: PriceChange, step: RepricingStep, stretch: int, last: int) -> dict[str, Any]:
    """The parameters of `move_sql`: the rows up to `last` of a stretch of the change's list."""
    stamp, _ = _stamp(change)
    return {
        "change": change.pk,
        "service": step.service_id,
        "plan": step.plan_id,
        "stretch": stretch,
        "after": step.after_id,
        "last": last,
        "only": None,
        "repricing": step.repricing_id,
        "effective": step.repricing.effective_at,
        "ruled_at": step.repricing.effective_at,  # or later, if the worker comes late
        "reverts": change.reverts_id,
        "stamp": stamp,
        "why": change.why,
        "undone_why": change.reverts.why if change.reverts is not None else "",
    }


def move_sql(change: PriceChange, late: bool) -> str:
    """The statement that moves a chunk; `late`: the catalogue has moved since the instant."""
    _, written = _stamp(change)
    return MOVE.format(
        reasons=_reasons(change),
        is_late="false" if change.reverts is not None else "true",
        ended="'ended'" if change.reverts is not None else ENDED,
        entries=ENTRIES if late else ENTRY,
        **written,
    )


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


def _stamp(change: PriceChange) -> tuple[str, dict[str, str]]:
    """The comment that is stamped or taken back, and the SQL expressions of the values to write."""
    why = "%(why)s" if change.reverts is None else "reason_before"
    if change.comment:
        stamp, new = change.comment, STAMPS
    elif change.reverts is not None and change.reverts.comment:
        stamp, new = change.reverts.comment, UNSTAMPS
    else:
        return "", {"why": why, "new_comment": "", "set_comment": ""}
    comment, stamp_now = new.format("comment"), new.format("stamp")
    return stamp, {
        "why": why,
        "new_comment": f", {comment} AS new_comment, {stamp_now} AS new_stamp",
        "set_comment": ", comment = new_comment, stamp = new_stamp",
    }


def next_row(step: RepricingStep) -> int | None:
    """Take the row that can't be moved off the list; its id, or None if none is left."""
    found = _next(step, 1)
    if found is None:
        return None
    _, first, _ = found
    _forget(step, first)
    return first


def _next(step: RepricingStep, size: int) -> tuple[int, int, int] | None:
    """The next chunk: its stretch of the list, its last id, and its number of rows; or None."""
    with connection.cursor() as cursor:
        cursor.execute(
            NEXT,
            {
                "change": _change_id(step),
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
        cursor.execute(FORGET, [_change_id(step), step.service_id, step.plan_id, last])


def _change_of(step: RepricingStep) -> PriceChange:
    """The change, as far as its rows depend on it, and the one that it takes back. Two queries at
    most."""
    changes = PriceChange.objects.only(*NEEDED, "for_one", "reason")
    change = changes.get(pk=_change_id(step))
    if change.reverts_id is not None:
        change.reverts = changes.get(pk=change.reverts_id)
    return change


def _change_id(step: RepricingStep) -> int:
    change_id = step.repricing.change_id
    assert change_id is not None
    return change_id


def _reasons(change: PriceChange) -> str:
    if change.reverts is not None:
        return TOUCHED_SINCE + ("" if change.reverts.reverts_id else GIVEN_A_REASON)
    if change.when_moved == WhenMoved.FROZEN:
        return kind_of(change).stays_if_frozen(change) + AS_APPROVED
    return ""
