"""The clients who are to be told of a price change: a list to work off, by hand or by a file."""

from __future__ import annotations

from datetime import datetime
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_safe

from desk.changes.found import change_or_404, name_of, state_of
from desk.changes.rows import clients_like
from desk.files.sheets import sheet
from desk.files.uploading import choices_of, too_long
from desk.numbers import whole_number
from desk.page import View, desk_page, show
from price_changes.errors import ChangeError
from price_changes.kinds.values import refusing
from price_changes.kinds.words import Names
from price_changes.models import PriceChange, Told, ToTell
from price_changes.notices import NOT_TOLD, Mark, Outcome, Standing, standing, tell, to_tell
from price_changes.notices.files import marks_of, reading_of, table_of
from price_changes.notices.lists import WHICH, Which
from price_changes.notices.telling import LONGEST_NOTE, MAY_BE_TOLD
from price_changes.planning.notice_days import zone_of
from price_changes.showing.instants import in_force_from
from pricebook.kit.access import author
from pricebook.kit.figures import grouped
from pricebook.kit.scopes import APPROVE, PLAN, VIEW_CHANGE, VIEW_CLIENT
from services import parsing
from services.models import book_clock
from services.transfer.csv_file import BadBook
from services.transfer.files import BadReading
from services.transfer.files.reading import CHOICES
from services.transfer.sheets.headings import in_words

PAGE = 100
LISTS: dict[str, Any] = {
    "": gettext_lazy("All"),
    "not_told": gettext_lazy("Not told"),
    "late": gettext_lazy("Told too late"),
    "told": gettext_lazy("Told"),
}
NEEDS = (VIEW_CHANGE, VIEW_CLIENT)


class MarkForm(forms.Form):
    """The day on which clients were told, and a note of it."""

    told_on = forms.DateField(
        label=gettext_lazy("Told on"),
        required=False,
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
    )
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=LONGEST_NOTE,
        help_text=gettext_lazy("Such as: letter 4711, or by phone."),
    )


