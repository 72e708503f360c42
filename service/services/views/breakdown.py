"""Clients, services and plans over the API, each with what its subscriptions pay."""

from collections.abc import Callable, Mapping

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from clients.models import Client
from pricebook.kit.errors import BadParameter
from pricebook.kit.figures import grouped
from pricebook.kit.replica import from_replica
from pricebook.kit.scopes import (
    ADD_CLIENT,
    ADD_PLAN,
    ADD_SERVICE,
    CHANGE_CLIENT,
    CHANGE_PLAN,
    CHANGE_SERVICE,
    DELETE_CLIENT,
    DELETE_PLAN,
    DELETE_SERVICE,
    VIEW_CLIENT,
    VIEW_PLAN,
    VIEW_SERVICE,
)
from services.bulk.catalogue import PlanSteps, ServiceSteps
from services.bulk.clients import ClientSteps
from services.models import Plan, Service
from services.reading import breakdown, parameters
from services.reading.access_paths import SEARCH_NAMES
from services.reading.ordering import Ordering
from services.reading.version import Unchanged
from services.transfer.sheets import answering
from services.views import sheets
from services.views.bulk import BulkWrites, bulk_described
from services.views.etags import answer_to, seen_by, validator
from services.views.openapi import (
    CURSOR,
    ERRORS,
    FILTER_PARAMETERS,
    LINK,
    PAGE_SIZE,
    PATH_ID,
    UNCHANGED,
    UNKNOWN,
    ordering_parameter,
)
from services.views.paging import cursor_of, known_id, link, links, ordering_of
from services.views.record_writes import (
    CatalogueWrites,
    ClientWrites,
    RecordWrites,
    writes_described,
)
from services.views.shapes_of_bulk import (
    BulkClientsSerializer,
    BulkPlansSerializer,
    BulkServicesSerializer,
)
from services.views.shapes_of_totals import (
    ClientPageSerializer,
    OneClientSerializer,
    OnePlanSerializer,
    OneServiceSerializer,
    PlanPageSerializer,
    ServicePageSerializer,
)
from services.views.shapes_of_writes import (
    ClientChangesSerializer,
    NewClientSerializer,
    NewPlanSerializer,
    NewServiceSerializer,
    PlanChangesSerializer,
    ServiceChangesSerializer,
)
from services.writing import catalogue


class BreakdownView(answering.Sheets, RecordWrites, ViewSet):
    """Clients, services or plans, each with the number of its subscriptions and what they pay."""

    lookup_value_regex = "[0-9]+"
    sheet_actions = ("list",)

    @from_replica
    def list(self, request: Request) -> Response | StreamingHttpResponse:
        query = request.query_params
        names = breakdown.FILTERS[self.kind]
        as_sheet = answering.refuse_unknown(request, [*names, "ordering"], parameters.PAGING)
        given = parameters.values_of(query, names)
        ordering = ordering_of(query, breakdown.ORDERINGS[self.kind])
        if as_sheet:
            return self.as_sheet(request, given, ordering)
        cursor = cursor_of(query, breakdown.key_of_records(self.kind, given, ordering), ordering)
        size = parameters.page_size(query)
        to = answer_to(request)
        try:
            page = breakdown.page(self.kind, given, cursor, size, ordering, seen_by(request, to))
        except Unchanged as error:
            return Response(status=304, headers=validator(error.version, to))
        except breakdown.TooManyFound as error:
            raise too_many_found(given) from error
        next, previous = link(request, page.next), link(request, page.previous)
        return Response(
            {
                "result": page.result,
                "count": page.count,
                "subscriptions": page.total.subscriptions,
                "total_amount": page.total.amount,
                "currency": settings.CURRENCY,
                "next": next,
                "previous": previous,
            },
            headers=validator(page.version, to) | links(next, previous),
        )

    def as_sheet(
        self, request: Request, given: Mapping[str, str], ordering: Ordering
    ) -> StreamingHttpResponse:
        said = answering.filters_of(request.query_params)
        try:
            table = sheets.records(self.kind, given, ordering, said)
        except breakdown.TooManyFound as error:
            raise too_many_found(given) from error
        return answering.answer(request, table)

    def retrieve(self, request: Request, pk: str) -> Response:
        parameters.refuse_unknown(request.query_params, [])
        return Response(self.found(known_id(pk, self.kind)))


