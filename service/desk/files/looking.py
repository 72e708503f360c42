"""The page of a job: how its file was understood, what it would do or has done, and its verbs."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from clients.models import Client
from desk.files import words
from desk.files.lines import PAGE, lines_of, new_services
from desk.files.problems import choices_of, columns_of, counted, problems_of, rows_of
from desk.files.rights import TO_IMPORT, job_of, refuse_unless, seen_by, to_read, to_undo
from desk.files.sheets import sheet
from desk.numbers import whole_number
from desk.page import desk_page, show
from pricebook.kit.access import author
from pricebook.kit.refusal import Refusal
from pricebook.kit.scopes import VIEW_CLIENT, VIEW_SUBSCRIPTION
from pricebook.words.stored import refusal_shown
from services import jobs
from services.models import ImportMapping, Job
from services.reading.newest_first import newest_first
from services.reading.ordering import Cursor
from services.transfer.files import BadReading, Reading
from services.transfer.sheets.table import Column, Moment, Table, Type
from services.views.jobs import wake_after_commit

KINDS = ("files", "all")


@desk_page(VIEW_SUBSCRIPTION)
@require_safe
def imports(request: HttpRequest) -> HttpResponse:
    """The files that were read, the newest first; or all jobs. Two queries."""
    which = request.GET.get("kind", "files")
    if which not in KINDS:
        raise Http404(_("There are no jobs “%(kind)s”.") % {"kind": which[:50]})
    rows = seen_by(request.user)
    if which == "files":
        rows = rows.filter(kind__in=Job.OF_FILES)
    page, older, newer = newest_first(rows.for_api(), cursor_of(request.GET), PAGE)
    return show(
        request,
        "files/imports",
        _("Imports") if which == "files" else _("Jobs"),
        which=which,
        jobs=[{"job": job, **said_of(job)} for job in page],
        older=older and f"before={older.id}",
        newer=newer and f"after={newer.id}",
    )


def cursor_of(query: QueryDict) -> Cursor | None:
    """The place of a page: `before` or `after` a number."""
    for name in ("before", "after"):
        if (text := query.get(name)) is not None:
            number = whole_number(text)
            if number is None:
                raise Http404(_("“%(value)s” is no place of a list.") % {"value": text[:50]})
            return Cursor(number, backward=name == "after")
    return None


def said_of(job: Any) -> dict[str, Any]:
    state, badge = words.state_of(job)
    return {
        "name": words.title_of(job),
        "by": words.author_of(job),
        "kind": words.KINDS[job.kind],
        "state": state,
        "badge": badge,
        "effect": words.effect_of(job),
        "counts": counts_of(job),
    }


def counts_of(job: Any) -> list[tuple[str, str, int]]:
    """The outcomes of a job's lines that there are: name, word, number."""
    return [
        (name, str(word), job.counts[name])
        for name, word in words.OUTCOMES.items()
        if job.counts.get(name)
    ]


