"""The home page: the book's total, the changes under way, and links."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from desk.page import show
from events import queues
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.braked import brake_on
from price_changes.running.brake import said
from price_changes.showing.instants import in_force_from, zone_rules_differ
from price_changes.showing.progress import progress_of
from price_changes.showing.sentences import sentence
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_ENDPOINT, VIEW_SUBSCRIPTION
from services.audit import book_check
from services.models import BookNow, Repricing, book_clock
from services.reading.total import figures
from services.repricing import progress

SHOWN = 10  # of each kind
SHOWS = (VIEW_SUBSCRIPTION, VIEW_CHANGE)

Status = PriceChange.Status
# Changes that somebody watches or waits for. A planned one waits only for its planner.
OPEN = [Status.APPLYING, Status.PAUSED, Status.HELD, Status.SCHEDULED]
# And those that take another person, unless they are cancelled or taken back.
UNSETTLED = [Status.PLANNED, Status.APPLYING, Status.PAUSED, Status.APPLIED]


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Figures are for staff who may view subscriptions and price changes; others see less.

    For staff up to fifteen queries, whatever the book's size: see `open_changes`.
    """
    user = request.user
    context: dict[str, Any] = {
        "flower_url": settings.FLOWER_URL,
        "is_staff": user.is_active and user.is_staff,
        "missing": [each for each in SHOWS if not user.has_perm(each)],
    }
    if context["is_staff"] and not context["missing"]:
        # A repricing without a change checks a pair again; nobody has decided it.
        due = Repricing.objects.due().filter(change_id=None)
        due = due.select_related("service", "plan").prefetch_related("steps")
        changes, needing = open_changes()
        repricings = list(due.order_by("id")[:SHOWN])
        # A repricing that nobody has decided is rare.
        now = book_clock() if repricings else None
        brake = brake_on()
        context |= {
            "brake_on": said(brake) if brake else "",
            "webhooks": queues.troubled() if user.has_perm(VIEW_ENDPOINT) else [],
            "paid": figures().paid,
            "checked": book_check.last(),
            "changes": changes,
            "needing": needing,
            "repricings": [
                {"repricing": repricing, "progress": progress(repricing, now)}
                for repricing in repricings
            ],
        }
        context["live"] = bool(context["repricings"]) or any(
            change.status == Status.APPLYING for change in changes
        )
        # They are in the order of their instants, so those that are due are among the first.
        context["stuck"] = any(is_stuck(change) for change in changes)
    return show(request, "home/home", _("Home"), **context)


def open_changes() -> tuple[list[PriceChange], list[PriceChange]]:
    """Price changes that run, are paused, held or scheduled, with their sentence and progress; and
    those that take another person, the newest first: they wait for one, or nobody has approved what
    they have moved.

    Up to nine queries: for the changes, those that take another person, what holds the scheduled
    ones and what they find, their repricings, their steps, and the names of services, plans and
    clients.
    """
    changes = (
        PriceChange.objects.filter(status__in=OPEN)
        .annotate(asked_at=BookNow())
        .order_by("effective_at", "approval")
    )
    found: list[Any] = list(changes[:SHOWN])
    status_now.refresh(found)
    now = found[0].asked_at if found else None
    unsettled = PriceChange.objects.filter(status__in=UNSETTLED).exclude(needs_another="")
    needing: list[Any] = list(unsettled.order_by("-id")[:SHOWN])
    names, progress = Names.of_changes([*found, *needing]), progress_of(found, now)
    for change in (*found, *needing):
        change.says = sentence(change, names)
        change.from_when = in_force_from(change)
        change.zone_rules = zone_rules_differ(change)
        change.progress = progress.get(change.pk)
    return found, needing


def is_stuck(change: Any) -> bool:
    """Whether a change is stuck: its time has come, and nobody moves its prices."""
    if change.status == Status.SCHEDULED:
        return change.effective_at is not None and change.effective_at <= change.asked_at
    return change.status in (Status.PAUSED, Status.HELD)