def described(kind: str, shown: type, page: type) -> Callable[[type], type]:
    """The schema of a BreakdownView."""
    return extend_schema_view(
        list=extend_schema(
            summary=f"A page of {kind}s, and what all that match pay together.",
            parameters=[
                *[each for each in FILTER_PARAMETERS if each.name in breakdown.FILTERS[kind]],
                ordering_parameter(breakdown.ORDERINGS[kind]),
                CURSOR,
                PAGE_SIZE,
                LINK,
                *answering.PARAMETERS,
            ],
            responses={
                **answering.responses(page),
                304: UNCHANGED,
                **ERRORS,
            },
        ),
        retrieve=extend_schema(
            summary=f"One {kind}.",
            parameters=[PATH_ID],
            responses={200: shown, 304: UNCHANGED, **ERRORS, **UNKNOWN},
        ),
    )


@writes_described("client", OneClientSerializer, NewClientSerializer, ClientChangesSerializer)
@described("client", OneClientSerializer, ClientPageSerializer)
@extend_schema_view(bulk=bulk_described("client", BulkClientsSerializer))
class ClientView(BulkWrites, ClientWrites, BreakdownView):
    """Clients, each with the number of its subscriptions and what they pay together."""

    kind = "client"
    model = Client
    needs = {
        **dict.fromkeys(("list", "retrieve"), ((VIEW_CLIENT,),)),
        "create": ((ADD_CLIENT,),),
        "partial_update": ((CHANGE_CLIENT,),),
        "destroy": ((DELETE_CLIENT,),),
        "bulk": ((ADD_CLIENT,), (CHANGE_CLIENT,)),
    }
    bulk_steps = ClientSteps


@writes_described("service", OneServiceSerializer, NewServiceSerializer, ServiceChangesSerializer)
@described("service", OneServiceSerializer, ServicePageSerializer)
@extend_schema_view(bulk=bulk_described("service", BulkServicesSerializer))
class ServiceView(BulkWrites, CatalogueWrites, BreakdownView):
    """Services, each with the number of its subscriptions and what they pay together."""

    kind = "service"
    model = Service
    fields = catalogue.FIELDS["service"]
    needs = {
        **dict.fromkeys(("list", "retrieve"), ((VIEW_SERVICE,),)),
        "create": ((ADD_SERVICE,),),
        "partial_update": ((CHANGE_SERVICE,),),
        "destroy": ((DELETE_SERVICE,),),
        "bulk": ((ADD_SERVICE,), (CHANGE_SERVICE,)),
    }
    bulk_steps = ServiceSteps


@writes_described("plan", OnePlanSerializer, NewPlanSerializer, PlanChangesSerializer)
@described("plan", OnePlanSerializer, PlanPageSerializer)
@extend_schema_view(bulk=bulk_described("plan", BulkPlansSerializer))
class PlanView(BulkWrites, CatalogueWrites, BreakdownView):
    """Plans, each with the number of their subscriptions and what they pay together."""

    kind = "plan"
    model = Plan
    fields = catalogue.FIELDS["plan"]
    needs = {
        **dict.fromkeys(("list", "retrieve"), ((VIEW_PLAN,),)),
        "create": ((ADD_PLAN,),),
        "partial_update": ((CHANGE_PLAN,),),
        "destroy": ((DELETE_PLAN,),),
        "bulk": ((ADD_PLAN,), (CHANGE_PLAN,)),
    }
    bulk_steps = PlanSteps


def too_many_found(given: Mapping[str, str]) -> BadParameter:
    name = "q" if "q" in given else next(iter(given))
    fix = _("their external_id too") if name == "source" else _("more of the name")
    return BadParameter(
        name,
        given[name],
        _("More than %(search_names)s are like this: give %(fix)s.")
        % {"search_names": grouped(SEARCH_NAMES), "fix": fix},
        "not_served_at_size",
    )
