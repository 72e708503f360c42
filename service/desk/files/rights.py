"""The rights to see a job, and to read a file into the book: those of the API."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _

from pricebook.kit.access import author
from pricebook.kit.book_admin import missing_for
from services.models import Job, JobQuerySet
from services.parsing import MAX_BIGINT
from services.views.jobs import TO_DELETE, TO_WRITE

TO_IMPORT = TO_WRITE["import"]


def seen_by(user: Any) -> JobQuerySet:
    """The jobs of the kinds that a person may write, and their own."""
    kinds = [kind for kind, needs in TO_WRITE.items() if user.has_perms(needs)]
    return Job.objects.filter(Q(kind__in=kinds) | Q(author=author(user)))


def job_of(request: HttpRequest, pk: int) -> Job:
    """The job of a page. Raises Http404, and PermissionDenied for one of somebody else's kind."""
    job = Job.objects.for_api().filter(pk=pk).first() if pk <= MAX_BIGINT else None
    if job is None:
        raise Http404(_("There is no job %(number)s.") % {"number": pk})
    if job.author != author(request.user):
        refuse_unless(request.user, *TO_WRITE[job.kind])
    return job


def refuse_unless(user: Any, *needs: str) -> None:
    if missing := missing_for(user, *needs):
        raise PermissionDenied(missing)


def to_read(kind: str) -> tuple[str, ...]:
    """The permissions that it takes to read a file of a kind into the book."""
    return TO_IMPORT if kind == Job.Kind.IMPORT else (*TO_IMPORT, *TO_WRITE[kind])


def to_undo(kind: str) -> tuple[str, ...]:
    return (*TO_WRITE[kind], TO_DELETE[kind])
