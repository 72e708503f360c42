"""The pages by which people find records: the lists, and the search."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from desk.finding import records as of_records
from desk.finding import subscriptions as of_subscriptions
from desk.page import desk_page
from pricebook.kit.scopes import VIEW_CLIENT, VIEW_PLAN, VIEW_SERVICE, VIEW_SUBSCRIPTION


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
