"""Jobs over the API: bulks that are written while nobody waits, their results, their undo."""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from pricebook.kit import idempotency
from pricebook.kit.access import MayDo, author
from pricebook.kit.content import object_of
from pricebook.kit.errors import BadParameter
from pricebook.kit.idempotency import idempotent
from pricebook.kit.scopes import (
    ADD_CLIENT,
    ADD_PLAN,
    ADD_SERVICE,
    ADD_SUBSCRIPTION,
    CHANGE_CLIENT,
    CHANGE_PLAN,
    CHANGE_SERVICE,
    CHANGE_SUBSCRIPTION,
    DELETE_CLIENT,
    DELETE_PLAN,
    DELETE_SERVICE,
    DELETE_SUBSCRIPTION,
    SET_PRICE_STATE,
)
from services import jobs, parsing
from services.jobs.results import OUTCOMES, lines, shown
from services.models import Job, JobQuerySet
from services.reading import parameters
from services.reading.newest_first import newest_first, page_of
from services.reading.ordering import list_key
from services.tasks import run_jobs, wake
from services.views.openapi import CURSOR, ERRORS, LINK, PAGE_SIZE, PATH_ID, REFUSALS, UNKNOWN
from services.views.paging import cursor_of, known_id, link, links
from services.views.shapes_of_jobs import (
    JobLinesSerializer,
    JobPageSerializer,
    JobSerializer,
    UndoSerializer,
)

# A person or a key sees the jobs of the kinds that it may write, and its own. An undo takes these
# permissions, of its own jobs too, and that to delete.
TO_WRITE: dict[str, tuple[str, ...]] = {
    "clients": (ADD_CLIENT, CHANGE_CLIENT),
    "services": (ADD_SERVICE, CHANGE_SERVICE),
    "plans": (ADD_PLAN, CHANGE_PLAN),
    "subscriptions": (ADD_SUBSCRIPTION, CHANGE_SUBSCRIPTION),
}
TO_WRITE["import"] = tuple(each for kind in TO_WRITE.values() for each in kind)
TO_WRITE["history"] = (SET_PRICE_STATE,)
TO_DELETE = {
    "clients": DELETE_CLIENT,
    "services": DELETE_SERVICE,
    "plans": DELETE_PLAN,
    "subscriptions": DELETE_SUBSCRIPTION,
    "import": DELETE_SUBSCRIPTION,
    "history": SET_PRICE_STATE,
}
ANY_KIND = ((ADD_CLIENT, ADD_PLAN, ADD_SERVICE, ADD_SUBSCRIPTION),)


def chosen(name: str, words: tuple[str, ...] | list[str], said: str) -> OpenApiParameter:
    return OpenApiParameter(name, {"type": "string", "enum": list(words)}, description=said)


def answer_of_asked(job: dict[str, Any], replayed: bool = False) -> Response:
    """202: the job waits for a worker; `Location` says where it is to be watched."""
    headers = {"Location": f"/api/jobs/{job['id']}/", "Cache-Control": "no-store"}
    return Response(job, status=202, headers=headers | (idempotency.REPLAYED if replayed else {}))


def wake_after_commit() -> None:
    transaction.on_commit(partial(wake, run_jobs), robust=True)


