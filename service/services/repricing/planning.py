"""The steps of a repricing: one for each (service, plan) that has subscriptions."""

from __future__ import annotations

from django.db import connection
from django.db.models import Exists, OuterRef

from pricebook.kit.points import at_point
from services.models import Clock, Repricing, RepricingStep
from services.repricing import accounts
from services.repricing.locks import LockHeld, giving_way
from services.repricing.movers import COMMENT, PRICE


def plan_due() -> bool:
    """Split new repricings into steps, and close those whose steps are all done.

    One query when there are none. False when another worker plans for longer than LOCK_TIMEOUT: the
    caller has to try again, or would leave steps that nobody has been woken for.
    """
    due = Repricing.objects.due()
    without_steps = due.exclude(Exists(RepricingStep.objects.filter(repricing=OuterRef("pk"))))
    # In the order of the edits: if two stamp the same rows, the later one's comment stays. A paused
    # one is planned too: its steps hold up those of others, which would move its rows.
    for repricing in without_steps.exclude(
        paused_at__isnull=False, planned_at__isnull=False
    ).order_by("pk"):
        try:
            if repricing.planned_at is None:
                _plan(repricing.pk)
            else:
                # Somebody who pauses or cancels the change holds its lock, and waits for this row.
                with giving_way():
                    if repricing.kind == Repricing.Mode.ROWS:
                        due.filter(pk=repricing.pk, paused_at=None).update(finished_at=Clock())
                    else:
                        accounts.close(repricing.pk)
                    at_point("repricing finished")
        except LockHeld:
            return False  # and not the next one: they are planned in order
    return True


# A step for each pair that a repricing concerns; it is then planned, and finished if there is no
# pair. (Rows that were moved for it and have all been deleted since are counted, as by
# `accounts.CLOSE`.)
SPLIT = """
WITH pair AS (
    SELECT service.id AS service_id, plan.id AS plan_id, last.id AS last_id,
           coalesce(subtotal.subscriptions, 0) AS subscriptions
      FROM services_service service
     CROSS JOIN services_plan plan
     CROSS JOIN LATERAL (
           SELECT max(id) AS id FROM services_subscription
            WHERE service_id = service.id AND plan_id = plan.id) last
      LEFT JOIN (
           SELECT service_id, plan_id, sum(subscriptions) AS subscriptions
             FROM services_subtotal GROUP BY service_id, plan_id) subtotal
        ON (subtotal.service_id, subtotal.plan_id) = (service.id, plan.id)
     WHERE last.id IS NOT NULL
       AND (%(service)s::bigint IS NULL OR service.id = %(service)s)
       AND (%(plan)s::bigint IS NULL OR plan.id = %(plan)s)
), step AS (
    INSERT INTO services_repricingstep
           (repricing_id, kind, service_id, plan_id, subscriptions, last_id,
            effective_at)
    SELECT %(repricing)s, kind, service_id, plan_id, subscriptions, last_id,
           %(effective_at)s
      FROM pair, unnest(%(kinds)s::text[]) kind
     ORDER BY kind DESC, service_id, plan_id
)
UPDATE services_repricing
   SET planned_at = book_clock(),
       finished_at = CASE WHEN NOT EXISTS (SELECT FROM pair) THEN book_clock() END,
       subscriptions = (SELECT coalesce(sum(subscriptions), 0) FROM pair),
       (repriced, checked) = (
           SELECT count(DISTINCT subscription_id), count(DISTINCT subscription_id)
             FROM (SELECT subscription_id FROM services_ledgerentry entry
                    WHERE entry.change_id = services_repricing.change_id
                    UNION ALL
                   SELECT unnest(subscription_ids) FROM services_movedfollowers moved
                    WHERE moved.change_id = services_repricing.change_id) entry
            WHERE NOT EXISTS (SELECT FROM pair))
 WHERE id = %(repricing)s
"""


def _plan(repricing_id: int) -> None:
    """Plan a step for each (service, plan) with subscriptions that the repricing concerns.

    `last_id` bounds it: a subscription that came later was priced by the catalogue as it is.
    `LockHeld` when another worker plans it.
    """
    with giving_way(), connection.cursor() as cursor:
        # A repricing that has been cancelled meanwhile is no longer due.
        due = Repricing.objects.due().filter(pk=repricing_id, planned_at=None)
        repricing = due.select_for_update().first()
        if repricing is None:
            return
        cursor.execute(
            SPLIT,
            {
                "repricing": repricing_id,
                "service": repricing.service_id,
                "plan": repricing.plan_id,
                "effective_at": repricing.effective_at,
                "kinds": [PRICE, COMMENT]
                if repricing.comment or repricing.unstamps_change_id
                else [PRICE],
            },
        )
        at_point("steps planned")
