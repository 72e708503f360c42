"""How the rows of a set are judged, a stretch of its list at a time.

`entering` enters those that move, in the commit that lists them; `moving` copies them, and moves
those that could not be entered then. Both begin with the same statement.
"""

from __future__ import annotations

from typing import Any

from price_changes.kinds import kind_of
from price_changes.models import PriceChange
from services.models import RepricingStep
from services.repricing import lock_ends
from services.repricing.writes import CLIENT_THEN

WhenMoved = PriceChange.WhenMoved

NEEDED = (
    "kind",
    "adjustment",
    "comment",
    "when_moved",
    "reverts",
    "effective_at",
    "approved_by",
    "for_one",
    "reason",
)

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

# Rows are judged by what this statement sees, without a lock. A row that was entered when its set
# was listed, and that nobody has written since, has that entry as its newest one (`is_listed`): the
# copy takes it from there. A row that has a later entry is done: its writer has copied it first.
JUDGED = """
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
           subscription.id, subscription.price, subscription.price_state AS state,
           subscription.locked_until,
           subscription.service_id, subscription.plan_id, ended_at, subscription.comment,
           subscription.stamp, subscription.price_reason,
           newest.change_id AS newest_change, newest.effective_at AS newest_at,
           coalesce(newest.id > %(after_id)s AND newest.id <= %(up_to_id)s, false)
           AND (newest.change_id = %(change)s OR {own}) AS is_listed,
           newest.price AS listed_price, newest.price_state AS listed_state,
           newest.locked_until AS listed_until,
           written_over.comment AS comment_before, written_over.stamp AS stamp_before,
           coalesce(written_over.price_reason, '') AS reason_before
      FROM item
      LEFT JOIN services_subscription subscription ON subscription.id = item_id
      LEFT JOIN LATERAL (
           SELECT id, change_id, effective_at, price, price_state, locked_until
             FROM services_ledgerentry
            WHERE subscription_id = item_id AND NOT period_only
            ORDER BY id DESC LIMIT 1) newest ON true
      LEFT JOIN copied ON copied.id = item_id
      LEFT JOIN services_stampedcomment written_over
        ON written_over.change_id = %(reverts)s AND written_over.subscription_id = item_id
), judged AS MATERIALIZED (
    SELECT item_id, version, target, target_state, target_until, is_listed, newest_change,
           price AS old_price, state AS old_state, locked_until AS old_until,
           comment AS old_comment, stamp AS old_stamp, price_reason AS old_reason {new_comment},
           CASE WHEN is_listed AND (price, state, locked_until) IS NOT DISTINCT FROM
                                   (target, target_state, target_until) THEN price_reason
                WHEN target_state = 'follows' THEN '' ELSE {why} END AS new_reason,
           CASE WHEN is_listed
                THEN CASE WHEN id IS NULL OR ended_at <= %(effective)s THEN 'done' END
                WHEN %(up_to_id)s::bigint IS NOT NULL AND {own} THEN 'done'
                WHEN (newest_at > %(effective)s OR is_copied) AND {is_late} THEN 'late'
                WHEN id IS NULL THEN 'deleted'
                WHEN ended_at <= %(effective)s THEN {ended}
                WHEN %(only)s::bigint[] IS NULL AND locked_until <= %(effective)s
                THEN 'again'
                {reasons}
           END AS reason
      FROM (SELECT *, CASE WHEN is_listed AND (state, listed_state) = ('follows', 'follows')
                           THEN price  -- which a change of the catalogue may have moved since
                           WHEN is_listed THEN listed_price
                           WHEN new_state = 'follows'
                           THEN price_rule_at(service_id, plan_id, %(ruled_at)s)
                           ELSE new_price END AS target,
                   CASE WHEN is_listed THEN listed_state ELSE new_state END AS target_state,
                   CASE WHEN is_listed THEN listed_until ELSE new_until END AS target_until
              FROM known) targeted
"""

OWN = """EXISTS (SELECT FROM services_ledgerentry own
                    WHERE own.change_id = %(change)s AND own.subscription_id = item_id)"""
# An end before the instant that was recorded after it makes the row a late one.
ENDED = """
                       CASE WHEN (SELECT ended_at FROM period_known(id, %(effective)s))
                                 <= %(effective)s THEN 'ended' ELSE 'late' END"""

ENTRY = """
    SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
           started_at, ended_at, %(effective)s, (SELECT book_clock()), %(change)s
      FROM moved WHERE has_moved AND NOT is_listed ORDER BY id
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
     WHERE has_moved AND NOT is_listed
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


def change_of(step: RepricingStep) -> PriceChange:
    """The change, as far as its rows depend on it, and the one that it takes back. Two queries at
    most."""
    changes = PriceChange.objects.only(*NEEDED)
    change = changes.get(pk=change_id_of(step))
    if change.reverts_id is not None:
        change.reverts = changes.get(pk=change.reverts_id)
    return change


def change_id_of(step: RepricingStep) -> int:
    change_id = step.repricing.change_id
    assert change_id is not None
    return change_id


def values_of(change: PriceChange, step: RepricingStep, stretch: int, last: int) -> dict[str, Any]:
    """The parameters of `move_sql`: the rows up to `last` of a stretch of the change's list."""
    stamp, _ = stamp_of(change)
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
        "after_id": step.repricing.listed_after,
        "up_to_id": step.repricing.listed_up_to,
        "reverts": change.reverts_id,
        "stamp": stamp,
        "why": change.why,
        "undone_why": change.reverts.why if change.reverts is not None else "",
    }


def stamp_of(change: PriceChange) -> tuple[str, dict[str, str]]:
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


def reasons_of(change: PriceChange) -> str:
    if change.reverts is not None:
        return TOUCHED_SINCE + ("" if change.reverts.reverts_id else GIVEN_A_REASON)
    if change.when_moved == WhenMoved.FROZEN:
        return kind_of(change).stays_if_frozen(change) + AS_APPROVED
    return ""


def judged_with(change: PriceChange, late: bool) -> dict[str, str]:
    """The parts of a statement that begins with JUDGED; `late`: the catalogue has moved since the
    instant."""
    return {
        "own": OWN,
        "reasons": reasons_of(change),
        "is_late": "false" if change.reverts is not None else "true",
        "ended": "'ended'" if change.reverts is not None else ENDED,
        "entries": ENTRIES if late else ENTRY,
    }
