"""The pages of the bridge between two instants, and of the rows behind one of its steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from desk.numbers import in_percent
from desk.page import desk_page, show
from desk.then import steps
from desk.then.asked import Asked, address, asked_for, not_there, number
from desk.then.moments import (
    BadMoment,
    Month,
    hidden_fields,
    in_address,
    in_field,
    last_months,
    moment,
    month_of,
)
from desk.then.words import BY, STEPS
from price_changes.showing.bridges import changes_of, named_changes, named_rows, names_of
from pricebook.kit import figures
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT, VIEW_SUBSCRIPTION
from services.hooks import price_changes
from services.ledger.bridge import GROUPS, KINDS, behind, bridge
from services.models import book_clock

PAGE = 100
GROUPS_SHOWN = 100


@desk_page(VIEW_SUBSCRIPTION)
@require_safe
def bridging(request: HttpRequest) -> HttpResponse:
    """Why the total of an instant is not that of another: this month so far, unless asked."""
    query, now = request.GET, book_clock()
    sees_clients = request.user.has_perm(VIEW_CLIENT)
    asked, given_by = asked_for(query, sees_clients), query.get("by", "")
    by = given_by if given_by in GROUPS else ""
    this = Month.of(now)
    context: dict[str, Any] = {
        "asked": asked,
        "by": by,
        "months": [
            (month, address(**{"from": month.day, "to": month.next.day}, by=by, **asked.ids))
            for month in last_months(now)
        ],
        "this_month": address(**{"from": this.day}, by=by, **asked.ids),
        "typed": {name: query.get(name, "")[:100] for name in ("from", "to")},
    }
    title = _("Bridge")
    try:
        since, until = instants(query, now)
        if given_by != by:
            raise BadMoment(_("“%(value)s” is no grouping.") % {"value": given_by[:100]})
    except BadMoment as error:
        return show(
            request, "then/bridge", title, 400, bad=str(error), given={"from": ""}, **context
        )
    found = bridge(since, until, asked.book_filter, by or None)
    changes = changes_of(found, sees_clients) if request.user.has_perm(VIEW_CHANGE) else {}
    names = names_of(found, by or None) if by != "client" or sees_clients else {}
    ends = {"from": in_address(since), "to": in_address(until)}
    context["exact"] = hidden_fields("from", since) + (
        hidden_fields("to", until) if "to" in query else []
    )
    context["typed"] = {"from": in_field(since), "to": in_field(until) if "to" in query else ""}
    return show(
        request,
        "then/bridge",
        title,
        **context,
        given=ends,
        since=since,
        until=until,
        is_later=until > now,
        here=month_of(since, until),
        is_so_far=(since, until) == (this.since, now),
        bridge=found,
        difference=found.total_until.amount - found.total_since.amount,
        percent=in_percent(found.total_since.amount, found.total_until.amount),
        lines=[
            (line, line.kind and _rows_url(line.kind, line.change_id, ends, asked))
            for line in steps.lines_of(found.steps, changes)
        ],
        chart=steps.picture(found, changes),
        kinds=[STEPS[kind] for kind in steps.kinds_of(found)],
        groups=steps.group_lines(found, names)[:GROUPS_SHOWN],
        hidden=max(0, len(found.groups) - GROUPS_SHOWN),
        groupings=[
            (name, str(words), address(**ends, by=name, **asked.ids)) for name, words in BY.items()
        ],
        whole_url=address(**ends, **asked.ids),
        may_view_change=request.user.has_perm(VIEW_CHANGE),
        may_view_client=sees_clients,
        waiting=price_changes().waiting_for(until),
        files=_files("totals-bridge", since, until, by=by, **asked.ids),
        then_urls=[reverse("desk:then") + address(at=ends[end], **asked.ids) for end in ends],
    )


def instants(query: QueryDict, now: datetime) -> tuple[datetime, datetime]:
    """Both instants: without any, this month so far; raises BadMoment."""
    since = moment(query, "from") or Month.of(now).since
    until = moment(query, "to") or now
    if until <= since:
        said = _("The later instant, %(until)s, is not after the earlier one, %(since)s.")
        raise BadMoment(said % {"until": figures.moment(until), "since": figures.moment(since)})
    return since, until


@desk_page(VIEW_SUBSCRIPTION)
@require_safe
def rows(request: HttpRequest) -> HttpResponse:
    """The subscriptions behind a step, and what it added to what each pays."""
    query, now = request.GET, book_clock()
    sees_clients = request.user.has_perm(VIEW_CLIENT)
    asked, kind = asked_for(query, sees_clients), query.get("kind", "")
    if kind not in KINDS:
        raise Http404(_("There is no kind of step “%(value)s”.") % {"value": kind[:100]})
    change = number(query, "change", 0) or None
    after = number(query, "after", 0)
    try:
        since, until = instants(query, now)
    except BadMoment as error:
        raise Http404(str(error)) from None
    sees_changes = request.user.has_perm(VIEW_CHANGE)
    found = behind(since, until, kind, change, asked.book_filter, after, PAGE + 1)
    known = named_changes([change], sees_clients) if sees_changes else {}
    if change and sees_changes and not known:
        raise Http404(not_there("change", change))
    ends = {"from": in_address(since), "to": in_address(until)}
    same = {**ends, "kind": kind, "change": change or "", **asked.ids}
    return show(
        request,
        "then/rows",
        _("Price change %(id)s") % {"id": change} if change else str(STEPS[kind]),
        asked=asked,
        since=since,
        until=until,
        change=known.get(change or 0),
        may_view_client=sees_clients,
        rows=named_rows(found[:PAGE]),
        next=address(**same, after=found[PAGE - 1].id) if len(found) > PAGE else "",
        first=address(**same) if after else "",
        bridge_url=reverse("desk:bridge") + address(**ends, **asked.ids),
        files=_files("totals-bridge-rows", since, until, kind=kind, change=change, **asked.ids),
    )


def _rows_url(kind: str, change: int | None, ends: dict[str, str], asked: Asked) -> str:
    return reverse("desk:bridge_rows") + address(**ends, kind=kind, change=change, **asked.ids)


def _files(name: str, since: datetime, until: datetime, **more: object) -> list[tuple[str, str]]:
    """(format, address) of the same as a file, which the API sends."""
    given = {"from": since.isoformat(), "to": until.isoformat(), **more}
    url = reverse(name)
    return [
        ("XLSX", url + address(format="xlsx", **given)),
        ("CSV", url + address(format="excel-csv", locale=get_language() or "en", **given)),
    ]
