"""The pages by which people find records: the lists, and the search."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from desk.finding import records as of_records
from desk.finding import subscriptions as of_subscriptions
from desk.finding.search import search as found_for
from desk.page import desk_page, show
from pricebook.kit.scopes import VIEW_CLIENT, VIEW_PLAN, VIEW_SERVICE, VIEW_SUBSCRIPTION

ON_THE_PAGE, SUGGESTED = 10, 4  # of each kind


@desk_page()
@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """The page of what is found; with `part=suggestions` the options below the field, alone."""
    words = request.GET.get("q", "")
    suggests = request.GET.get("part") == "suggestions"
    answer = found_for(request.user, words, SUGGESTED if suggests else ON_THE_PAGE)
    if suggests:
        every = f"{reverse('desk:search')}?{urlencode({'q': answer.words})}"
        return render(request, "desk/finding/suggestions.html", {"answer": answer, "all": every})
    title = _("Search") if not answer.words else _("Search: %(words)s") % {"words": answer.words}
    return show(
        request,
        "finding/search",
        title,
        400 if answer.problem else 200,
        q=answer.words,
        answer=answer,
        looked_in=", ".join(answer.looked_in),
    )


@desk_page(VIEW_SUBSCRIPTION, VIEW_CLIENT)
@require_safe
def subscriptions(request: HttpRequest) -> HttpResponse:
    return of_subscriptions.subscriptions(request)


@desk_page(VIEW_CLIENT)
@require_safe
def clients(request: HttpRequest) -> HttpResponse:
    return of_records.records(request, of_records.CLIENTS)


@desk_page(VIEW_SERVICE)
@require_safe
def services(request: HttpRequest) -> HttpResponse:
    return of_records.records(request, of_records.SERVICES)


@desk_page(VIEW_PLAN)
@require_safe
def plans(request: HttpRequest) -> HttpResponse:
    return of_records.records(request, of_records.PLANS)
