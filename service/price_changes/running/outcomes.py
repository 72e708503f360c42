"""The outcome of a price change: how many of its rows were moved, skipped, or failed."""

from __future__ import annotations

from typing import TypedDict

from django.db.models import Sum

from price_changes.models import PriceChange
from services.models import Repricing, Skip


class Outcome(TypedDict):
    """The numbers of a change's rows: applied + skipped + failed = rows."""

    rows: int
    applied: int
    skipped: dict[str, int]  # by the reason
    failed: int
    stamped: int
    not_stamped: int  # applied rows whose comment could not be written
    drift: int | None
    superseded: int  # rows that other changes left to this one
    taken_back_by: int | None


def outcome(change: PriceChange) -> Outcome:
    """The numbers of its rows by their outcome: applied + skipped + failed = rows.

    They are the workers' counters, and agree with the ledger: `applied` rows have an entry of the
    change. `taken_back_by` is the change that takes a cancelled one back. 3 queries, or 4.
    """
    works = Repricing.objects.filter(change_id=change.pk)
    sums = works.aggregate(
        rows=Sum("checked", default=0),
        applied=Sum("repriced", default=0),
        failed=Sum("failed", default=0),
        stamped=Sum("stamped", default=0),
    )
    skipped = dict(
        Skip.objects.filter(repricing__change_id=change.pk)
        .exclude(reason=Skip.Reason.FAILED)
        .order_by()
        .values_list("reason")
        .annotate(rows=Sum("rows"))
    )
    not_stamped = skipped.pop(Skip.Reason.NOT_STAMPED, 0)
    superseded = Skip.objects.filter(by_change_id=change.pk).aggregate(rows=Sum("rows", default=0))
    taken_back_by = None
    if change.status == PriceChange.Status.CANCELLED:
        taken_back_by = change.reverted_by.values_list("pk", flat=True).first()
    return Outcome(
        rows=sums["rows"],
        applied=sums["applied"],
        skipped=skipped,
        failed=sums["failed"],
        stamped=sums["stamped"],
        not_stamped=not_stamped,
        drift=change.drift,
        superseded=superseded["rows"],
        taken_back_by=taken_back_by,
    )