class FileForm(forms.Form):
    file = forms.FileField(label=gettext_lazy("File"), allow_empty_file=True)
    sheet = forms.CharField(label=gettext_lazy("Sheet"), required=False, max_length=31)
    encoding = forms.ChoiceField(label=gettext_lazy("Encoding"), required=False)
    delimiter = forms.ChoiceField(label=gettext_lazy("Separator"), required=False)
    dates = forms.ChoiceField(label=gettext_lazy("Dates"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        for option in CHOICES:
            if option in fields:
                fields[option].choices = choices_of(option)

    @property
    def of_reading(self) -> list[Any]:
        return [self[name] for name in self.fields if name != "file"]


@desk_page(*NEEDS)
@require_safe
def notices(request: HttpRequest, pk: int) -> HttpResponse:
    """A page of the list, all or those that `list` names. Up to twelve queries; the first look at
    the list of a change that asks for no notice makes it, with one query over its rows."""
    return _page(request, change_or_404(pk))


def _page(
    request: HttpRequest,
    change: PriceChange,
    form: MarkForm | None = None,
    file_form: FileForm | None = None,
    refused: BadBook | None = None,
) -> HttpResponse:
    which, after, wanted = _asked_for(request)
    try:
        listed = to_tell(change, which).filter(client_id__gt=after)
    except ChangeError as error:
        messages.info(request, error.detail)
        return HttpResponseRedirect(reverse("desk:change", args=[change.pk]))
    if wanted:
        listed = listed.filter(client_id__in=clients_like(wanted))
    rows = list(listed[: PAGE + 1])
    ticked = set(request.POST.getlist("client"))
    numbers = standing(change)
    names = Names.of_changes([change], names_clients=True)
    today = book_clock().astimezone(zone_of(change.effective_zone)).date()
    return show(
        request,
        "notices/list",
        _("Clients to tell of “%(change)s”") % {"change": name_of(change, names)},
        400 if refused or file_form else 200,
        change=change,
        state=state_of(change),
        from_when=in_force_from(change),
        is_to_come=change.status == PriceChange.Status.SCHEDULED,
        standing=numbers,
        lists=[
            {"name": name, "label": label, "rows": _count(name, numbers)}
            for name, label in LISTS.items()
            if name != "late" or numbers.told_late or which == "late"
        ],
        which=which,
        wanted=wanted,
        rows=[_shown(row) | {"ticked": str(row.client_id) in ticked} for row in rows[:PAGE]],
        next=rows[PAGE - 1].client_id if len(rows) > PAGE else None,
        first=not after,
        here=_here(which, wanted, after),
        form=form or MarkForm(initial={"told_on": today}),
        file_form=file_form or FileForm(),
        refused=refused,
        today=today,
        may_mark=_may_mark(request.user) and change.status in MAY_BE_TOLD,
        most_bytes=settings.LONGEST_BULK,
    )


def _shown(row: ToTell) -> dict[str, Any]:
    return {
        "row": row,
        "difference": row.new_total - row.old_total,
        "way": str(Told.Way(row.way).label) if row.way else "",
    }


def _asked_for(request: HttpRequest) -> tuple[Which, int, str]:
    """The list, the place in it, and the words of a name; the first page of all in place of what
    there is not, with a message that names the value."""
    given = request.GET
    which, after, wanted = given.get("list", ""), given.get("after", "0"), given.get("client", "")
    place, wanted = whole_number(after), wanted.strip()
    if which in LISTS and place is not None and "\x00" not in wanted and len(wanted) <= 100:
        return which, place, wanted  # type: ignore[return-value]
    value = which if which not in LISTS else after if place is None else wanted
    messages.error(
        request,
        _("There is no list of clients “%(value)s”; this is the first one.")
        % {"value": value[:100].replace("\x00", "\N{REPLACEMENT CHARACTER}")},
    )
    return "", 0, ""


def _count(name: str, numbers: Standing) -> int:
    counted = {"": numbers.total, "not_told": numbers.not_told, "late": numbers.told_late}
    return counted.get(name, numbers.total - numbers.not_told)


def _may_mark(user: Any) -> bool:
    return any(user.has_perm(each) for each in (PLAN, APPROVE))


def for_tellers(view: View) -> View:
    """A view for those who may mark; it is posted to, and else leads to the list."""

    @wraps(view)
    def guarded(request: HttpRequest, pk: int) -> HttpResponseBase:
        if not _may_mark(request.user):
            raise PermissionDenied(
                _("You may not mark clients as told: that takes the right to plan, or to approve.")
            )
        if request.method != "POST":
            return HttpResponseRedirect(reverse("desk:notices", args=[pk]))
        return view(request, pk)

    return guarded


@desk_page(*NEEDS)
@for_tellers
def mark(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark the ticked clients, or all who were not told, as told on a day; or the ticked ones as
    not told after all. As `tell`, and two queries."""
    change = change_or_404(pk)
    form = MarkForm(request.POST)
    if not form.is_valid():
        return _page(request, change, form)
    does, day = request.POST.get("does", ""), form.cleaned_data["told_on"]
    if does not in ("ticked", "all", "untold"):
        return _back(request, change, _("Nothing was done: mark them by a button."))
    if does != "untold" and day is None:
        form.add_error("told_on", _("Give the day on which they were told."))
        return _page(request, change, form)
    try:
        clients = _not_told(request, change) if does == "all" else _ticked(request)
        if isinstance(clients, str):
            return _back(request, change, clients)
        day = None if does == "untold" else day
        marks: list[Mark] = [(client, day, form.cleaned_data["note"]) for client in clients]
        outcome = tell(
            change, marks, Told.Way.HAND, author(request.user), told_of=_shown_instant(request)
        )
    except ChangeError as error:
        return _back(request, change, _("Nothing was done. %(why)s") % {"why": error.detail})
    messages.success(request, _said(outcome, not_told=does == "untold"))
    return _to_list(request, change)


def _ticked(request: HttpRequest) -> list[int] | str:
    ticked = [whole_number(each) for each in request.POST.getlist("client")]
    if not ticked or None in ticked:
        return _("Nothing was done: tick the clients first.")
    return list(dict.fromkeys(each for each in ticked if each is not None))


def _not_told(request: HttpRequest, change: PriceChange) -> list[int] | str:
    """All who were not told; a sentence if these are not as many as the page has shown."""
    found = list(to_tell(change, NOT_TOLD).values_list("client_id", flat=True))
    if str(len(found)) != request.POST.get("seen"):
        return ngettext(
            "Nothing was done: %(clients)s client is not told by now. Look again.",
            "Nothing was done: %(clients)s clients are not told by now. Look again.",
            len(found),
        ) % {"clients": grouped(len(found))}
    return found


@desk_page(*NEEDS)
@require_safe
def out(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The list as a workbook or as CSV for the reader's Excel, to be filled in and sent back."""
    change = change_or_404(pk)
    which = request.GET.get("list", "")
    try:
        table = table_of(change, which if which in WHICH else "", _why(change))  # type: ignore[arg-type]
    except ChangeError as error:
        return _back(request, change, error.detail, "desk:change")
    return sheet(request, in_words(table))


def _why(change: PriceChange) -> str:
    return name_of(change, Names.of_changes([change], names_clients=True))


@desk_page(*NEEDS)
@for_tellers
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """Read a file with the days on which clients were told: all lines or none."""
    change = change_or_404(pk)
    form = FileForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, change, file_form=form)
    file = form.cleaned_data["file"]
    if file.size > settings.LONGEST_BULK:
        form.add_error("file", too_long(file.name, file.size))
        return _page(request, change, file_form=form)
    try:
        marks = marks_of(change, file, reading_of(form.cleaned_data))
        told_of = _shown_instant(request) or change.effective_at
        if not marks:
            text = _("Nothing was done: no line of %(file)s has a day on which a client was told.")
            return _back(request, change, text % {"file": file.name})
        outcome = tell(change, marks, Told.Way.FILE, author(request.user), told_of)
    except BadBook as problems:
        return _page(request, change, file_form=form, refused=problems)
    except BadReading as error:
        form.add_error(None, error.detail)
        return _page(request, change, file_form=form)
    except ChangeError as error:
        return _back(request, change, _("Nothing was done. %(why)s") % {"why": error.detail})
    messages.success(request, _said(outcome))
    return _to_list(request, change)


def _said(outcome: Outcome, *, not_told: bool = False) -> str:
    """The effect of marks, said back."""
    number = {"clients": grouped(outcome.recorded)}
    if not_told:
        said = ngettext(
            "Marked %(clients)s client as not told.",
            "Marked %(clients)s clients as not told.",
            outcome.recorded,
        )
    else:
        said = ngettext(
            "Marked %(clients)s client as told.",
            "Marked %(clients)s clients as told.",
            outcome.recorded,
        )
    parts = [said % number]
    if outcome.unchanged:
        parts.append(
            ngettext(
                "%(clients)s client stood so already.",
                "%(clients)s clients stood so already.",
                outcome.unchanged,
            )
            % {"clients": grouped(outcome.unchanged)}
        )
    if outcome.standing.all_told:
        parts.append(_("All have been told."))
    return " ".join(parts)


def _to_list(request: HttpRequest, change: PriceChange) -> HttpResponse:
    """The list, where the person was in it; what is left of those not told, from its beginning."""
    which, after, wanted = _asked_for(request)
    here = _here(which, wanted, 0 if which == NOT_TOLD else after)
    return HttpResponseRedirect(reverse("desk:notices", args=[change.pk]) + here)


def _here(which: Which, wanted: str, after: int) -> str:
    """The query of an address that leads to this place of the list."""
    asked = {"list": which, "client": wanted, "after": after or ""}
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"?{query}" if query else ""


def _shown_instant(request: HttpRequest) -> datetime | None:
    """The instant of the change when the page was made: it may be approved for another since."""
    given = request.POST.get("told_of", "")
    return refusing(parsing.instant)("told_of", given) if given else None


def _back(
    request: HttpRequest, change: PriceChange, said: str, to: str = "desk:notices"
) -> HttpResponse:
    messages.error(request, said)
    return HttpResponseRedirect(reverse(to, args=[change.pk]))