class JobView(ViewSet):
    """Bulks that workers write, one after another, in the order in which they came."""

    lookup_value_regex = "[0-9]+"
    never_open = True  # OPEN_READS is about the book, and not about who writes it
    needs = dict.fromkeys(("list", "retrieve", "lines", "cancel", "undo"), ANY_KIND)

    @extend_schema(
        operation_id="jobs_list",
        parameters=[
            chosen("kind", Job.Kind.values, "Jobs that write these."),
            chosen("status", Job.Status.values, "Jobs in this state."),
            CURSOR,
            PAGE_SIZE,
            LINK,
        ],
        responses={200: JobPageSerializer, **ERRORS},
    )
    def list(self, request: Request) -> Response:
        """Jobs, newest first: of the kinds that the caller may write, and its own."""
        query = request.query_params
        parameters.refuse_unknown(query, ["kind", "status", *parameters.PAGING])
        given = {
            name: word_of(query, name, words)
            for name, words in (("kind", Job.Kind.values), ("status", Job.Status.values))
        }
        key = list_key("jobs", *given.values())
        cursor, size = cursor_of(query, key), parameters.page_size(query)
        rows = seen_by(request).filter(**{name: each for name, each in given.items() if each})
        page, older, newer = newest_first(rows.for_api(), cursor, size, key)
        next, previous = link(request, older), link(request, newer)
        return Response(
            {"result": [shown(job) for job in page], "next": next, "previous": previous},
            headers=links(next, previous),
        )

    @extend_schema(
        operation_id="jobs_retrieve",
        parameters=[PATH_ID],
        responses={200: JobSerializer, **ERRORS, **UNKNOWN},
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """One job: its state, how far it is, its counts, and why it was refused."""
        parameters.refuse_unknown(request.query_params, [])
        return Response(shown(found(request, pk)), headers={"Cache-Control": "no-store"})

    @extend_schema(
        operation_id="jobs_lines",
        parameters=[
            PATH_ID,
            chosen("outcome", OUTCOMES, "Lines with this outcome."),
            CURSOR,
            PAGE_SIZE,
            LINK,
        ],
        responses={200: JobLinesSerializer, **ERRORS, **UNKNOWN},
    )
    @action(detail=True)
    def lines(self, request: Request, pk: str) -> Response:
        """The results of a job's lines, in their order; as many as there are so far."""
        query = request.query_params
        parameters.refuse_unknown(query, ["outcome", *parameters.PAGING])
        outcome = word_of(query, "outcome", OUTCOMES)
        job = found(request, pk)
        key = list_key("lines of a job", job.pk, outcome)
        cursor, size = cursor_of(query, key), parameters.page_size(query)
        backward = cursor is not None and cursor.backward
        after = cursor.id if cursor else 0
        rows = lines(job, outcome, after, size + 1, backward)
        page, older, newer = page_of(rows, cursor, size, key, itemgetter("line"))
        next, previous = link(request, older), link(request, newer)
        return Response(
            {"result": page, "next": next, "previous": previous}, headers=links(next, previous)
        )

    @extend_schema(
        operation_id="jobs_cancel",
        parameters=[PATH_ID, idempotency.PARAMETER],
        request=None,
        responses={200: JobSerializer, **ERRORS, **UNKNOWN, **REFUSALS},
    )
    @action(detail=True, methods=["post"])
    @idempotent
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel a job that waits or runs; chunks that it has committed stay."""
        object_of(request.data, [])
        jobs.cancel(found(request, pk).pk)
        return Response(shown(found(request, pk)))

    @extend_schema(
        operation_id="jobs_undo",
        parameters=[PATH_ID, idempotency.PARAMETER],
        request=UndoSerializer,
        responses={202: JobSerializer, **ERRORS, **UNKNOWN, **REFUSALS},
    )
    @action(detail=True, methods=["post"])
    @idempotent
    def undo(self, request: Request, pk: str) -> Response:
        """Take back what a job has written and nobody has touched since: by another job."""
        given = object_of(request.data, ["dry_run"])
        dry_run = parsing.flag("dry_run", given.get("dry_run", False))
        job = found(request, pk)
        for permission in (*TO_WRITE[job.kind], TO_DELETE[job.kind]):
            may(request, permission)
        made = jobs.undo(job.pk, author(request.user), dry_run)
        wake_after_commit()
        return answer_of_asked(shown(made))


def word_of(query: Any, name: str, words: tuple[str, ...] | list[str]) -> str | None:
    value = parameters.value_of(query, name)
    if value is not None and value not in words:
        raise BadParameter(
            name,
            value,
            _("%(name)s is one of %(words)s.") % {"name": name, "words": ", ".join(words)},
            allowed=[*words],
        )
    return value


def seen_by(request: Request) -> JobQuerySet:
    kinds = [kind for kind, each in TO_WRITE.items() if all(map(request.user.has_perm, each))]
    return Job.objects.filter(Q(kind__in=kinds) | Q(author=author(request.user)))


def found(request: Request, pk: str) -> Job:
    """The job, if the caller may see it; raises NotFound, or the refusal of a permission."""
    number = known_id(pk, "job")
    job = Job.objects.filter(pk=number).for_api().first()
    if job is None:
        raise NotFound(_("There is no job %(number)s.") % {"number": number})
    if job.author != author(request.user):
        for permission in TO_WRITE[job.kind]:
            may(request, permission)
    return job


def may(request: Request, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise MayDo().refusal(request.user, [permission])
