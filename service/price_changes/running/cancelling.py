"""The work that is left of a change that is cancelled after its instant."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from price_changes.kinds import subject_of
from price_changes.models import PriceChange
from price_changes.running import starting
from services import catalogue_values
from services.models import Repricing, RepricingStep, book_clock


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


def begun_or_withdrawn(change: PriceChange, author: str) -> bool:
    """Begin a change of the catalogue whose instant has come, so that it can be taken back; else
    withdraw its value.

    Returns whether it was begun.
    """
    subject_of(change).lock()
    assert change.effective_at is not None
    if change.effective_at > book_clock():
        catalogue_values.withdraw(change.pk, author)
        return False
    try:
        with transaction.atomic():
            starting.start(change)
    except IntegrityError:
        # The database refuses its value, so a worker would hold it; it is cancelled instead.
        catalogue_values.withdraw(change.pk, author)
        return False
    return change.status not in (PriceChange.Status.CANCELLED, PriceChange.Status.HELD)
