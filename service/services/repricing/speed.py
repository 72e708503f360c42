"""The progress of a repricing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.models import Repricing, book_clock
from services.repricing.movers import PRICE


@dataclass(frozen=True)
class Progress:
    """The progress of a repricing: rows looked at of all, rows a second, time left."""

    done: int
    total: int
    repriced: int
    rate: float
    left: timedelta | None
    finished: bool

    @property
    def fraction(self) -> float:
        return 1.0 if self.finished or not self.total else self.done / self.total


def progress(repricing: Repricing, now: datetime | None = None) -> Progress:
    """The progress of a repricing: 1 query, over its remaining steps.

    The clock takes another query if it is not finished, unless the caller gives `now`.
    """
    steps = [step for step in repricing.steps.all() if step.kind == PRICE]  # prefetched in lists
    remaining = sum(max(0, step.subscriptions - step.checked) for step in steps)
    total = repricing.subscriptions
    finished = repricing.finished_at is not None
    done = total - remaining if repricing.planned_at else 0
    until = repricing.finished_at or now or book_clock()
    since = (until - (repricing.planned_at or repricing.requested_at)).total_seconds()
    rate = done / since if since > 0 else 0.0
    left = timedelta(seconds=remaining / rate) if rate and not finished else None
    return Progress(done, total, repricing.repriced, rate, left, finished)
