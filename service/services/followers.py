"""What a change of the catalogue does to its followers, among rows of one (service, plan)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Q, Subquery

from services.models import LedgerEntry, Plan, Repricing, Service, Subscription
from services.price_writes import ledger_origin
from services.pricing import rule_price
from services.querysets import SubscriptionQuerySet


def move(rows: SubscriptionQuerySet, service_id: int, plan_id: int) -> int:
    """Write the rule's price where another one stands, among rows of one (service, plan).

    Wants the catalogue's locks. One entry of the ledger for each change that fell due, though the
    row is written once.
    """
    price = rule_price(
        Service.objects.values_list("full_price", flat=True).get(pk=service_id),
        Plan.objects.values_list("discount_percent", flat=True).get(pk=plan_id),
    )
    # One table and a constant: a row that somebody else has just written is judged anew by all
    # of these conditions when its lock is free.
    followers = rows.filter(service_id=service_id, plan_id=plan_id).following()
    differing = followers.exclude(price=price)
    events = _events(service_id, plan_id)
    if len(events) > 1:
        return _move_through(events, followers, price)
    with ledger_origin(*(events[0][1:3] if events else ())):
        return differing.update(price=price)


def _events(service_id: int, plan_id: int) -> list[tuple[int, int | None, datetime, bool]]:
    """Changes of the catalogue for this pair from the first one that is due on, in order."""
    of_pair = Repricing.objects.concerning(service_id, plan_id).exclude(new_value=None)
    first = (
        of_pair.due()
        .filter(paused_at=None)
        .order_by("effective_at", "pk")
        .values_list("effective_at", flat=True)
        .first()
    )
    if first is None:
        return []
    return list(
        of_pair.filter(effective_at__gte=first)
        .order_by("effective_at", "pk")
        .values_list(
            "position",
            "change_id",
            "effective_at",
            ExpressionWrapper(Q(finished_at=None), output_field=BooleanField()),
        )
    )


# A subscription owes an entry for each due change that its newest entry does not know of, and for
# each later one again, since the price in force from then on is another: a worker may come late.
THROUGH = """
WITH event AS (
    SELECT position, change_id, effective_at, due, number
      FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[], %s::boolean[])
           WITH ORDINALITY event (position, change_id, effective_at, due, number)
), owing AS (
    SELECT subscription.*,
           (SELECT min(effective_at) FROM event
             WHERE due AND position > (SELECT max(entry.id) FROM services_ledgerentry entry
                                        WHERE entry.subscription_id = subscription.id)) AS since
      FROM services_subscription subscription WHERE id = ANY (%s)
)
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, effective_at,
        change_id)
SELECT owing.id, client_id, service_id, plan_id,
       price_rule_at(service_id, plan_id, event.effective_at), 'follows', event.effective_at,
       event.change_id
  FROM owing JOIN event ON event.effective_at >= owing.since
 ORDER BY owing.id, number
RETURNING subscription_id
"""


def _move_through(
    events: list[tuple[int, int | None, datetime, bool]],
    followers: SubscriptionQuerySet,
    price: Decimal,
) -> int:
    # Locked in a statement of their own: the next one sees the entries of whom it has waited for.
    locked = list(followers.order_by().select_for_update(no_key=True).values_list("pk", flat=True))
    with connection.cursor() as cursor:
        columns = [list(column) for column in zip(*events, strict=True)]
        cursor.execute(THROUGH, [*columns, locked])
        written = {id for (id,) in cursor.fetchall()}
    with ledger_origin(kept=True):
        moved = followers.filter(pk__in=written).exclude(price=price).update(price=price)
    with ledger_origin(*events[-1][1:3]):
        return moved + followers.exclude(price=price).update(price=price)


def keep(rows: SubscriptionQuerySet, repricing: Repricing) -> int:
    """Lock followers at the price that they had before the change, which is for new ones only."""
    newest = (
        LedgerEntry.objects.filter(subscription_id=OuterRef("pk")).order_by("-id").values("id")[:1]
    )
    with ledger_origin(repricing.change_id, repricing.effective_at):
        return (
            rows.following()
            # Who came, or came to this pair, after the change has seen its price.
            .alias(newest=Subquery(newest))
            .filter(newest__lt=repricing.position)
            .update(
                price_state=Subscription.PriceState.LOCKED,
                locked_until=repricing.locked_until,
                price_reason=f"Price change {repricing.change_id} is for new subscriptions only",
            )
        )
