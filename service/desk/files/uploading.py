"""Upload a file: the form, and the job that reads it without writing anything."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from desk.files.rights import TO_IMPORT, job_of, refuse_unless, seen_by, to_read
from desk.files.words import COLUMNS, choice
from desk.numbers import whole_number
from desk.page import desk_page, show
from pricebook.kit.access import author
from pricebook.kit.scopes import VIEW_SUBSCRIPTION
from services import jobs
from services.models import ImportMapping, Job
from services.past.importing import COLUMNS as HISTORY
from services.transfer.csv_file import COLUMNS as BOOK
from services.transfer.files import BadReading, Reading
from services.transfer.files.reading import CHOICES
from services.views.bulk import begun
from services.views.imports import FILES, KINDS
from services.views.jobs import wake_after_commit

RECENT = 5  # imports below the form


def choices_of(option: str) -> list[tuple[str, str]]:
    return [
        ("", _("found out by itself")),
        *((each, choice(option, each)) for each in CHOICES[option]),
    ]


class UploadForm(forms.Form):
    """A file, and how it is to be read. All that is not said is found out, or asked."""

    file = forms.FileField(label=gettext_lazy("File"), allow_empty_file=True)
    kind = forms.ChoiceField(choices=[(each, each) for each in KINDS], required=False)
    update = forms.BooleanField(
        label=gettext_lazy("Change what differs from the book"),
        required=False,
        help_text=gettext_lazy("Without this tick the file may only add."),
    )
    add = forms.BooleanField(
        label=gettext_lazy("Add lines that may be subscriptions which somebody has edited since"),
        required=False,
        help_text=gettext_lazy(
            "Without this tick such lines are refused, with the subscriptions meant."
        ),
    )
    mapping = forms.ChoiceField(
        label=gettext_lazy("Read as"),
        required=False,
        help_text=gettext_lazy("A reading that was kept under a name."),
    )
    sheet = forms.CharField(
        label=gettext_lazy("Sheet"),
        required=False,
        max_length=31,
        help_text=gettext_lazy("Its name, if several sheets have the columns."),
    )
    encoding = forms.ChoiceField(label=gettext_lazy("Encoding"), required=False)
    delimiter = forms.ChoiceField(label=gettext_lazy("Separator"), required=False)
    decimal = forms.ChoiceField(label=gettext_lazy("Decimal sign"), required=False)
    dates = forms.ChoiceField(label=gettext_lazy("Dates"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kept = ImportMapping.objects.values_list("name", flat=True)
        fields: dict[str, Any] = self.fields
        fields["mapping"].choices = [("", _("no kept reading")), *((n, n) for n in kept)]
        for option in CHOICES:
            fields[option].choices = choices_of(option)

    @property
    def of_reading(self) -> list[Any]:
        return [self[name] for name in ("mapping", "sheet", *CHOICES)]

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > settings.LONGEST_BULK:
            raise forms.ValidationError(too_long(file.name, file.size))
        return file

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                given["reading"] = Reading.of(given, columns_of(given.get("kind", ""))).said
            except BadReading as error:
                self.add_error(None, error.detail)
        return given


def columns_of(kind: str) -> Any:
    return HISTORY if kind == "history" else BOOK


def too_long(name: str, size: int) -> str:
    return _("%(name)s has %(size)s, and a file may have %(most)s: split it.") % {
        "name": name,
        "size": filesizeformat(size),
        "most": filesizeformat(settings.LONGEST_BULK),
    }


@desk_page(VIEW_SUBSCRIPTION)
def files(request: HttpRequest) -> HttpResponse:
    """Bring files in, and take lists out."""
    return page(request, UploadForm())


def page(request: HttpRequest, form: UploadForm, status: int = 200) -> HttpResponse:
    user = request.user
    may_import = user.has_perms(TO_IMPORT)
    return show(
        request,
        "files/files",
        _("Import and export"),
        status,
        form=form,
        may_import=may_import,
        may_bring_history=user.has_perms(to_read(Job.Kind.HISTORY)),
        needed=", ".join(TO_IMPORT),
        mappings=list(ImportMapping.objects.all()) if may_import else [],
        most=filesizeformat(settings.LONGEST_BULK),
        most_bytes=settings.LONGEST_BULK,
        columns=columns_said(BOOK),
        columns_of_history=columns_said(HISTORY),
        recent=list(seen_by(user).filter(kind__in=Job.OF_FILES).for_api()[:RECENT]),
    )


def columns_said(known: Any) -> list[tuple[str, str, bool]]:
    """Columns of a file: the name, what it is, whether it has to be there."""
    return [(name, str(COLUMNS.get(name, name)), each.required) for name, each in known.items()]


@desk_page(*TO_IMPORT)
def upload(request: HttpRequest) -> HttpResponse:
    """Read a file without writing anything: a dry run, whose page shows what it would do.

    `like`: the number of a job whose options are taken, for a file that was corrected.
    """
    if request.method != "POST":
        return redirect("desk:files")
    posted = request.POST.copy()
    like = posted.get("like", "")
    form = UploadForm(posted, request.FILES)
    if not form.is_valid():
        return page(request, form, 400)
    given = form.cleaned_data
    kind = Job.Kind.HISTORY if given["kind"] == "history" else Job.Kind.IMPORT
    options: dict[str, Any] = {name: given[name] for name in ("update", "add", "reading")}
    if (number := whole_number(like)) is not None:
        before = job_of(request, number)
        kind, options = Job.Kind(before.kind), before.options or {}
    refuse_unless(request.user, *to_read(kind))
    file = given["file"]
    if not begun.acquire(blocking=False):
        messages.error(
            request, _("As many files as are allowed at once are being sent. Try again.")
        )
        return page(request, form, 503)
    try:
        with transaction.atomic():
            media_type = FILES.get((file.content_type or "").lower(), "")
            job = jobs.look(kind, file, media_type, file.name, author(request.user), options)
            wake_after_commit()
    finally:
        begun.release()
    return redirect("desk:import", job.pk)


@desk_page(*TO_IMPORT)
def forget_mapping(request: HttpRequest) -> HttpResponse:
    """Delete a kept reading; files that were read with it stay what they are."""
    if request.method == "POST":
        name = request.POST.get("name", "").replace("\0", "?")
        gone, _kinds = ImportMapping.objects.filter(name=name).delete()
        if gone:
            messages.success(request, _("“%(name)s” is not kept any more.") % {"name": name})
        else:
            messages.warning(request, _("Nothing is kept as “%(name)s”.") % {"name": name[:50]})
    return redirect("desk:files")
