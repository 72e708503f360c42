"""The page of the book as of an instant: past, now or future."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from desk.page import desk_page, show
from desk.then.asked import Asked, address, asked_for, not_there, number
from desk.then.moments import BadMoment, Month, hidden_fields, in_address, in_field, moment
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.showing.sentences import sentence
from pricebook.kit import figures
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT, VIEW_SUBSCRIPTION
from services import ledger
from services.hooks import price_changes
from services.ledger.totals_then_by import PairTotal, totals_then
from services.models import Plan, book_clock
from services.reading.ordering import BY_ID, Cursor, key_of_subscriptions

PAGE = 50
LEFT_OUT = 20
Status = PriceChange.Status


@desk_page(VIEW_SUBSCRIPTION)
@require_safe
def then(request: HttpRequest) -> HttpResponse:
    """The book as of an instant, or what a service, plan or client paid then, or a subscription."""
    query, now = request.GET, book_clock()
    sees_clients = request.user.has_perm(VIEW_CLIENT)
    asked = asked_for(query, sees_clients)
    context: dict[str, Any] = {"asked": asked, "quick": quick(now, asked, query), "now": now}
    try:
        at = (moment(query, "at") or now).astimezone(UTC)
    except BadMoment as error:
        context |= {"bad": str(error), "field": query["at"][:100]}
        return show(request, "then/then", _("Then and later"), 400, **context)
    is_later = at > now
    context |= {
        "at": at,
        "given": query.get("at", "").strip() or in_address(at),
        "field": in_field(at),
        "hidden": hidden_fields("at", at) if query.get("at", "").strip() else [],
        "is_later": is_later,
        "may_view_client": sees_clients,
        "bridge_url": _bridge_url(at, now, asked),
        "waiting": price_changes().waiting_for(at),
    }
    if query.get("subscription", "").strip():
        return _of_one(request, number(query, "subscription"), at, context)
    if is_later and request.user.has_perm(VIEW_CHANGE):
        context["left_out"] = left_out(at, sees_clients)
    context |= _figures(at, asked)
    context |= _list(at, asked, query.get("cursor", ""), in_address(at))
    return show(request, "then/then", _("Then and later"), **context)


def _figures(at: datetime, asked: Asked) -> dict[str, Any]:
    """The total, its parts by service and by plan, and how many follow. Up to four queries."""
    pairs = totals_then(at, asked.book_filter)
    names = Names.of({each.service_id for each in pairs}, {each.plan_id for each in pairs})
    followers = sum(each.followers for each in pairs)
    number = sum(each.subscriptions for each in pairs)
    return {
        "amount": sum((each.amount for each in pairs), Decimal(0)),
        "number": number,
        "followers": followers,
        "others": number - followers,
        "services": _by(pairs, lambda each: each.service_id, names.service),
        "plans": _by(pairs, lambda each: each.plan_id, names.plan),
    }


def _by(
    pairs: Iterable[PairTotal], key: Callable[[PairTotal], int], name: Callable[[int | None], str]
) -> list[tuple[int, str, int, Decimal]]:
    """(id, name, subscriptions, amount), the largest amount first."""
    found: dict[int, list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    for each in pairs:
        found[key(each)][0] += each.subscriptions
        found[key(each)][1] += each.amount
    rows = [(id, name(id), *figures) for id, figures in found.items()]
    return sorted(rows, key=lambda row: (-row[3], row[0]))


def _list(at: datetime, asked: Asked, text: str, given: str) -> dict[str, Any]:
    """A page of the subscriptions that paid then. Up to three queries."""
    try:
        cursor = Cursor.parse(text) if text else None
        if cursor and cursor.list_key != key_of_subscriptions(asked.book_filter, BY_ID, at):
            raise ValueError("another list gave it out")
    except ValueError:
        raise Http404(not_there("place", text[:100])) from None
    page = ledger.page_as_of(at, asked.book_filter, cursor, PAGE)

    def url(to: Cursor | None) -> str | None:
        return None if to is None else address(at=given, **asked.ids, cursor=to)

    rows = [{**row, "plan_name": plan_name(row)} for row in page.result]
    return {"rows": rows, "next": url(page.next), "previous": url(page.previous)}


def plan_name(row: dict[str, Any]) -> str:
    """The plan of a row of the ledger, as pages name plans."""
    plan = row["plan"]
    return str(Plan(plan_type=plan["plan_type"], discount_percent=plan["discount_percent"]))


def _of_one(
    request: HttpRequest, subscription: int, at: datetime, context: dict[str, Any]
) -> HttpResponse:
    """The price that one subscription paid then, and why. Up to six queries."""
    found, _version = ledger.one_as_of(at, subscription)
    told = ledger.explain(subscription, at)
    if found is None and told is None and not ledger.history(subscription, limit=1):
        raise Http404(not_there("subscription", subscription))
    pays = (
        found is not None
        and found["started_at"] <= at
        and (found["ended_at"] is None or found["ended_at"] > at)
    )
    if found is not None:
        found = {**found, "plan_name": plan_name(found)}
    context |= {"one": found, "told": told, "pays": pays, "subscription": subscription}
    return show(request, "then/then", _("Then and later"), **context)


def left_out(at: datetime, names_clients: bool) -> list[PriceChange]:
    """The changes that are not in the answer for a later instant, with why. Up to seven queries.

    Those that are planned or held, and scheduled ones that will be held; a set whose instant comes
    by then is among `waiting_for`.
    """
    changes = PriceChange.objects.filter(
        status__in=[Status.PLANNED, Status.HELD, Status.SCHEDULED, Status.PAUSED]
    ).exclude(effective_at__gt=at)
    found: list[Any] = list(changes.order_by("effective_at", "id")[:200])
    status_now.refresh(found)
    found = [
        each for each in found if each.status in (Status.PLANNED, Status.HELD) or each.will_be_held
    ][:LEFT_OUT]
    names = Names.of_changes(found, names_clients)
    for change in found:
        change.says = sentence(change, names)
        change.why_not = (
            _("not approved")
            if change.status == Status.PLANNED
            else _("held")
            if change.status == Status.HELD
            else _("will be held")
        )
    return found


def _bridge_url(at: datetime, now: datetime, asked: Asked) -> str:
    ends = {"from": in_address(min(at, now)), "to": in_address(at) if at > now else ""}
    return reverse("desk:bridge") + address(**ends, **asked.ids)


def quick(now: datetime, asked: Asked, query: Any) -> list[tuple[str, str]]:
    """Links to instants that people ask for: (their names, addresses)."""
    this = Month.of(now)
    more = {**asked.ids, "subscription": query.get("subscription", "")}
    instants = [
        (_("Now"), ""),
        (figures.day(this.since), this.day),
        (figures.day(this.previous.since), this.previous.day),
        (_("A year ago"), now.replace(year=now.year - 1, day=min(now.day, 28)).date().isoformat()),
        (figures.day(this.next.since), this.next.day),
    ]
    return [(name, address(at=at, **more)) for name, at in instants]
