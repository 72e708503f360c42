"""The brake, and the changes that it holds, by the facts alone.

A change is held by a brake if it was approved for a later instant, and the brake was on at that
instant: it comes after the pull, and not after the release. A change of just the instant of the
pull has started; one of just the instant of the release has not. So the answer is the same whenever
a worker comes. A decision for now is no such start: an edit, a revert that is approved now.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q

from price_changes.models import Brake, PriceChange

Status = PriceChange.Status
MAY_BE_HELD = (Status.SCHEDULED, Status.HELD)


def brake_on() -> Brake | None:
    """The brake that is on. One query."""
    return Brake.objects.filter(released_at=None).first()


def is_braked(known_at: datetime | None = None) -> Q:
    """The changes, approved ones, that a brake holds; by what is known now, or was known then.

    While it is on, it holds all that is to come.
    """
    brakes = Brake.objects.filter(pulled_at__lt=OuterRef("effective_at"))
    released = Q(released_at__lt=OuterRef("effective_at"))
    if known_at is not None:
        brakes = brakes.filter(pulled_at__lte=known_at)
        released &= Q(released_at__lte=known_at)
    return Q(Exists(brakes.exclude(released)), effective_at__gt=F("approved_at"))


def brakes_of(changes: Iterable[PriceChange]) -> dict[int, Brake]:
    """The brakes that hold these changes, or will, if nobody releases them before. One query if any
    of them may be held.
    """
    instants = {
        change.pk: change.effective_at
        for change in changes
        if change.status in MAY_BE_HELD
        and change.effective_at is not None
        and change.approved_at is not None
        and change.approved_at < change.effective_at
    }
    if not instants:
        return {}
    since = Q(released_at=None) | Q(released_at__gte=min(instants.values()))
    brakes = list(Brake.objects.filter(since, pulled_at__lt=max(instants.values())))
    return {
        pk: brake
        for pk, at in instants.items()
        for brake in brakes
        if brake.pulled_at < at and (brake.released_at is None or brake.released_at >= at)
    }


def brake_of(change: PriceChange) -> Brake | None:
    """The brake that holds a change, or will. One query if it may be held."""
    return brakes_of([change]).get(change.pk)
