"""What became of the rows of a price change."""

from __future__ import annotations

from typing import Any

from django.db.models import Sum

from price_changes.models import PriceChange
from services.models import Repricing, Skip


def outcome(change: PriceChange) -> dict[str, Any]:
    """What became of the rows: applied + skipped + failed = rows.

    The workers' counters, which are what the ledger says: `applied` have an entry of it. Of one
    that was cancelled, `taken_back_by` has the change that does that. 3 queries, or 4.
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
    return {
        **sums,
        "not_stamped": not_stamped,  # of the applied: their comment could not be written
        "skipped": skipped,
        "drift": change.drift,
        "superseded": superseded["rows"],  # rows of others that this one holds
        "taken_back_by": taken_back_by,
    }