@desk_page(VIEW_SUBSCRIPTION)
@require_safe
def look(request: HttpRequest, pk: int) -> HttpResponse:
    """How a file was understood, and line by line what it does. Up to fourteen queries."""
    job: Any = job_of(request, pk)
    live = job.status in Job.DUE
    found = job.found or {}
    is_file = job.kind in Job.OF_FILES and job.undoes_id is None
    context: dict[str, Any] = {
        "job": job,
        "live": live,
        "is_file": is_file,
        **said_of(job),
        "understood": understood_by(job),
        "may_act": request.user.has_perms(to_read(job.kind) if is_file else to_undo(job.kind)),
    }
    if not live:
        # A file is kept for a day: without it nothing can be read again.
        has_file = is_file and job.is_kept and job.pieces.exists()
        standing = None
        if is_file and job.dry_run:
            done_or_due = [*Job.DUE, Job.Status.DONE]
            standing = job.applied_by.filter(status__in=done_or_due).first()
        writes = sum(number for name, _word, number in context["counts"] if name != "unchanged")
        code = (job.error or {}).get("code", "")
        refusal = problems_of(job) if code == "file_refused" else None
        context |= {
            "has_file": has_file,
            "standing": standing,
            "can_apply": has_file
            and job.dry_run
            and job.status == "done"
            and writes
            and not standing,
            "new_services": new_services(job) if job.dry_run and job.status == "done" else [],
            "writes": writes,
            "nothing_to_do": job.status == "done" and is_file and job.dry_run and not writes,
            "problems": refusal,
            "most_bytes": settings.LONGEST_BULK,
            "places": counted(refusal.count) if refusal and refusal.count else "",
            "choices": choices_of(job) if refusal else [],
            "error": refusal_shown((job.error or {}).get("detail", "")),
            "differs": code == "differs_from_shown",
            "needs_another": code == "needs_another_person",
            "moved": moved_by(found),
            "clients": clients_moved(request, found),
            "new": [
                (words.RECORDS_NEW[kind], number)
                for kind, number in (found.get("new") or {}).items()
                if number
            ],
            "can_keep": is_file and job.status == "done" and (job.options or {}).get("reading"),
            "can_undo": can_undo(request, job, writes),
            "of_undo": job.undoes_id is not None,
            "rows": lines_of(request, job),
        }
        wanted = context["rows"]
        if wanted.unknown:
            raise Http404(wanted.unknown)
    return show(request, "files/import", words.title_of(job), **context)


def understood_by(job: Job) -> list[tuple[str, str]]:
    """How a file was read, for people."""
    said = (job.found or {}).get("understood") or (job.error or {}).get("understood") or {}
    return [
        (str(label), words.choice(name, said[name]))
        for name, label in words.UNDERSTOOD.items()
        if said.get(name)
    ]


def moved_by(found: dict[str, Any]) -> dict[str, Any]:
    if not (moved := found.get("moved")):
        return {}
    said: dict[str, Any] = {
        "rows": moved["rows"],
        "before": Decimal(moved["before"]),
        "after": Decimal(moved["after"]),
    }
    said["difference"] = said["after"] - said["before"]
    if paid := found.get("paid"):
        said["paid_before"], said["paid_after"] = map(Decimal, paid)
        said["paid_difference"] = said["paid_after"] - said["paid_before"]
    return said


def clients_moved(request: HttpRequest, found: dict[str, Any]) -> list[dict[str, Any]]:
    moved = found.get("clients_moved") or []
    if not moved or not request.user.has_perm(VIEW_CLIENT):
        return []
    names = dict(
        Client.objects.filter(pk__in=[each["client"] for each in moved]).values_list(
            "pk", "company_name"
        )
    )
    return [
        {
            "id": each["client"],
            "name": names.get(each["client"], ""),
            "rows": each["rows"],
            "before": Decimal(each["before"]),
            "after": Decimal(each["after"]),
            "difference": Decimal(each["after"]) - Decimal(each["before"]),
        }
        for each in moved
    ]


def can_undo(request: HttpRequest, job: Any, writes: int) -> bool:
    if job.undoes_id is not None:  # a look at an undo, whose button does it
        return bool(
            job.dry_run
            and job.status == "done"
            and request.user.has_perms(to_undo(job.kind))
            and not Job.objects.filter(
                undoes=job.undoes_id, dry_run=False, status__in=[*Job.DUE, "done"]
            ).exists()
        )
    ended = job.status in ("done", "failed", "cancelled") and not job.dry_run
    undone = (
        job.last_undo is not None
        and Job.objects.filter(pk=job.last_undo, status__in=[*Job.DUE, "done"]).exists()
    )
    return bool(
        ended
        and writes
        and not undone
        and job.kind != Job.Kind.HISTORY
        and request.user.has_perms(to_undo(job.kind))
    )


# --- Verbs ---------------------------------------------------------------------------------------


@desk_page(VIEW_SUBSCRIPTION)
def do(request: HttpRequest, pk: int) -> HttpResponse:
    """Do what a button of the page says; its page follows, or that of the job which does it."""
    job = job_of(request, pk)
    verb = VERBS.get(request.POST.get("do", ""))
    if request.method != "POST" or verb is None:
        return redirect("desk:import", pk)
    try:
        with transaction.atomic():
            made = verb(request, job)
            wake_after_commit()
    except Refusal as refusal:
        messages.error(request, refusal.detail)
        made = None
        if refusal.code == "applied_already":
            return redirect("desk:import", refusal.about["job"])
    return redirect("desk:import", pk if made is None else made.pk)


