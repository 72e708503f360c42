"""The work that is left of a change that is cancelled after its instant: for a set, none."""

from __future__ import annotations

from price_changes.models import PriceChange
from services.models import Clock, Repricing, RepricingStep, Skip


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


def stop(change: PriceChange) -> None:
    """Move nothing more of a set; the rows left on its list are skipped as cancelled."""
    due = Repricing.objects.due().filter(change_id=change.pk).order_by("pk")
    for work in due:
        # This waits for a chunk in hand, which has locked its step.
        steps = work.steps.select_for_update().order_by("pk")
        left = [step for step in steps if step.kind == RepricingStep.Lane.PRICE]
        work.steps.all().delete()
        work.refresh_from_db()
        rows = sum(step.subscriptions - step.checked for step in left)
        if rows > 0:
            Skip.objects.create(repricing=work, reason=Skip.Reason.CANCELLED, rows=rows)
        Repricing.objects.filter(pk=work.pk).update(
            finished_at=Clock(), paused_at=None, checked=work.checked + max(0, rows)
        )
