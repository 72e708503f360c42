"""The part of scheduled sets in the total that is paid at an instant to come, by their previews.

The ledger knows the total of an instant to come but for sets, whose rows are known when they begin
(`services.ledger.course`). The preview of a set has what its rows pay at its instant, behind all
that comes before it. Later that holds as long as nothing else concerns these rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils.dateparse import parse_datetime

from price_changes.kinds import OF_ROWS, is_of_catalogue, subject_of
from price_changes.models import PriceChange
from price_changes.planning.around import may_share_rows
from price_changes.planning.noticed import is_stopped

Adjustment = PriceChange.Adjustment


@dataclass(frozen=True)
class OfSets:
    """The difference that sets make to a total. `counted`: whether there is any. `rough`: their
    previews don't say what is paid at that instant."""

    difference: Decimal
    counted: bool
    rough: bool


def of_sets(changes: Sequence[PriceChange], at: datetime) -> OfSets:
    """The difference that sets among scheduled changes make to the total at an instant. No query.

    `changes`: all that come by then, in their order, with those of the catalogue, and without
    those that are held.
    """
    difference, counted, rough = Decimal(0), False, False
    for place, change in enumerate(changes):
        if change.kind in OF_ROWS and change.preview:
            difference += paid_difference(change)
            counted = True
            rough = rough or not _holds(change, changes[:place], changes[place + 1 :], at)
    return OfSets(difference, counted, rough)


def scheduled_until(at: datetime, but: PriceChange) -> list[PriceChange]:
    """The other changes that come until an instant, in their order: none that the brake or its
    notice holds, by what is known now. One query."""
    found = PriceChange.objects.filter(
        ~is_stopped(), status=PriceChange.Status.SCHEDULED, effective_at__lte=at
    )
    return list(found.exclude(pk=but.pk).order_by("effective_at", "approval"))


def paid_difference(change: PriceChange) -> Decimal:
    """The difference that a change makes to the total that is paid, by its preview: of all of its
    rows, if that is of an earlier release."""
    seen = change.preview
    assert seen is not None
    of = seen.get("paid", seen)
    return Decimal(of["total_after"]) - Decimal(of["total_before"])


def _holds(
    change: PriceChange,
    before: Sequence[PriceChange],
    after: Sequence[PriceChange],
    at: datetime,
) -> bool:
    """Whether the difference of a set is that of its preview still at the instant `at`."""
    seen = change.preview
    assert seen is not None
    assert change.effective_at is not None
    if "paid" not in seen:
        return False
    known = seen["scheduled_before"]
    if any(each.pk not in known and may_share_rows(each, change) for each in before):
        return False
    until = seen["paid"]["until"] and parse_datetime(seen["paid"]["until"])
    if until is not None and until <= at:
        return False
    # The ledger does not know of a lock that it sets or ends, and counts on another end.
    locks = change.for_one or change.adjustment in ("", Adjustment.LOCK, Adjustment.RELEASE)
    if locks and at > change.effective_at:
        return False
    return not any(_concerns(each, change) for each in after)


def _concerns(later: PriceChange, change: PriceChange) -> bool:
    """Whether a later change of the catalogue has another effect on rows of a set than on others:
    the set may have made followers of them, or others."""
    if not is_of_catalogue(later):
        return False
    subject = subject_of(later)
    pairs = (change.preview or {})["by_service_and_plan"]
    return any(pair["moves"] and pair[subject.role] == subject.id for pair in pairs)
