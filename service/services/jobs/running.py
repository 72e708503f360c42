"""A worker runs the jobs that are due, one after another.

    one transaction: take the lock of jobs → is it still the next, and as far as it was?
                     → the next lines, written as a bulk writes them → their results, the place

All lines of all or nothing are one transaction, else each 2,000 lines are. A transaction that is
rolled back, because its worker was killed or the job was cancelled, leaves nothing; who comes next
finds the place of the last one.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

import msgspec
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from pricebook.kit.errors import Refused
from pricebook.kit.language import in_english
from pricebook.kit.points import at_point
from pricebook.kit.refusal import Refusal
from pricebook.kit.session_limits import may_pause
from pricebook.kit.spooled_body import temporary_file
from services.bulk.bodies import lines_of
from services.bulk.lines import CheckedLines, check
from services.bulk.running import (
    NO_LOOK,
    Crossed,
    LinesRefused,
    Look,
    Wanted,
    analyse_if_filled,
    do,
    whatever_others_do,
)
from services.bulk.steps import Steps
from services.jobs import imports, undoing_imports
from services.jobs.asking import JobRefused, end
from services.jobs.kinds import KINDS
from services.jobs.undoing import Undo
from services.models import Job, JobPiece, JobResult, book_clock

logger = logging.getLogger(__name__)
Status = Job.Status

ATTEMPTS = 5  # that may end without a chunk: with a dead worker, or a database that is gone
# Whoever holds it runs jobs. It belongs to a transaction, so it needs no session of its own, and
# until the first write it keeps no feed waiting.
LOCK = "SELECT pg_try_advisory_xact_lock('services_job'::regclass::oid::int, 0)"
RESULT = re.compile(rb'^\{"line":([0-9]+),"outcome":"([a-z]+)"', re.MULTILINE)
GAVE_UP = JobRefused(
    "gave_up",
    f"{ATTEMPTS} workers in a row ended without having finished a chunk of it; their logs say why."
    " It keeps what is written: undo it, or send the rest again.",
)
BROKEN = JobRefused(
    "server_error",
    "A defect ended it; the log of the workers says which. It keeps what is written: undo it, or"
    " send the rest again.",
)


class Lost(Exception):
    """The job is another worker's now, or was cancelled."""


def run() -> int:
    """Run the jobs that are due; return how many ended here. One query if none is due.

    Results are stored, so they are in English.
    """
    with in_english():
        return _run_due()


def _run_due() -> int:
    ended = 0
    while (job := _begin()) is not None:
        try:
            _run(job)
        except Lost:
            break
        except Crossed:
            _wait(job)
            break  # the sweep comes again
        except (Refused, Refusal) as error:
            _end(job, Status.REFUSED, error)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("%s failed", job)
            _end(job, Status.FAILED, BROKEN)
        ended += 1
    return ended


def _begin() -> Job | None:
    """The next job, as running; None if there is none, or another worker is at it."""
    if not Job.objects.due().exists():
        return None
    with transaction.atomic(), connection.cursor() as cursor:
        job = Job.objects.due().first() if _locked(cursor) else None
        while job is not None and job.attempts >= ATTEMPTS:
            end(job, Status.FAILED, _told(GAVE_UP))
            job = Job.objects.due().first()
        if job is not None:
            job.status, job.attempts = Status.RUNNING, job.attempts + 1
            job.started_at = job.started_at or book_clock()
            _save(job, "started_at", attempts=job.attempts)
    return job


@contextmanager
def _held(job: Job) -> Iterator[CursorWrapper]:
    """A transaction of the worker that runs the job; raises Lost if that is another one."""
    with transaction.atomic(), connection.cursor() as cursor:
        if not _locked(cursor):
            raise Lost
        stands = Job.objects.filter(pk=job.pk, status=Status.RUNNING, chunks_done=job.chunks_done)
        if not stands.exists():
            raise Lost
        yield cursor


def _locked(cursor: CursorWrapper) -> bool:
    cursor.execute(LOCK)
    (locked,) = cursor.fetchone()
    return bool(locked)


def _run(job: Job) -> None:
    if job.undoes_id is not None:
        return _undo(job)
    if job.kind in Job.OF_FILES:
        return whatever_others_do(partial(_import, job))
    steps = KINDS[job.kind].steps
    wanted = Wanted(job.author, job.skip, job.dry_run)
    with _held(job):
        may_pause()
        with _body(job) as body:
            lines = check(lines_of(body, job.media_type), steps.record)
        job.lines = lines.count
        _save(job, "lines")
    with lines.file:
        if lines.refused and not wanted.skip and not wanted.dry_run:
            raise LinesRefused(lines.refused, lines.first_refused)
        chunks, size = (len(lines.starts), 1) if wanted.skip else (1, len(lines.starts))
        look = NO_LOOK
        for chunk in range(job.chunks_done, chunks or 1):
            part = partial(_chunk, job, lines, steps, chunk, chunk + size, so_far=look)
            look = whatever_others_do(partial(part, wanted, is_last=chunk + 1 >= chunks))
            at_point("chunk of a job committed")
    if not job.dry_run:
        analyse_if_filled(steps, job.counts.get("created", 0))


