"""The rows of a price change, one by one: old → new, or why each stays."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from clients.models import Client
from desk.changes.found import change_or_404, name_of
from desk.numbers import whole_number
from desk.page import desk_page, show
from price_changes.admin.figures import at_todays_value
from price_changes.kinds.words import Names, of_clients
from price_changes.showing.rows import PAGE, kinds_of_rows, page_of_rows
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT, VIEW_SUBSCRIPTION
from services.models import Skip
from services.reading.search import names_like

CLIENTS = 200  # found by a word, whose rows are shown


@desk_page(VIEW_CHANGE, VIEW_SUBSCRIPTION, VIEW_CLIENT)
@require_safe
def change_rows(request: HttpRequest, pk: int) -> HttpResponse:
    """A page of the rows of one kind, all or those of clients with a name like `client`.

    Up to twelve queries, and as many rows as a page has, wherever it is.
    """
    change = change_or_404(pk)
    kinds = kinds_of_rows(change)
    only = request.GET.get("only") or next(iter(kinds), "")
    after = request.GET.get("after", "0")
    wanted = request.GET.get("client", "").strip()
    place = whole_number(after)
    if only not in kinds or place is None or "\x00" in wanted or len(wanted) > 100:
        value = only if only not in kinds else after if place is None else wanted
        messages.error(
            request,
            _("There is no list of rows “%(value)s”; this is the first one.")
            % {"value": value[:100].replace("\x00", "\N{REPLACEMENT CHARACTER}")},
        )
        if not kinds:
            return HttpResponseRedirect(reverse("desk:change", args=[pk]))
        return HttpResponseRedirect(reverse("desk:change_rows", args=[pk]))
    clients = clients_like(wanted) if wanted else None
    found = page_of_rows(change, only, place, clients) if clients != [] else []
    names = Names.of(
        [*(row.service for row in found), change.service_id, (change.filter or {}).get("service")],
        [*(row.plan for row in found), change.plan_id, (change.filter or {}).get("plan")],
        [*(row.client for row in found), *of_clients(change.filter or {})],
    )
    return show(
        request,
        "changes/rows",
        _("Rows of “%(change)s”") % {"change": name_of(change, names)},
        change=change,
        previewed_at_value=at_todays_value(change),
        kinds=kinds,
        only=only,
        wanted=wanted,
        rows=[_shown(row, names) for row in found],
        next=found[-1].subscription if len(found) == PAGE else None,
        first=after == "0",
    )


def clients_like(words: str) -> list[int]:
    """The clients with a name like these words, up to `CLIENTS`. One query."""
    sql, params = names_like(words)["client_id"]
    sql = f"SELECT id FROM ({sql}) named (id) LIMIT {CLIENTS}"  # noqa: S608 - ours
    return [each.pk for each in Client.objects.raw(sql, params)]


def _shown(row: Any, names: Names) -> dict[str, Any]:
    differs = row.new_price is not None and row.old_price is not None and not row.reason
    return {
        "row": row,
        "client": names.client(row.client) if row.client else "",
        "service": names.service(row.service) if row.service else "",
        "plan": names.plan(row.plan) if row.plan else "",
        "difference": row.new_price - row.old_price if differs else None,
        "why": str(Skip.Reason(row.reason).label) if row.reason else "",
    }
