"""A job as it is shown, the results of its lines, and how long those are kept."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from services.models import Job, JobPiece, JobResult, book_clock

OUTCOMES = ("created", "changed", "unchanged", "refused", "deleted", "left")  # of lines
KEPT_FOR = timedelta(days=90)
FILE_KEPT_FOR = timedelta(days=1)  # a file that somebody looks at before it is applied
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def shown(job: Any) -> dict[str, Any]:
    """A job of `for_api()` as answers show it."""
    has_body = job.undoes_id is None
    return {
        "id": job.pk,
        "kind": job.kind,
        "status": job.status,
        "undoes": job.undoes_id,
        "undone_by": getattr(job, "last_undo", None),
        "author": job.author,
        "on_error": "skip" if job.skip else "stop",
        "dry_run": job.dry_run,
        "sha256": job.sha256 if has_body else None,
        "size": job.size if has_body else None,
        "asked_at": job.asked_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "lines": job.lines,
        "lines_done": job.lines_done,
        "counts": job.counts,
        "error": job.error,
    }


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
    """Delete the results of jobs that ended long ago, and files that were kept for a day. The jobs
    stay, with their counts."""
    JobPiece.objects.filter(job__finished_at__lt=book_clock() - FILE_KEPT_FOR).delete()
    old = JobResult.objects.filter(job__finished_at__lt=book_clock() - KEPT_FOR)
    return old.delete()[0]
