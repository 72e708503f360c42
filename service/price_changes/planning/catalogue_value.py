"""The list price, or the discount, that a change of the catalogue is about."""

from __future__ import annotations

from decimal import Decimal

from price_changes.models import PriceChange
from services import catalogue_values
from services.catalogue_subject import CatalogueSubject
from services.models import book_clock

Kind, Status = PriceChange.Kind, PriceChange.Status
CATALOGUE = (Kind.LIST_PRICE, Kind.DISCOUNT)


def subject(change: PriceChange) -> CatalogueSubject:
    """The service or plan that a change of the catalogue is about."""
    if change.kind == Kind.LIST_PRICE:
        return CatalogueSubject("service", change.service_id or 0)
    return CatalogueSubject("plan", change.plan_id or 0)


def value_now(change: PriceChange) -> Decimal | None:
    """What is in force now; None where the service or the plan was deleted. One query."""
    return catalogue_values.value_at(subject(change))


def value_without(change: PriceChange) -> Decimal | None:
    """What is in force when this change is taken back: list price or discount. 2 queries or more.

    When a revert is taken back, what it had taken back counts again.
    """
    taken_back = change.reverts is None or change.counts_again
    return catalogue_values.value_if(
        subject(change), change.first.pk, counts=not taken_back, at=book_clock()
    )


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
