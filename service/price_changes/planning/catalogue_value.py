"""The list price, or the discount, that a change of the catalogue is about."""

from __future__ import annotations

from decimal import Decimal

from price_changes.kinds import is_of_catalogue, subject_of
from price_changes.models import PriceChange
from services import catalogue_values
from services.models import book_clock

Status = PriceChange.Status


def value_now(change: PriceChange) -> Decimal | None:
    """The value in force now; None if the service or the plan was deleted. One query."""
    return catalogue_values.value_at(subject_of(change))


def value_without(change: PriceChange) -> Decimal | None:
    """The list price or discount in force if this change is taken back. 2 queries or more.

    If a revert is taken back, the change that it had taken back counts again.
    """
    taken_back = change.reverts is None or change.counts_again
    return catalogue_values.value_if(
        subject_of(change), change.first.pk, counts=not taken_back, at=book_clock()
    )


def values_now(change: PriceChange) -> tuple[Decimal | None, Decimal | None]:
    """The value before a change and the value after it, as of now. Up to five queries.

    The value after a revert is the one in force without the change that it takes back. (None, None)
    for a set; the stored values if the service or the plan was deleted.
    """
    if not is_of_catalogue(change):
        return None, None
    old = value_now(change)
    if old is None:
        return change.old_value, change.new_value
    return old, change.new_value if change.reverts is None else value_without(change.reverts)


def value_since(change: PriceChange) -> Decimal | None:
    """The catalogue's value now, if a change that has not begun was previewed at another one.

    One query for a change of the catalogue.
    """
    if not is_of_catalogue(change) or change.preview is None:
        return None
    if change.started_at is not None or change.status == Status.CANCELLED:
        return None
    now = value_now(change)
    return None if now == change.old_value else now
