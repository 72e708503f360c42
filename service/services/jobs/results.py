"""The results of a job, line by line, and how long they are kept."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from services.models import Job, JobResult, book_clock

KEPT_FOR = timedelta(days=90)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def lines(
    job: Job, outcome: str | None, after: int, size: int, backward: bool = False
) -> list[dict[str, Any]]:
    """Up to `size` results after a line, or before it, the nearest first.

    A query for each 2,000 lines that have such an outcome, until there are enough.
    """
    parts = job.results.order_by("first_line")
    parts = parts.filter(first_line__lt=after) if backward else parts.filter(last_line__gt=after)
    if outcome is not None:
        parts = parts.filter(counts__has_key=outcome)
    if backward:
        parts = parts.reverse()
    found: list[dict[str, Any]] = []
    for pk in list(parts.values_list("pk", flat=True)):
        texts = JobResult.objects.values_list("results", flat=True).get(pk=pk).splitlines()
        for text in reversed(texts) if backward else texts:
            line = _decode(text)
            ahead = line["line"] < after if backward else line["line"] > after
            if ahead and outcome in (None, line["outcome"]):
                found.append(line)
                if len(found) == size:
                    return found
    return found


def forget_old() -> int:
    """Delete the results of jobs that ended long ago. The jobs stay, with their counts."""
    old = JobResult.objects.filter(job__finished_at__lt=book_clock() - KEPT_FOR)
    return old.delete()[0]
