"""The counts of a change of the catalogue: the rows that it moved, and those skipped, by reason.

A change has moved a row if the ledger has an entry of the row under this change, whoever wrote it:
if several changes are due, a worker writes all entries of a row at once. So a chunk is counted from
the ledger, and not from what it has just done; and the writer of an entry under a change that has
already counted the row corrects that count. A row does not count as moved if its last entry under
the change has another price state than such a change gives: then a set that was entered late has
taken the row.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection
from django.db.models import Q

from services.about_price_states import reason_of_state
from services.models import BookNow, LockEnd, Repricing, RepricingStep, Skip, Subscription

# In one snapshot, which sees what was moved: rows may be added or deleted meanwhile. Entries are
# looked up row by row, however many the change has.
COUNT = f"""
WITH moved AS MATERIALIZED (
    SELECT unnest(subscription_ids) AS id FROM services_movedfollowers
     WHERE change_id = %(change)s AND last_id > %(after)s AND first_id <= %(last)s
)
SELECT CASE WHEN coalesce(entered, row.id IN (SELECT id FROM moved)) THEN 'moved'
            WHEN ended_at <= %(at)s THEN 'ended'
            ELSE coalesce({reason_of_state("price_state")}, 'unchanged') END, count(*)
  FROM services_subscription row
  LEFT JOIN LATERAL (
       SELECT price_state = 'follows' OR price_state = 'locked' AND %(keeps)s AS entered
         FROM services_ledgerentry
        WHERE change_id = %(change)s AND subscription_id = row.id
        ORDER BY id DESC LIMIT 1) own ON true
 WHERE (service_id, plan_id, id) > (%(service)s, %(plan)s, %(after)s)
   AND (service_id, plan_id, id) <= (%(service)s, %(plan)s, %(last)s)
 GROUP BY 1
