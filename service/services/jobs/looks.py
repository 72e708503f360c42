"""Files that somebody looks at before they are applied.

    look ─▶ a dry run, whose file is kept for a day ─▶ its lines ─▶ apply: what was seen, or nothing
     ▲                                                  │
     └── again: to be read otherwise, or as the book has moved

A file is applied if the book would take from it, line by line, what its dry run has shown. That is
compared in the transaction of the effect; else nothing is written (`differs_from_shown`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.db import connection, transaction

from pricebook.kit.refusal import Refusal
from services.bulk.running import Wanted
from services.jobs.asking import JobRefused, ask, held
from services.models import Job, JobPiece

# The ids of what it would create are left out: a dry run can't know them.
SAME_AS_SHOWN = r"""
SELECT count(*) = 0
  FROM (SELECT first_line, results FROM services_jobresult WHERE job_id = %(shown)s) shown
  FULL JOIN (SELECT first_line,
                    regexp_replace(results, '("outcome":"created"(,"kind":"[a-z]+")?),"id":[0-9]+',
                                   '\1', 'g') AS results
               FROM services_jobresult WHERE job_id = %(job)s) now USING (first_line)
 WHERE shown.results IS DISTINCT FROM now.results
"""


class DiffersFromShown(Refusal):
    """The book would take something else from a file than its dry run has shown."""

    def __init__(self) -> None:
        super().__init__(
            "differs_from_shown",
            "The book has moved since the file was looked at, and would take something else from it"
            " than was shown. Nothing was written: look at it again.",
            409,
        )


def look(
    kind: str, file: IO[bytes], media_type: str, name: str, author: str, options: Mapping[str, Any]
) -> Job:
    """Ask for a dry run of a file that is to be looked at. As many queries as `ask`."""
    with transaction.atomic():
        wanted = Wanted(author, dry_run=True)
        kept_as = "".join(each if each.isprintable() else "?" for each in name)[-255:]
        return ask(kind, file, media_type, wanted, options, kept_as=kept_as)


def again(number: int, author: str, options: Mapping[str, Any]) -> Job:
    """Look at the file of a job once more, with these options. A query for each MB of it.

    `JobRefused` for a job that has not ended, or whose file is not there any more.
    """
    with transaction.atomic():
        job = held(number)
        if job.status in Job.DUE:
            raise JobRefused(
                "wrong_state", f"Job {number} is {job.status}: wait until it has ended.", 409,
                state=job.status, allowed=[each for each in Job.Status if each not in Job.DUE],
            )  # fmt: skip
        return _of_same_file(job, author, dict(options), dry_run=True)


def apply(number: int, author: str) -> Job:
    """Ask for a job that writes what a dry run has shown; once, whoever asks how often.

    `JobRefused` for another job than a dry run that has ended well, for one without a file, and for
    one that is applied, or is being so: `job` is the number of the one that does it.
    """
    with transaction.atomic():
        shown = held(number)
        if not (shown.is_kept and shown.dry_run and shown.status == Job.Status.DONE):
            raise JobRefused(
                "wrong_state",
                f"Job {number} is no look at a file that has ended well, so it can't be applied.",
                409,
                state=shown.status,
                allowed=[Job.Status.DONE],
            )
        standing = shown.applied_by.filter(status__in=[*Job.DUE, Job.Status.DONE]).first()
        if standing is not None:
            raise JobRefused(
                "applied_already",
                f"Job {number} has been applied, by job {standing.pk}.",
                409,
                job=standing.pk,
            )
        return _of_same_file(shown, author, shown.options or {}, dry_run=False, applies=shown)


def refuse_if_it_differs(job: Job, moved: Mapping[str, Any]) -> None:
    """Raises DiffersFromShown unless a job has the results that its dry run has shown, and moves as
    much. One query, in the transaction of the effect."""
    assert job.applies is not None
    with connection.cursor() as cursor:
        cursor.execute(SAME_AS_SHOWN, {"shown": job.applies_id, "job": job.pk})
        (same,) = cursor.fetchone()
    if not same or (job.applies.found or {}).get("moved") != moved:
        raise DiffersFromShown


def _of_same_file(job: Job, author: str, options: dict[str, Any], **about: Any) -> Job:
    numbers = list(job.pieces.order_by("number").values_list("number", flat=True))
    if not numbers:
        raise JobRefused(
            "file_forgotten",
            f"The file of job {job.pk} is not kept any more, as it was applied or looked at a day"
            " ago: upload it again.",
            409,
        )
    made: Job = Job.objects.create(
        kind=job.kind,
        author=author,
        skip=False,
        media_type=job.media_type,
        options=options,
        sha256=job.sha256,
        size=job.size,
        file_name=job.file_name,
        is_kept=True,
        **about,
    )
    for number in numbers:
        content = job.pieces.values_list("content", flat=True).get(number=number)
        JobPiece.objects.create(job=made, number=number, content=content)
    made.refresh_from_db()
    return made
