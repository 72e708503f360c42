"""The notice that a change asks for, and the changes that it holds, by the facts alone.

A change with `notice_days` is held at its instant, unless all clients on its list were told by the
day `notice_by`, by facts from before the instant. A fact that is recorded at just the instant comes
after the change, as one of the brake does: a worker that comes at that instant may have started it.
So the answer is the same whenever a worker comes. Until all are told it counts as held for good, as
everything that is known now.

`AllTold` says since when all were told. No fact of it is written from the instant on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import BooleanField, Count, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact

from price_changes.models import AllTold, PriceChange, ToTell, Untold
from price_changes.planning.braked import MAY_BE_HELD, is_braked


def is_stopped(known_at: datetime | None = None) -> Q:
    """The changes, approved ones, that the brake or their notice holds; by what is known now, or
    was known then."""
    return is_braked(known_at) | lacks_notice(known_at)


def lacks_notice(known_at: datetime | None = None) -> Q:
    """The changes, approved ones, that their notice holds; by what is known now, or was then."""
    facts = AllTold.objects.filter(change_id=OuterRef("pk"), approval=OuterRef("approval"))
    if known_at is not None:
        facts = facts.filter(recorded_at__lte=known_at)
    latest = Subquery(facts.order_by("-pk").values("all_told")[:1], output_field=BooleanField())
    told = Coalesce(latest, Value(False), output_field=BooleanField())
    return Q(Exact(told, Value(False)), notice_days__isnull=False)


def untold(changes: Iterable[PriceChange]) -> dict[int, Untold]:
    """The changes that their notice holds, or will, if nobody is told before; by their ids.

    No query if none of them asks for a notice, else up to two.
    """
    asking = {
        change.pk: change
        for change in changes
        if change.notice_days is not None
        and change.status in MAY_BE_HELD
        and change.approved_at is not None
    }
    if not asking:
        return {}
    lacking = PriceChange.objects.filter(lacks_notice(), pk__in=asking).values_list("pk", flat=True)
    held = {pk: asking[pk] for pk in lacking}
    if not held:
        return {}
    counted = ToTell.objects.filter(change_id__in=held).order_by().values_list("change_id")
    counts = counted.annotate(
        all=Count("client_id"), left=Count("client_id", filter=Q(in_time=False))
    )
    numbers = {pk: (total, left) for pk, total, left in counts}
    found = {}
    for pk, change in held.items():
        total, left = numbers.get(pk, (0, 0))
        found[pk] = Untold(left, total, change.notice_by)
    return found