def apply(request: HttpRequest, job: Job) -> Job:
    refuse_unless(request.user, *to_read(job.kind))
    return jobs.apply(job.pk, author(request.user))


def again(request: HttpRequest, job: Job) -> Job:
    """Look at the file once more, with the answers of the form over the options that it had."""
    refuse_unless(request.user, *to_read(job.kind))
    options = dict(job.options or {})
    said = dict(options.get("reading") or {})
    columns = dict(said.pop("columns", {}))
    refusal = problems_of(job)
    for question in refusal.questions:
        chosen = request.POST.get(question.name, "")
        if chosen in [each.value for each in question.answers]:
            option, _sign, value = chosen.partition("=")
            said[option] = value
    for heading in refusal.headers:
        if heading.name in request.POST:
            columns[heading.header] = request.POST[heading.name]
    for option, _label in refusal.allowed:
        if request.POST.get(option):
            options[option] = True
    options["reading"] = Reading.of(said | {"columns": columns}, columns_of(job)).said
    return jobs.again(job.pk, author(request.user), options)


def cancel(request: HttpRequest, job: Job) -> None:
    refuse_unless(request.user, *to_undo(job.kind)[:-1])
    jobs.cancel(job.pk)
    messages.success(request, _("The job was cancelled. Nothing more of it is written."))


def look_at_undo(request: HttpRequest, job: Job) -> Job:
    refuse_unless(request.user, *to_undo(job.kind))
    return jobs.undo(job.pk, author(request.user), dry_run=True)


def undo(request: HttpRequest, job: Job) -> Job:
    """Take back the job whose undo was looked at; once, whoever asks how often."""
    refuse_unless(request.user, *to_undo(job.kind))
    if job.undoes_id is None:
        raise jobs.JobRefused("wrong_state", _("Look first at what the undo would do."), 409)
    Job.objects.select_for_update(no_key=True).get(pk=job.undoes_id)
    standing = Job.objects.filter(
        undoes=job.undoes_id, dry_run=False, status__in=[*Job.DUE, Job.Status.DONE]
    ).first()
    return standing or jobs.undo(job.undoes_id, author(request.user), dry_run=False)


def keep(request: HttpRequest, job: Job) -> None:
    refuse_unless(request.user, *TO_IMPORT)
    reading = Reading.of((job.options or {}).get("reading") or {}, columns_of(job))
    name = request.POST.get("name", "").strip()
    other = ImportMapping.objects.filter(name=name.replace("\0", "?")).exclude(reading=reading.said)
    if other.exists():
        said = _("Another reading is kept as “%(name)s”: choose another name, or forget that one.")
        messages.error(request, said % {"name": name})
        return
    try:
        reading.keep(name)
    except BadReading:
        messages.error(request, _("Give the reading a name of 1 to 50 characters."))
        return
    messages.success(
        request, _("Kept as “%(name)s”: choose it when you upload the next file.") % {"name": name}
    )


VERBS: dict[str, Callable[[HttpRequest, Job], Job | None]] = {
    "apply": apply,
    "again": again,
    "cancel": cancel,
    "look_at_undo": look_at_undo,
    "undo": undo,
    "keep": keep,
}


@desk_page(VIEW_SUBSCRIPTION)
@require_safe
def problems(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The places of a file that are wrong, as a sheet to correct them by."""
    job = job_of(request, pk)
    if not (job.error or {}).get("problems"):
        raise Http404(_("There is nothing wrong with the file of job %(number)s.") % {"number": pk})
    names = (_("Place"), _("Column"), _("Value"), _("How to correct it"))
    table = Table(
        f"problems-{pk}",
        tuple(Column(name, Type.TEXT) for name in names),
        rows_of(job),
        lambda: Moment("0", False),
    )
    return sheet(request, table)
