"""Live answers for the form of a plan: how many its filter finds, and clients by their name."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from clients.models import Client
from desk.changes.plan_form import DeskPlanForm
from desk.page import desk_page
from price_changes.kinds import TO_PLAN
from price_changes.kinds.adjustments import ADJUSTMENTS
from pricebook.kit import figures
from pricebook.kit.scopes import PLAN, VIEW_CLIENT, VIEW_SUBSCRIPTION, VIEW_TOTALS
from services.parsing import BadValue
from services.reading import total
from services.reading.filters import BookFilter
from services.reading.search import names_like

OFFERED = 20  # clients


@desk_page(PLAN)
@require_safe
def change_count(request: HttpRequest, kind: str) -> HttpResponse:
    """{"says": "1,234 subscriptions pay 5,678.00 USD"} for the filter in the query. Few queries."""
    adjustment = request.GET.get("adjustment", "percent") if kind == "set" else ""
    if kind not in TO_PLAN or (kind == "set" and adjustment not in ADJUSTMENTS):
        raise Http404
    form = DeskPlanForm(TO_PLAN[kind], adjustment, request.GET)
    form.say_what_is_missing(request.user)
    return JsonResponse({"says": count_of(request.user, kind, form)})


def count_of(user: Any, kind: str, form: DeskPlanForm) -> str:
    """The number of subscriptions that the form is about, and what they pay now, in words."""
    if not (user.has_perm(VIEW_TOTALS) or user.has_perm(VIEW_SUBSCRIPTION)):
        return _("You may not see totals: the preview counts.")
    form.is_valid()  # its own errors are shown when it is sent
    asked = set(form.errors)
    if kind == "set":
        if any(name.startswith("where_") for name in asked):
            return _("A filter can't be read yet.")
        given = form.filter()
        if not given and not form.cleaned_data.get("whole_book"):
            return _("No filter is set.")
    else:
        role = "service" if kind == "list_price" else "plan"
        thing = form.cleaned_data.get(role)
        if thing is None:
            return ""
        given = {role: thing.pk}
    try:
        which = BookFilter.of(given)
    except BadValue:
        return _("A filter can't be read yet.")
    return said(total.figures(which).paid)


def said(paid: total.Total) -> str:
    return ngettext(
        "%(rows)s subscription pays %(total)s now.",
        "%(rows)s subscriptions pay %(total)s now.",
        paid.subscriptions,
    ) % {"rows": figures.grouped(paid.subscriptions), "total": figures.money(paid.amount)}


@desk_page(PLAN, VIEW_CLIENT)
@require_safe
def change_clients(request: HttpRequest) -> HttpResponse:
    """{"names": […]}: clients whose name begins with `q` or has a word like it. Two queries."""
    words = request.GET.get("q", "").strip()[:100]
    if len(words) < 2 or "\x00" in words:
        return JsonResponse({"names": []})
    begin = Client.objects.filter(company_name__istartswith=words).order_by("company_name")
    names = list(begin.values_list("company_name", flat=True)[:OFFERED])
    if len(names) < OFFERED and len(words) > 2:
        sql, params = names_like(words)["client_id"]
        like = Client.objects.raw(
            f"SELECT id, company_name FROM clients_client WHERE id IN ({sql}) LIMIT {OFFERED}",  # noqa: S608
            params,
        )
        names += [each.company_name for each in like]
    return JsonResponse({"names": list(dict.fromkeys(names))[:OFFERED]})