def _chunk(
    job: Job,
    lines: CheckedLines,
    steps: type[Steps],
    first: int,
    last: int,
    wanted: Wanted,
    is_last: bool,
    so_far: Look,
) -> Look:
    """Write some chunks of the lines; return what a dry run has found. One transaction."""
    with _held(job) as cursor:
        run = steps(cursor, job.author, job.dry_run)
        run.for_undo = True
        look = do(run, lines.pieces(first, last), wanted, so_far)
        at_point("chunk of a job not committed")
        done = _keep(job, run, is_last)
    _went_on(job, done)
    return look


def _import(job: Job) -> None:
    """Read a file into the book: all of it or nothing, hence in one transaction."""
    with _held(job), _body(job) as body:
        may_pause()
        done = imports.run(job, body)
        at_point("chunk of a job not committed")
        done |= {"chunks_done": job.chunks_done + 1, "attempts": 0}
        _save(job, **done, **_ended(job))
    _went_on(job, done)


def _undo(job: Job) -> None:
    """Take back what another job has written, its last lines first."""
    assert job.undoes is not None
    # Subscriptions of an import come first, as they name the others.
    left = list(job.undoes.results.order_by("-kind", "-first_line").values_list("pk", "kind"))
    look = NO_LOOK
    for number, (pk, kind) in enumerate(left):
        if number >= job.chunks_done:
            part = partial(_undo_chunk, job, pk, kind, number + 1 == len(left), so_far=look)
            look = whatever_others_do(part)


def _undo_chunk(job: Job, result: int, kind: str, is_last: bool, so_far: Look) -> Look:
    """Take back a part of the results; `kind` is that of its records where a job has several."""
    with _held(job) as cursor:
        undo: type[Undo] = undoing_imports.UNDO[kind] if kind else KINDS[job.kind].undo
        run = undo(cursor, job.author, job.dry_run)
        run.of_result, run.has_lines = result, kind in ("", "subscriptions")
        look = do(run, [], Wanted(job.author, skip=True, dry_run=job.dry_run), so_far)
        done = _keep(job, run, is_last)
    _went_on(job, done)
    return look


# --- Results and place, in the transaction of the effect -----------------------------------------


def _keep(job: Job, run: Steps, is_last: bool) -> dict[str, Any]:
    """Keep the results of a chunk, and how far the job is with it; return what has changed."""
    counts = Counter(job.counts)
    for text in run.results():
        found = RESULT.findall(text)
        first, last = int(found[0][0]), int(found[-1][0])
        of_these = Counter(outcome.decode() for _, outcome in found)
        JobResult.objects.create(
            job=job,
            first_line=first,
            last_line=last,
            counts=of_these,
            results=text.decode(),
            left_as=run.left_as(first, last) if run.for_undo else [],
            states=run.states_before(first, last) if run.for_undo else {},
        )
        counts += of_these
    done: dict[str, Any] = {
        "counts": counts,
        "lines_done": counts.total(),
        "chunks_done": job.chunks_done + 1,
        "attempts": 0,
    }
    if is_last:
        done |= _ended(job)
    _save(job, **done)
    return done


def _ended(job: Job) -> dict[str, Any]:
    if not (job.is_kept and job.dry_run):
        JobPiece.objects.filter(
            job__in=[each for each in (job.pk, job.applies_id) if each]
        ).delete()
    return {"status": Status.DONE, "finished_at": book_clock()}


def _went_on(job: Job, done: dict[str, Any]) -> None:
    """Tell the object what is committed: a transaction that is done once more counts anew."""
    for name, value in done.items():
        setattr(job, name, value)


def _save(job: Job, *names: str, **values: Any) -> None:
    """Write columns of a job that is to run on; raises Lost if it was cancelled meanwhile."""
    values |= {name: getattr(job, name) for name in names}
    values = {"status": Status.RUNNING} | values
    if not Job.objects.filter(pk=job.pk, status__in=Job.DUE).update(**values):
        raise Lost


def _wait(job: Job) -> None:
    """Let a job begin again as often as somebody's open transaction makes it wait."""
    with transaction.atomic(), connection.cursor() as cursor:
        if _locked(cursor):
            Job.objects.due().filter(pk=job.pk).update(attempts=0)


def _end(job: Job, status: str, error: Refused | Refusal) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        if _locked(cursor) and Job.objects.filter(pk=job.pk, status=Status.RUNNING).exists():
            end(job, status, _told(error))


def _told(error: Refused | Refusal) -> dict[str, Any]:
    """A refusal as it is stored: its code, its words, and what it is about."""
    code = error.code if isinstance(error, Refusal) else error.get_codes()
    told = {"code": code, "detail": str(error.detail), **error.about}
    return dict(msgspec.json.decode(msgspec.json.encode(told)))


@contextmanager
def _body(job: Job) -> Iterator[IO[bytes]]:
    """The body, from its beginning, in a temporary file. A query for each MB."""
    with temporary_file() as file:
        numbers = job.pieces.order_by("number").values_list("number", flat=True)
        for number in list(numbers):
            file.write(job.pieces.values_list("content", flat=True).get(number=number))
        file.seek(0)
        yield file
