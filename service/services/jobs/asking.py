"""Jobs are asked for, cancelled, and taken back by other jobs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import IO, Any

from django.db import transaction
from django.utils.translation import gettext as _

from pricebook.kit.refusal import Refusal
from services.bulk.running import Wanted
from services.models import Job, JobPiece, book_clock

PIECE = 1_000_000  # bytes of a body in a row
Status = Job.Status


class JobRefused(Refusal):
    """A job can't be cancelled or undone, and nothing was."""


def not_there(number: int) -> JobRefused:
    return JobRefused("not_found", _("There is no job %(number)s.") % {"number": number}, 404)


def ask(
    kind: str,
    body: IO[bytes],
    media_type: str,
    wanted: Wanted,
    options: Mapping[str, Any] | None = None,
    kept_as: str | None = None,
) -> Job:
    """Store a bulk or a file for the workers, in the caller's transaction. Two queries, and one for
    each MB.

    The body is read from its beginning, and is not checked here. `options`: how a file is to be
    read. `kept_as`: the name of a file that is kept after the job's end, to be read again.
    """
    body.seek(0)
    job = Job(
        kind=kind,
        author=wanted.author,
        skip=wanted.skip,
        dry_run=wanted.dry_run,
        media_type=media_type,
        options=options,
        file_name=kept_as or "",
        is_kept=kept_as is not None,
    )
    job.save(force_insert=True)
    digest = sha256()
    for number, content in enumerate(iter(partial(body.read, PIECE), b"")):
        digest.update(content)
        JobPiece(job=job, number=number, content=content).save(force_insert=True)
    job.sha256, job.size = digest.hexdigest(), body.tell()
    job.save(update_fields=["sha256", "size"])
    job.refresh_from_db()
    return job


def cancel(number: int) -> Job:
    """Cancel a job that has not ended. Its open transaction is rolled back, whoever runs it.

    Chunks that are committed stay: `undo` takes them back. `JobRefused` for one that has ended.
    """
    with transaction.atomic():
        job = held(number)
        if job.status not in Job.DUE:
            raise JobRefused(
                "wrong_state",
                _(
                    "Job %(number)s has ended: it is %(status)s. POST …/undo/ takes back what"
                    " it has written."
                )
                % {"number": number, "status": job.status},
                409,
                state=job.status,
                allowed=list(Job.DUE),
            )
        end(job, Status.CANCELLED)
    return job


def undo(number: int, author: str, dry_run: bool) -> Job:
    """Ask for a job that takes another one back, as far as nobody has touched it since.

    `JobRefused` for one that runs or has written nothing, and while another undo of it runs.
    """
    with transaction.atomic():
        job = held(number)
        if job.status in Job.DUE:
            raise JobRefused(
                "wrong_state",
                _("Job %(number)s is %(status)s: cancel it first, or wait until it has ended.")
                % {"number": number, "status": job.status},
                409,
                state=job.status,
                allowed=[each for each in Status if each not in Job.DUE],
            )
        if job.undoes_id is not None:
            raise JobRefused(
                "undoes_another",
                _("Job %(number)s is an undo itself: send the lines of job %(undoes_id)s again.")
                % {"number": number, "undoes_id": job.undoes_id},
                409,
            )
        if job.kind == Job.Kind.HISTORY:
            raise JobRefused(
                "history_stays",
                _(
                    "Job %(number)s has brought the past of the book, as corrections: they"
                    " are recorded for good. Send the lines as they should be, which lie"
                    " above these."
                )
                % {"number": number},
                409,
            )
        written = sum(each or 0 for each in job.results.values_list("left_as__len", flat=True))
        if job.dry_run or not written:
            raise JobRefused(
                "nothing_to_undo",
                _(
                    "Job %(number)s has written nothing, or has no results of its lines:"
                    " those are forgotten after some months."
                )
                % {"number": number},
                409,
            )
        if job.undone_by.filter(status__in=Job.DUE).exists():
            raise JobRefused(
                "is_being_undone",
                _("Job %(number)s is being undone already.") % {"number": number},
                409,
            )
        made: Job = Job.objects.create(
            kind=job.kind,
            undoes=job,
            author=author,
            skip=True,
            dry_run=dry_run,
            lines=written,
        )
        made.refresh_from_db()
    return made


def end(job: Job, status: str, error: dict | None = None) -> None:
    """Mark a job as ended, in the caller's transaction; its body is of no use any more, unless it
    is a file that is kept."""
    job.status, job.error, job.finished_at = status, error, book_clock()
    job.save(update_fields=["status", "error", "finished_at"])
    if not job.is_kept:
        job.pieces.all().delete()


def held(number: int) -> Job:
    found = Job.objects.select_for_update(no_key=True).filter(pk=number).first()
    if found is None:
        raise not_there(number)
    return found