"""  # noqa: S608 - constants


def count(step: RepricingStep, last_id: int) -> tuple[int, int]:
    """Count a chunk's rows up to `last_id`: all of them, and those that the change has moved.

    The others are stored as skipped, by reason. Two queries, up to two more if a row was not moved.
    """
    work = step.repricing
    _wait_for_releases(step, last_id)
    with connection.cursor() as cursor:
        cursor.execute(
            COUNT,
            {
                "change": work.change_id,
                "keeps": work.kind == Repricing.Mode.KEEP or work.unkeeps_change_id is not None,
                "at": work.effective_at,
                "service": step.service_id,
                "plan": step.plan_id,
                "after": step.after_id,
                "last": last_id,
            },
        )
        found: dict[str, int] = dict(cursor.fetchall())
    moved = found.pop("moved", 0)
    if found:
        _skip(step, found)
    return moved + sum(found.values()), moved


def _wait_for_releases(step: RepricingStep, last_id: int) -> None:
    """Lock the rows whose price lock has ended: somebody may be releasing them, and would not
    correct a count that is made meanwhile. A later release finds the count made.
    """
    ended = LockEnd.objects.filter(until__lte=BookNow()).values("subscription_id")
    rows = Subscription.objects.of_pair(step.service_id, step.plan_id, step.after_id, last_id)
    locked = rows.filter(price_state=Subscription.PriceState.LOCKED, pk__in=ended)
    list(locked.select_for_update(no_key=True).values_list("pk"))


def _skip(step: RepricingStep, rows: dict[str, int]) -> None:
    """Store how many rows were not moved, by reason."""
    winner = _winner(step.repricing) if "unchanged" in rows else None
    if winner is not None:
        # Another change has given the same service or plan a value from the same instant on.
        rows["superseded"] = rows.pop("unchanged")
    Skip.objects.bulk_create(
        Skip(
            repricing=step.repricing,
            reason=reason,
            rows=number,
            by_change_id=winner if reason == "superseded" else None,
        )
        for reason, number in rows.items()
    )


def _winner(work: Repricing) -> int | None:
    """The later change of the same service or plan and instant, whose value is in force instead."""
    of_role = Q(service=work.service_id) if work.service_id else Q(plan=work.plan_id)
    later = Repricing.objects.exclude(kind="rows").filter(of_role, pk__gt=work.pk)
    of_instant = later.filter(effective_at=work.effective_at, new_value__isnull=False)
    return of_instant.order_by("-pk").values_list("change_id", flat=True).first()


# A row was counted for the reason that the ledger gave before the new entries.
CORRECT = f"""
WITH entered AS (
    SELECT DISTINCT change_id, subscription_id, service_id, plan_id FROM services_ledgerentry
     WHERE subscription_id = ANY (%(ids)s) AND change_id IS NOT NULL AND id > %(after)s
), missed AS (
    SELECT work.id AS repricing_id, count(*) AS rows,
           coalesce({reason_of_state("before.price_state")}, 'unchanged') AS reason
      FROM entered
      JOIN services_repricing work ON work.change_id = entered.change_id AND work.kind <> 'rows'
     CROSS JOIN LATERAL (
           SELECT price_state FROM services_ledgerentry
            WHERE subscription_id = entered.subscription_id AND id <= %(after)s AND NOT period_only
            ORDER BY id DESC LIMIT 1) before
     WHERE planned_at IS NOT NULL
       AND NOT EXISTS (SELECT FROM services_repricingstep
                        WHERE repricing_id = work.id AND kind = 'price'
                          AND (service_id, plan_id) = (entered.service_id, entered.plan_id)
                          AND after_id < subscription_id)
       AND NOT EXISTS (SELECT FROM services_ledgerentry
                        WHERE change_id = entered.change_id
                          AND subscription_id = entered.subscription_id AND id <= %(after)s)
       AND NOT EXISTS (SELECT FROM services_movedfollowers
                        WHERE change_id = entered.change_id
                          AND entered.subscription_id BETWEEN first_id AND last_id
                          AND entered.subscription_id = ANY (subscription_ids))
     GROUP BY work.id, reason
), counted AS (
    DELETE FROM services_skip skip USING missed
     WHERE (skip.repricing_id, skip.reason) = (missed.repricing_id, missed.reason)
       AND subscription_id IS NULL
    RETURNING skip.repricing_id, skip.reason, skip.rows
), left_over AS (
    INSERT INTO services_skip (repricing_id, reason, rows)
    SELECT repricing_id, reason, sum(counted.rows) - min(missed.rows)
      FROM counted JOIN missed USING (repricing_id, reason)
     GROUP BY repricing_id, reason HAVING sum(counted.rows) > min(missed.rows)
)
UPDATE services_repricing work
   SET repriced = repriced + rows
  FROM (SELECT repricing_id, sum(rows) AS rows FROM missed GROUP BY repricing_id) missed
 WHERE work.id = missed.repricing_id
