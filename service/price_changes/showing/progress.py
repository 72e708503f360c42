"""The progress of price changes: that of their repricings, added up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Sum

from price_changes.models import PriceChange
from services import repricing
from services.models import Repricing, Skip, book_clock
from services.repricing import Progress

Status = PriceChange.Status


def progress_of(changes: Iterable[PriceChange], now: datetime | None = None) -> dict[int, Progress]:
    """The progress of each change whose rows are counted, by the change's id.

    A worker counts the rows when it begins. Rows that a cancelled change has not moved are not
    done. Two queries, over steps and not rows, and up to two more: if one was cancelled, and for
    the clock if one is not finished and `now` is not given.
    """
    changes = list(changes)
    begun = {change.pk for change in changes if change.started_at}
    if not begun:
        return {}
    works = defaultdict(list)
    for work in Repricing.objects.filter(change_id__in=begun).prefetch_related("steps"):
        works[work.change_id].append(work)
    unfinished = any(work.finished_at is None for each in works.values() for work in each)
    now = (now or book_clock()) if unfinished else None
    left = _not_moved({change.pk for change in changes if change.status == Status.CANCELLED})
    return {
        pk: _added_up(of_change, left.get(pk, 0), now)
        for pk, of_change in works.items()
        if pk is not None and all(work.planned_at or work.finished_at for work in of_change)
    }


def _not_moved(cancelled: set[int]) -> dict[int, int]:
    if not cancelled:
        return {}
    skips = Skip.objects.filter(repricing__change_id__in=cancelled, reason=Skip.Reason.CANCELLED)
    return dict(skips.order_by().values_list("repricing__change_id").annotate(rows=Sum("rows")))


def _added_up(works: list[Repricing], not_moved: int, now: datetime | None) -> Progress:
    parts = [repricing.progress(work, now) for work in works]
    done, total = sum(part.done for part in parts), sum(part.total for part in parts)
    finished = all(part.finished for part in parts)
    began = min(work.planned_at or work.requested_at for work in works)
    ends = [work.finished_at for work in works if work.finished_at]
    until = max(ends) if now is None or (finished and ends) else now
    seconds = (until - began).total_seconds()
    rate = done / seconds if seconds > 0 else 0.0
    left = timedelta(seconds=(total - done) / rate) if rate and not finished else None
    moved = sum(part.repriced for part in parts)
    return Progress(done - not_moved, total, moved, rate, left, finished and not not_moved)
