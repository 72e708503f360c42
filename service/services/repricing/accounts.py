"""What a change of the catalogue says of its rows: moved, or skipped for which reason.

A row was moved by a change if the ledger has an entry of it that the change has written, whoever
wrote it: of several changes that are due a worker writes all entries of a row at once. So a chunk
is counted by the ledger, and not by what it has just done; and who writes an entry of a change
that has counted the row already corrects its count.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection
from django.db.models import Q

from services.models import Repricing, RepricingStep, Skip

# What was moved and then deleted, or moved to another pair, has its entry in this one.
ENTERED = """
SELECT count(DISTINCT subscription_id) FROM services_ledgerentry
 WHERE change_id = %(change)s AND subscription_id > %(after)s
   AND (%(all)s OR subscription_id <= %(last)s)
   AND service_id = %(service)s AND plan_id = %(plan)s
"""

# In one snapshot, which sees what was moved: a row may have come or gone meanwhile.
COUNT = f"""
SELECT NULL, ({ENTERED})
 UNION ALL
SELECT CASE WHEN ended_at <= %(at)s THEN 'ended'
            WHEN price_state = 'follows' THEN 'unchanged' ELSE price_state END, count(*)
  FROM services_subscription row
 WHERE (service_id, plan_id, id) > (%(service)s, %(plan)s, %(after)s)
   AND (service_id, plan_id, id) <= (%(service)s, %(plan)s, %(last)s)
   AND NOT EXISTS (SELECT FROM services_ledgerentry
                    WHERE change_id = %(change)s AND subscription_id = row.id)
 GROUP BY 1
"""  # noqa: S608 - constants


def count(
    step: RepricingStep, last_id: int, done: bool, rows: int, written: int
) -> tuple[int, int]:
    """Of a chunk's rows up to `last_id`: how many there are, and how many the change has moved.

    Why the others were not is written down. `rows` were found, of which the step has `written`
    some. One query, which reads the entries of all; up to three more where a row was not moved.
    """
    work = step.repricing
    values = {
        "change": work.change_id,
        "at": work.effective_at,
        "service": step.service_id,
        "plan": step.plan_id,
        "after": step.after_id,
        "last": last_id,
        "all": done,
    }
    with connection.cursor() as cursor:
        if rows == written:
            cursor.execute(ENTERED, values)
            if cursor.fetchone() == (rows,):
                return rows, rows
        cursor.execute(COUNT, values)
        found: dict[str | None, int] = dict(cursor.fetchall())
    moved = found.pop(None)
    _skip(step, {str(reason): number for reason, number in found.items()})
    return moved + sum(found.values()), moved


def _skip(step: RepricingStep, rows: dict[str, int]) -> None:
    """Write down how many rows were not moved, by the reason."""
    winner = _winner(step.repricing) if "unchanged" in rows else None
    if winner is not None:
        # What another change has given the same thing from the same instant on.
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
    """The change whose value is in force from the instant of this one on, though it is another."""
    of_role = Q(service=work.service_id) if work.service_id else Q(plan=work.plan_id)
    later = Repricing.objects.exclude(kind="rows").filter(of_role, pk__gt=work.pk)
    of_instant = later.filter(effective_at=work.effective_at, new_value__isnull=False)
    return of_instant.order_by("-pk").values_list("change_id", flat=True).first()


# What the ledger said of a row before the new entries is the reason for which it was counted.
CORRECT = """
WITH entered AS (
    SELECT DISTINCT change_id, subscription_id, service_id, plan_id FROM services_ledgerentry
     WHERE subscription_id = ANY (%(ids)s) AND change_id IS NOT NULL AND id > %(after)s
), missed AS (
    SELECT work.id AS repricing_id, coalesce(nullif(before.price_state, 'follows'), 'unchanged')
               AS reason, count(*) AS rows
      FROM entered
      JOIN services_repricing work ON work.change_id = entered.change_id AND work.kind <> 'rows'
     CROSS JOIN LATERAL (
           SELECT price_state FROM services_ledgerentry
            WHERE subscription_id = entered.subscription_id AND id <= %(after)s
            ORDER BY id DESC LIMIT 1) before
     WHERE planned_at IS NOT NULL
       AND NOT EXISTS (SELECT FROM services_repricingstep
                        WHERE repricing_id = work.id AND kind = 'price'
                          AND (service_id, plan_id) = (entered.service_id, entered.plan_id)
                          AND after_id < subscription_id)
       AND NOT EXISTS (SELECT FROM services_ledgerentry
                        WHERE change_id = entered.change_id
                          AND subscription_id = entered.subscription_id AND id <= %(after)s)
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
"""


def correct(subscription_ids: Collection[int], after: int) -> None:
    """Count rows as moved by the changes of which they got entries with ids greater than `after`.

    Only where a change has counted the row as skipped. Once for each entry. One query.
    """
    if subscription_ids:
        with connection.cursor() as cursor:
            cursor.execute(CORRECT, {"ids": list(subscription_ids), "after": after})
