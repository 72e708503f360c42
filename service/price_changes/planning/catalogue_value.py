"""The list price, or the discount, that a change of the catalogue is about."""

from __future__ import annotations

from decimal import Decimal

from django.db import connection
from django.db.models import Q

from price_changes.models import PriceChange
from services.models import Plan, Repricing, Service

Kind, Status = PriceChange.Kind, PriceChange.Status
CATALOGUE = (Kind.LIST_PRICE, Kind.DISCOUNT)


def value_now(change: PriceChange) -> Decimal | None:
    """What the catalogue says now; None where the service or the plan was deleted. One query."""
    value: Decimal | int | None
    if change.kind == Kind.LIST_PRICE:
        of_service = Service.objects.filter(pk=change.service_id or 0)
        value = of_service.values_list("full_price", flat=True).first()
    else:
        of_plan = Plan.objects.filter(pk=change.plan_id or 0)
        value = of_plan.values_list("discount_percent", flat=True).first()
    return None if value is None else Decimal(value)


def value_without(change: PriceChange) -> Decimal | None:
    """What is in force when this change is taken back: list price or discount. 2-4 queries.

    That is the value of the greatest (instant, approval) that is neither cancelled nor taken back.
    When a revert is taken back, what it had taken back counts again.
    """
    first = change.first
    in_force = Q(status__in=[Status.APPLYING, Status.PAUSED, Status.APPLIED]) & ~Q(pk=first.pk)
    if first.status == Status.REVERTED:
        in_force |= Q(pk=first.pk)
    newest = (
        PriceChange.objects.filter(
            in_force,
            kind=change.kind,
            service=change.service_id,
            plan=change.plan_id,
            reverts=None,
            started_at__isnull=False,
        )
        .order_by("-effective_at", "-approval")
        .first()
    )
    # Of a service or a plan that came behind its subscriptions, or was edited before there were
    # price changes.
    unowned = (
        Repricing.objects.filter(
            service=change.service_id, plan=change.plan_id, change_id=None, new_value__isnull=False
        )
        .order_by("-effective_at", "-pk")
        .first()
    )
    if newest is not None:
        assert newest.effective_at is not None
        if unowned is None or unowned.effective_at <= newest.effective_at:
            return newest.new_value
    if unowned is not None:
        return unowned.new_value
    name = "list_price_at" if change.kind == Kind.LIST_PRICE else "discount_at"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {name}(%s, '-infinity')",
            [change.service_id or change.plan_id],
        )
        (value,) = cursor.fetchone()
    return None if value is None else Decimal(value)


def values_now(change: PriceChange) -> tuple[Decimal | None, Decimal | None]:
    """From which value to which it would lead now: a revert leads to what is in force without.

    (None, None) for a change of a set; as it was where the service or plan was deleted. Up to five
    queries.
    """
    if change.kind not in CATALOGUE:
        return None, None
    old = value_now(change)
    if old is None:
        return change.old_value, change.new_value
    return old, change.new_value if change.reverts is None else value_without(change.reverts)


def value_since(change: PriceChange) -> Decimal | None:
    """The catalogue's value, where a change that has not begun was previewed at another one.

    One query for a change of the catalogue.
    """
    if change.kind not in CATALOGUE or change.preview is None:
        return None
    if change.started_at is not None or change.status == Status.CANCELLED:
        return None
    now = value_now(change)
    return None if now == change.old_value else now
