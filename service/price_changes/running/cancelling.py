"""The work that is left of a change that is cancelled after its instant."""

from __future__ import annotations

from price_changes.models import PriceChange
from services.models import Repricing, RepricingStep


def go_on(change: PriceChange) -> None:
    """Have the workers enter the rest of a change that was in force until now, without comments."""
    due = Repricing.objects.due().filter(change_id=change.pk).order_by("pk")
    # This waits for a worker that is planning it or stamping a chunk.
    for work in due.select_for_update():
        work.steps.filter(kind=RepricingStep.Lane.COMMENT).delete()
        if work.planned_at is None:
            work.comment = ""
        work.paused_at = None
        work.save(update_fields=["comment", "paused_at"])
