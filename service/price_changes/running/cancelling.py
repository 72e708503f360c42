"""What goes on of a list price or a discount that is cancelled after its instant."""

from __future__ import annotations

from price_changes.models import PriceChange
from services.models import Repricing, RepricingStep


def go_on(change: PriceChange) -> None:
    """What had its price until now gets the entries that say so, but no more comments."""
    due = Repricing.objects.due().filter(change_id=change.pk).order_by("pk")
    # Who is planning it, or stamps a chunk, ends first.
    for work in due.select_for_update():
        work.steps.filter(kind=RepricingStep.Kind.COMMENT).delete()
        if work.planned_at is None:
            work.comment = ""
        work.paused_at = None
        work.save(update_fields=["comment", "paused_at"])
