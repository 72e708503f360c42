"""The list of price changes, by what each needs and from whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from django.db.models import F, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from desk.changes.figures import moved_money
from desk.changes.found import COLOURS, about_brake, state_of
from desk.numbers import whole_number
from desk.page import desk_page, show
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.showing.instants import in_force_from, zone_rules_differ
from price_changes.showing.progress import progress_of
from price_changes.showing.sentences import sentence
from pricebook.kit.authors import in_words
from pricebook.kit.scopes import PLAN, VIEW_CHANGE, VIEW_CLIENT
from services.models import Plan, Service

Status = PriceChange.Status
PAGE = 50
OPEN = 200  # open changes that are shown together
NOT_APPROVED = Q(approved_at__isnull=False) & ~Q(needs_another="")


@dataclass
class Section:
    """Changes that need the same of somebody. `by_instant`: in the order of their instants."""

    name: str
    title: str | Promise
    says: str | Promise
    states: tuple[str, ...]
    by_instant: bool = False
    changes: list[Any] = field(default_factory=list)


SECTIONS = (
    ("waiting", gettext_lazy("Waiting for approval"),
     gettext_lazy("Planned; nothing of them has moved."), (Status.PLANNED,), False),
    ("held", gettext_lazy("Held"),
     gettext_lazy("Their instant has come, and they did not start: look at them again."),
     (Status.HELD,), False),
    ("running", gettext_lazy("Running"),
     gettext_lazy("In force; their prices are being written, or the writing is paused."),
     (Status.APPLYING, Status.PAUSED), True),
    ("scheduled", gettext_lazy("Scheduled"),
     gettext_lazy("Approved, in the order of their instants."), (Status.SCHEDULED,), True),
    ("not_approved", gettext_lazy("Not approved"),
     gettext_lazy("Edits that moved prices beyond a limit: accept them, or take them back."),
     (), False),
    ("done", gettext_lazy("Done"), "", (Status.APPLIED,), False),
    ("ended", gettext_lazy("Cancelled, rejected, taken back"), "",
     (Status.CANCELLED, Status.REVERTED), False),
)  # fmt: skip
OPEN_SECTIONS = ("waiting", "held", "running", "scheduled", "not_approved")


def sections() -> dict[str, Section]:
    return {each[0]: Section(*each) for each in SECTIONS}


class BadFilter(Exception):
    """A value of the address that is no filter; the text names it."""


@desk_page(VIEW_CHANGE)
@require_safe
def changes(request: HttpRequest) -> HttpResponse:
    """All changes: the open ones by what they need, and the finished ones, the newest first.

    Up to sixteen queries, whatever their number.
    """
    known = sections()
    context: dict[str, Any] = {
        "given": {name: request.GET.get(name, "") for name in (*NAMES, "after")},
        "sections": [],
        "known": known.values(),
        "is_about": whole_number(request.GET.get("about", "").partition(":")[2]),
        "services": Service.objects.order_by("name").only("name"),
        "plans": Plan.objects.order_by("plan_type", "discount_percent"),
        "may_plan": request.user.has_perm(PLAN),
        **about_brake(request.user),
    }
    status = 200
    try:
        asked = _asked(context["given"])
        names_clients = request.user.has_perm(VIEW_CLIENT)
        shown, more = _found(context["given"], asked, known, names_clients)
    except BadFilter as error:
        context["refused"], status = str(error), 400
    else:
        context["sections"] = shown
        context["next"] = more
        kept = {name: context["given"][name] for name in NAMES if context["given"][name]}
        context["query"] = "".join(f"{name}={quote(value)}&" for name, value in kept.items())
    context["filtered"] = any(context["given"][name] for name in NAMES)
    return show(request, "changes/list", _("Price changes"), status, **context)


NAMES = ("state", "about", "since", "until", "q")


def _asked(given: dict[str, str]) -> QuerySet[Any]:
    """The changes that the filters find, but for their state."""
    found: QuerySet[Any] = PriceChange.objects.select_related("reverts").defer("preview")
    found = found.annotate(
        moves=KeyTextTransform("moves", "preview"),
        before=KeyTextTransform("total_before", "preview"),
        after=KeyTextTransform("total_after", "preview"),
    )
    if any("\x00" in value for value in given.values()):
        raise BadFilter(_("A filter can't contain the character NUL."))
    if given["state"] and given["state"] not in {each[0] for each in SECTIONS}:
        raise BadFilter(_("There is no state “%(value)s”.") % {"value": given["state"][:100]})
    if about := given["about"]:
        kind, _colon, number = about.partition(":")
        if kind not in ("service", "plan") or whole_number(number) is None:
            raise BadFilter(_("“%(value)s” names no service and no plan.") % {"value": about[:100]})
        pk = whole_number(number)
        found = found.filter(Q(**{f"{kind}_id": pk}) | Q(**{f"filter__{kind}": pk}))
    for name, lookup in (("since", "gte"), ("until", "lte")):
        if given[name]:
            at = _day(given[name], time.min if name == "since" else time.max)
            either = Q(**{f"effective_at__{lookup}": at})
            either |= Q(**{"effective_at": None, f"planned_at__{lookup}": at})
            found = found.filter(either)
    if given["q"]:
        found = found.filter(title__icontains=given["q"][:100])
    return found


def _day(text: str, at: time) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadFilter(_("“%(value)s” is no date.") % {"value": text[:100]}) from None
    if not 1970 <= day.year <= 9000:
        raise BadFilter(_("“%(value)s” is no date.") % {"value": text[:100]})
    return timezone.make_aware(datetime.combine(day, at))


def _found(
    given: dict[str, str], asked: QuerySet[Any], known: dict[str, Section], names_clients: bool
) -> tuple[list[Section], int | None]:
    """The sections to show, and the number after which the next page begins."""
    after = given["after"]
    if after and whole_number(after) is None:
        raise BadFilter(_("“%(value)s” is no page of this list.") % {"value": after[:100]})
    if given["state"]:
        section = known[given["state"]]
        section.changes, more = _page(_of(section, asked), section.by_instant, after)
        _look(section.changes, names_clients)
        return [section], more
    shown: list[Section] = []
    if not after:
        states = [state for name in OPEN_SECTIONS for state in known[name].states]
        is_open = Q(status__in=states) | (NOT_APPROVED & Q(status=Status.APPLIED))
        by_instant = (F("effective_at").asc(nulls_first=True), "approval", "-pk")
        found = list(asked.filter(is_open).order_by(*by_instant)[:OPEN])
        _look(found, names_clients)
        for change in found:
            name = "not_approved" if change.not_approved else _section_of(change, known)
            known[name].changes.append(change)
        shown = [known[name] for name in OPEN_SECTIONS if known[name].changes]
        for section in shown:
            if not section.by_instant:
                section.changes.sort(key=lambda change: -change.pk)
    finished = Section(
        "finished", _("Finished"), "", (Status.APPLIED, Status.CANCELLED, Status.REVERTED)
    )
    finished.changes, more = _page(_of(finished, asked), False, after)
    _look(finished.changes, names_clients)
    if finished.changes or not shown:
        shown.append(finished)
    return shown, more


def _section_of(change: PriceChange, known: dict[str, Section]) -> str:
    """By its state as of now, which a worker may not have written yet."""
    return next(name for name in OPEN_SECTIONS if change.status in known[name].states)


def _of(section: Section, asked: QuerySet[Any]) -> QuerySet[Any]:
    if section.name == "not_approved":
        return asked.filter(NOT_APPROVED, status__in=("applying", "paused", "applied"))
    return asked.filter(status__in=section.states)


def _page(found: QuerySet[Any], by_instant: bool, after: str) -> tuple[list[Any], int | None]:
    if by_instant:
        found = found.order_by("effective_at", "pk")
        last = PriceChange.objects.filter(pk=after).first() if after else None
        if last is not None and last.effective_at is not None:
            at = last.effective_at
            found = found.filter(Q(effective_at__gt=at) | Q(effective_at=at, pk__gt=last.pk))
    else:
        found = found.order_by("-pk")
        if after:
            found = found.filter(pk__lt=after)
    page = list(found[: PAGE + 1])
    return page[:PAGE], page[PAGE - 1].pk if len(page) > PAGE else None


def _look(found: Iterable[Any], names_clients: bool) -> None:
    """Set on each change what its row shows."""
    found = list(found)
    status_now.refresh(found)
    names, progress = Names.of_changes(found, names_clients), progress_of(found)
    moved = moved_money([change.pk for change in found if change.after is None])
    for change in found:
        change.says = sentence(change, names)
        change.colour, change.state = COLOURS[Status(change.status)], state_of(change)
        change.from_when = in_force_from(change)
        change.zone_rules = zone_rules_differ(change)
        change.progress = progress.get(change.pk)
        change.moves_count = int(change.moves or 0)
        both = (change.planned_by, change.approved_by or change.cancelled_by)
        change.people = list(dict.fromkeys(in_words(each) for each in both if each))
        if change.after is not None:
            change.difference = Decimal(change.after) - Decimal(change.before)
        elif change.pk in moved:  # an edit has no preview
            before, after, _number_of_rows = moved[change.pk]
            change.difference = after - before