"""  # noqa: S608 - constants


def correct(subscription_ids: Collection[int], after: int) -> None:
    """Count rows as moved by the changes whose entries of them have ids greater than `after`.

    Only for changes that have counted the row as skipped. Once for each entry. One query.
    """
    if subscription_ids:
        with connection.cursor() as cursor:
            cursor.execute(CORRECT, {"ids": list(subscription_ids), "after": after})


# The rows whose entry of a change was that of a follower, and is entered again as a set that came
# late has made the row: the change has not moved them.
TAKEN = f"""
WITH entered AS (
    SELECT DISTINCT ON (change_id, subscription_id)
           change_id, subscription_id, service_id, plan_id, price_state
      FROM services_ledgerentry
     WHERE subscription_id = ANY (%(ids)s) AND change_id IS NOT NULL AND id > %(after)s
     ORDER BY change_id, subscription_id, id DESC
), taken AS (
    SELECT work.id AS repricing_id, count(*) AS rows,
           {reason_of_state("entered.price_state")} AS reason
      FROM entered
      JOIN services_repricing work ON work.change_id = entered.change_id
     WHERE work.kind = 'catalogue' AND planned_at IS NOT NULL AND price_state <> 'follows'
       AND NOT EXISTS (SELECT FROM services_repricingstep
                        WHERE repricing_id = work.id AND kind = 'price'
                          AND (service_id, plan_id) = (entered.service_id, entered.plan_id)
                          AND after_id < subscription_id)
       AND coalesce(
           (SELECT known.price_state = 'follows' FROM services_ledgerentry known
             WHERE known.change_id = entered.change_id
               AND known.subscription_id = entered.subscription_id AND id <= %(after)s
             ORDER BY id DESC LIMIT 1),
           EXISTS (SELECT FROM services_movedfollowers
                    WHERE change_id = entered.change_id
                      AND entered.subscription_id BETWEEN first_id AND last_id
                      AND entered.subscription_id = ANY (subscription_ids)))
     GROUP BY work.id, reason
), skipped AS (
    INSERT INTO services_skip (repricing_id, reason, rows)
    SELECT repricing_id, reason, rows FROM taken
)
UPDATE services_repricing work SET repriced = repriced - rows
  FROM (SELECT repricing_id, sum(rows) AS rows FROM taken GROUP BY repricing_id) taken
 WHERE work.id = taken.repricing_id
"""  # noqa: S608 - constants


def take_from(subscription_ids: Collection[int], after: int) -> None:
    """Count rows as skipped by the changes that had moved them, as their entries with ids greater
    than `after` say; the opposite of `correct`. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(TAKEN, {"ids": list(subscription_ids), "after": after})


def wait_for_counts(step: RepricingStep) -> None:
    """Hold the pair's chunks of the catalogue until the commit, because they count our rows.

    For a set that was paused, and enters what has come since; before it writes a row. One query.
    """
    others = RepricingStep.objects.exclude(repricing__kind=Repricing.Mode.ROWS).filter(
        kind=RepricingStep.Lane.PRICE, service_id=step.service_id, plan_id=step.plan_id
    )
    list(others.order_by("pk").select_for_update(of=("self",)).values_list("pk"))


# Adds the rows that were moved for it, and deleted before a chunk of its own came to them. The
# entries of the change are read once, by their index. An entry says more of a row than that its
# followers were moved.
CLOSE = """
WITH own AS (
    SELECT id, change_id, repriced, kind = 'keep' OR unkeeps_change_id IS NOT NULL AS keeps
      FROM services_repricing WHERE id = %(repricing)s
), entry AS MATERIALIZED (
    SELECT DISTINCT ON (subscription_id) subscription_id, price_state
      FROM services_ledgerentry WHERE change_id = (SELECT change_id FROM own)
     ORDER BY subscription_id, id DESC
), moved AS (
    SELECT unnest(subscription_ids) AS subscription_id
      FROM services_movedfollowers WHERE change_id = (SELECT change_id FROM own)
)
UPDATE services_repricing work
   SET finished_at = book_clock(), repriced = work.repriced + missing, checked = checked + missing
  FROM (SELECT CASE WHEN change_id IS NULL THEN 0 ELSE
                    (SELECT count(*) FROM entry
                      WHERE price_state = 'follows' OR price_state = 'locked' AND keeps)
                    + (SELECT count(DISTINCT subscription_id) FROM moved
                        WHERE NOT EXISTS (
                              SELECT FROM entry
                               WHERE entry.subscription_id = moved.subscription_id))
                    - repriced END AS missing
          FROM own) entered
 WHERE id = %(repricing)s AND finished_at IS NULL AND paused_at IS NULL
"""


def close(repricing_id: int) -> None:
    """Finish a repricing of the catalogue whose steps are all done, unless it is paused."""
    with connection.cursor() as cursor:
        cursor.execute(CLOSE, {"repricing": repricing_id})
