"""The home page: what is paid, what is coming, and what needs somebody."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from desk.home import coming, inbox
from desk.home.paid import Course, asked_by
from desk.page import show
from events import queues
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.braked import brake_on
from price_changes.running.brake import said
from price_changes.showing.progress import progress_of
from price_changes.showing.sentences import sentence
from pricebook.kit import host_clock
from pricebook.kit.authors import in_words
from pricebook.kit.book_admin import missing_for
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT, VIEW_ENDPOINT, VIEW_SUBSCRIPTION
from pricebook.kit.snapshot import one_snapshot
from services import lives
from services.audit import book_check
from services.models import BookNow, Repricing, book_clock
from services.reading.total import figures
from services.repricing import progress

SHOWN = 10  # of each kind

Status = PriceChange.Status
RUNNING = [Status.APPLYING, Status.PAUSED, Status.HELD, Status.SCHEDULED]


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Staff see the parts that they may see: figures with `view_subscription`, changes with
    `view_pricechange`. Others are told where to log in.

    Some thirty queries for who sees all, whatever the book's size, and all but the inbox's from one
    snapshot.
    """
    user = request.user
    if not (user.is_active and user.is_staff):
        return show(request, "home/stranger", _("Pricebook"))
    context: dict[str, Any] = {
        "flower_url": settings.FLOWER_URL,
        "missing": missing_for(user, VIEW_SUBSCRIPTION, VIEW_CHANGE),
        "clocks": host_clock.far_off(),
    }
    shows_changes = user.has_perm(VIEW_CHANGE)
    with one_snapshot():
        if user.has_perm(VIEW_SUBSCRIPTION):
            now = book_clock()
            checked = book_check.last_book_check()
            events = coming.timeline(now, shows_changes, user.has_perm(VIEW_CLIENT))
            course = Course.until(now, asked_by(request.GET.get("by", "")))
            context |= {
                "paid": figures().paid,
                "course": course,
                "chart": course.chart(),
                "coming": events,
                "by_preview": any(event.by_preview and not event.rough for event in events),
                "rough": any(event.rough for event in events),
                "checked": checked,
                "restored": lives.standing().waits,
                "checked_age": None if checked is None else now - checked.at,
            }
        if shows_changes:
            context |= _changes(user.has_perm(VIEW_CLIENT))
    if shows_changes:
        context["inbox"] = inbox.items(user)
    if user.has_perm(VIEW_ENDPOINT):
        context["webhooks"] = [in_words(each) for each in queues.troubled()]
    return show(request, "home/home", _("Home"), **context)


def _changes(names_clients: bool) -> dict[str, Any]:
    """The brake, what is running, and what is stuck. Up to nine queries."""
    # A repricing without a change checks a pair again; nobody has decided it.
    due = Repricing.objects.due().filter(change_id=None)
    due = due.select_related("service", "plan").prefetch_related("steps")
    repricings = list(due.order_by("id")[:SHOWN])
    # A repricing that nobody has decided is rare.
    now = book_clock() if repricings else None
    running = _running(names_clients)
    brake = brake_on()
    return {
        "brake_on": in_words(said(brake)) if brake else "",
        "running": running,
        "repricings": [
            {"repricing": repricing, "progress": progress(repricing, now)}
            for repricing in repricings
        ],
        "live": bool(repricings) or any(each.status == Status.APPLYING for each in running),
        "stuck": any(is_stuck(change) for change in running),
    }


def _running(names_clients: bool) -> list[Any]:
    """Changes that are being applied, paused or held, and those whose instant has come."""
    changes = (
        PriceChange.objects.filter(status__in=RUNNING)
        .exclude(status=Status.SCHEDULED, effective_at__gt=BookNow())
        .annotate(asked_at=BookNow())
        .order_by("effective_at", "approval")
    )
    found: list[Any] = list(changes[:SHOWN])
    status_now.refresh(found)
    now = found[0].asked_at if found else None
    names, progress = Names.of_changes(found, names_clients), progress_of(found, now)
    for change in found:
        change.says = change.title or sentence(change, names)
        change.progress = progress.get(change.pk)
    return found


def is_stuck(change: Any) -> bool:
    """Whether a change is stuck: its time has come, and nobody moves its prices."""
    if change.status == Status.SCHEDULED:
        return change.effective_at is not None and change.effective_at <= change.asked_at
    return change.status in (Status.PAUSED, Status.HELD)
