"""The pages that plan a price change: what it is about, then one calm form, then its preview."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from desk.changes.counting import count_of
from desk.changes.found import about_brake, change_or_404
from desk.changes.plan_form import EFFECTS, DeskPlanForm, as_query
from desk.once import new_token, say_done_before, sent_form
from desk.page import desk_page, show
from price_changes.forms import where
from price_changes.kinds import TO_PLAN
from price_changes.kinds.adjustments import ADJUSTMENTS
from pricebook.kit.access import author
from pricebook.kit.scopes import PLAN, VIEW_CHANGE

KEPT = "plan"  # the form that `data-done` forgets


@desk_page(VIEW_CHANGE, PLAN)
@require_safe
def new_change(request: HttpRequest) -> HttpResponse:
    """The choice: a list price, a discount, or a set of subscriptions and what it does to them."""
    sets = [
        {
            "url": f"{reverse('desk:plan_change', args=['set'])}?adjustment={name}",
            "label": label,
        }
        for name, (label, _number) in EFFECTS.items()
    ]
    return show(
        request,
        "changes/new",
        _("Plan a price change"),
        kinds=[kind for name, kind in TO_PLAN.items() if name != "set"],
        set_kind=TO_PLAN["set"],
        sets=sets,
        **about_brake(request.user),
    )


@desk_page(VIEW_CHANGE, PLAN)
def plan_change(request: HttpRequest, kind: str) -> HttpResponse:
    """The form of one kind, filled from the address's query; POST plans and previews, or counts
    (without a script)."""
    if kind not in TO_PLAN:
        raise Http404(_("There is no price change of the kind “%(kind)s”.") % {"kind": kind[:50]})
    planned = TO_PLAN[kind]
    given = request.POST if request.method == "POST" else request.GET
    adjustment = given.get("adjustment", "percent") if kind == "set" else ""
    if kind == "set" and adjustment not in ADJUSTMENTS:
        raise Http404(_("There is no such effect: “%(effect)s”.") % {"effect": adjustment[:50]})
    counted = None
    if request.method == "POST":
        form = DeskPlanForm(planned, adjustment, request.POST)
        form.say_what_is_missing(request.user)
        if "count" in request.POST:
            counted = count_of(request.user, kind, form)
        elif form.is_valid() and (address := _planned(request, form)):
            return HttpResponseRedirect(f"{address}?planned={KEPT}")
    else:
        form = DeskPlanForm.asked_of(planned, adjustment, request.GET)
        form.say_what_is_missing(request.user)
    heading: Any = planned.heading
    if kind == "set":
        heading = _("Set of subscriptions: %(effect)s") % {"effect": EFFECTS[adjustment][0]}
    return show(
        request,
        "changes/plan",
        str(heading),
        form=form,
        kind=kind,
        effects=_effects(request, adjustment) if kind == "set" else (),
        counted=counted,
        token=new_token(),
        **about_brake(request.user),
    )


def _planned(request: HttpRequest, form: DeskPlanForm) -> str:
    """The address of the change that the form has planned, once; empty if it was refused."""
    with transaction.atomic():
        sent = sent_form(request)
        if sent is not None and sent.done is not None:
            say_done_before(request, sent.differs)
            return sent.done
        change = form.planned_by(author(request.user))
        if change is None:
            transaction.set_rollback(True)
            return ""
        address = reverse("desk:change", args=[change.pk])
        if sent is not None:
            sent.has_led_to(address)
    messages.success(
        request, _("Planned. Nothing has moved: look at what it would do, and approve it.")
    )
    return address


def _effects(request: HttpRequest, adjustment: str) -> list[dict[str, Any]]:
    """The other effects of a set, with what the address already says of it."""
    found = []
    for name, (label, _number) in EFFECTS.items():
        query = request.GET.copy()
        query["adjustment"] = name
        found.append({"query": query.urlencode(), "label": label, "is_here": name == adjustment})
    return found


def _planned_like(kind: str, query: QueryDict) -> HttpResponse:
    address = reverse("desk:plan_change", args=[kind])
    return HttpResponseRedirect(f"{address}?{query.urlencode()}")


@desk_page(VIEW_CHANGE, PLAN)
@require_safe
def clone_change(request: HttpRequest, pk: int) -> HttpResponse:
    """The form, filled with what another change says."""
    change = change_or_404(pk)
    if change.kind not in TO_PLAN or change.reverts_id or change.for_one:
        raise Http404(_("Price change %(number)s can't be planned again.") % {"number": pk})
    return _planned_like(change.kind, as_query(change))


@desk_page(VIEW_CHANGE, PLAN)
@require_safe
def rest_of_change(request: HttpRequest, pk: int) -> HttpResponse:
    """The form of a set of what this change has skipped or failed to move, one by one."""
    change = change_or_404(pk)
    if change.started_at is None:
        raise Http404(_("Price change %(number)s has left nothing yet.") % {"number": pk})
    first = change.first
    query = as_query(first) if first.kind == "set" else QueryDict(mutable=True)
    for name in [name for name in query if name.startswith("where_")]:
        del query[name]
    for name in ("effective_at", "time_zone", "locked_until", "whole_book"):
        query.pop(name, None)
    if change.reverts_id:
        query["adjustment"] = "amount"
        query.pop("operand", None)
    query[where("skipped_by")] = str(pk)
    title = _("The rest of price change %(number)s") % {"number": pk}
    query["title"] = title[:100]
    return _planned_like("set", query)
