"""The page of a price change: what it does, its preview in pictures, its progress, its outcome."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from desk.changes.figures import OutcomeShown, PreviewShown, named, whole_book
from desk.changes.found import COLOURS, about_brake, change_or_404, name_of, state_of
from desk.changes.verb import VERBS, may, needs_another, open_to
from desk.page import desk_page, show
from price_changes import verbs
from price_changes.admin.figures import at_todays_value, moves_soon
from price_changes.kinds import TO_PLAN
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.notices import has_notices
from price_changes.planning import status_now
from price_changes.showing.instants import in_force_from, kept_instant, zone_rules_differ
from price_changes.showing.progress import progress_of
from price_changes.showing.sentences import sentence
from pricebook.kit.scopes import PLAN, VIEW_CHANGE, VIEW_CLIENT, VIEW_SUBSCRIPTION, VIEW_TOTALS
from pricebook.kit.snapshot import one_snapshot

Status = PriceChange.Status


@desk_page(VIEW_CHANGE)
@require_safe
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """One change. Up to twenty queries, over its stored preview, counters and chunks: no rows, but
    those that it has skipped by name."""
    with one_snapshot():
        return _page(request, change_or_404(pk))


def _page(request: HttpRequest, change: Any) -> HttpResponse:
    user = request.user
    warning = status_now.warning(change)
    previewed_at_value = at_todays_value(change)
    preview = PreviewShown(change, user.has_perm(VIEW_CLIENT)) if change.preview else None
    outcome = OutcomeShown(change) if change.started_at else None
    others = named(change, preview, outcome)
    names = Names.of_changes([change, *others.values()], user.has_perm(VIEW_CLIENT))
    sees_total = user.has_perm(VIEW_TOTALS) or user.has_perm(VIEW_SUBSCRIPTION)
    is_open = not change.started_at and change.status != Status.CANCELLED
    allowed = verbs.allowed(change)
    return show(
        request,
        "changes/change",
        name_of(change, names),
        change=change,
        says=sentence(change, names),
        state=state_of(change),
        colour=COLOURS[Status(change.status)],
        from_when=in_force_from(change),
        zone_rules=zone_rules_differ(change) or kept_instant(change),
        warning=warning,
        previewed_at_value=previewed_at_value,
        verbs=open_to(user, change),
        takes_another=[
            why
            for name in ("approve", "accept")
            if name in allowed
            and may(user, VERBS[name])
            and (why := needs_another(user, name, change))
        ],
        live=moves_soon(change),
        currency=settings.CURRENCY,
        preview=preview,
        is_open=is_open,
        whole_book=whole_book(change, preview) if preview and is_open and sees_total else None,
        progress=progress_of([change]).get(change.pk),
        is_under_way=change.status in (Status.APPLYING, Status.PAUSED),
        outcome=outcome,
        taken_back_by=[each for each in others.values() if each.reverts_id == change.pk],
        others={pk: name_of(each, names) for pk, each in others.items()},
        may_plan=user.has_perm(PLAN),
        can_clone=change.kind in TO_PLAN and not change.reverts_id and not change.for_one,
        sees_clients_to_tell=user.has_perm(VIEW_CLIENT) and has_notices(change),
        sees_rows=user.has_perm(VIEW_SUBSCRIPTION) and user.has_perm(VIEW_CLIENT),
        sees_sheets=user.has_perm(VIEW_SUBSCRIPTION),
        **about_brake(user),
    )
