"""Subscriptions over the API: the list with its total, one, its history, its price states."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import (
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_view,
)
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from pricebook.kit.access import author
from pricebook.kit.content import object_of
from pricebook.kit.errors import BadParameter, Refused
from pricebook.kit.language import in_english
from pricebook.kit.replica import from_replica
from pricebook.kit.scopes import (
    ADD_SUBSCRIPTION,
    CHANGE_SUBSCRIPTION,
    SET_PRICE_STATE,
    VIEW_SUBSCRIPTION,
)
from services import ledger, parsing, price_decisions
from services.bulk.subscriptions import SubscriptionSteps
from services.ledger.page import one_as_of, page_as_of
from services.models import Subscription
from services.moves import WaitingPlan
from services.reading import filter_kinds, filters, pages, parameters
from services.reading.access_paths import NotServed, served
from services.reading.ordering import Cursor, key_of_subscriptions, list_key
from services.reading.version import Unchanged
from services.serializers import (
    DryRunSerializer,
    LockSerializer,
    NegotiateSerializer,
    OneSubscriptionSerializer,
    PageSerializer,
    SubscriptionAsOfSerializer,
)
from services.transfer import streaming
from services.transfer.sheets import answering
from services.transfer.sheets.book import subscriptions
from services.views import sheets
from services.views.as_of import (
    instants,
    nothing_then,
    refuse_with_as_of,
    waiting_for,
)
from services.views.bulk import BulkWrites, bulk_described
from services.views.correcting import Corrections
from services.views.etags import answer_to, seen_by, validator
from services.views.moves import WaitingPlanSerializer, answer_of_one, or_shown, waits
from services.views.openapi import (
    CURSOR,
    ERRORS,
    KNOWN_AT,
    LINK,
    LIST_PARAMETERS,
    PAGE_SIZE,
    PATH_ID,
    UNCHANGED,
    UNKNOWN,
)
from services.views.paging import cursor_of, known_id, link, links, not_served, ordering_of
from services.views.shapes_of_bulk import BulkSubscriptionsSerializer
from services.views.shapes_of_ledger import ExplanationSerializer, HistorySerializer
from services.views.subscription_writes import SubscriptionWrites, verb

DECIDED = {
    200: or_shown("SubscriptionOrShown", OneSubscriptionSerializer),
    202: WaitingPlanSerializer,
}


@extend_schema_view(bulk=bulk_described("subscription", BulkSubscriptionsSerializer))
class SubscriptionView(Corrections, BulkWrites, SubscriptionWrites, ReadOnlyModelViewSet):
    """Subscriptions: who pays what, and how much it is in total."""

    queryset = Subscription.objects.in_force().for_api()
    serializer_class = OneSubscriptionSerializer
    lookup_value_regex = "[0-9]+"
    needs = {
        **dict.fromkeys(("list", "retrieve", "history", "explain"), ((VIEW_SUBSCRIPTION,),)),
        **dict.fromkeys(
            ("lock", "release", "negotiate", "follow", "correct", "correct_many"),
            ((SET_PRICE_STATE,),),
        ),
        **SubscriptionWrites.needs_to_write,
        "bulk": ((ADD_SUBSCRIPTION,), (CHANGE_SUBSCRIPTION,)),
    }
    bulk_steps = SubscriptionSteps

    def get_renderers(self) -> list[BaseRenderer]:
        whole = (*streaming.RENDERERS, *answering.RENDERERS) if self.action == "list" else ()
        sheets = answering.RENDERERS if self.action == "history" else ()
        return [*super().get_renderers(), *[renderer() for renderer in (*whole, *sheets)]]

    @extend_schema(
        parameters=[*LIST_PARAMETERS, *answering.PARAMETERS],
        responses={
            **answering.responses(PageSerializer),
            **streaming.RESPONSES,
            304: UNCHANGED,
            **ERRORS,
        },
        filters=False,
        description=(
            "A page of subscriptions, and the total of all that match."
            f"\n\n{served()}\n\n{streaming.DESCRIPTION}\n\n{answering.DESCRIPTION}"
        ),
    )
    @from_replica
    def list(self, request: Request) -> Response | StreamingHttpResponse:
        """A page of subscriptions, and the total of all that match."""
        if streaming.is_wanted(request):
            return streaming.answer(request)
        if answering.is_wanted(request):
            return self.as_sheet(request)
        query = request.query_params
        parameters.refuse_unknown(
            query, [*filters.FILTERS, "as_of", "known_at", "ordering", *parameters.PAGING]
        )
        wanted, ordering = parameters.book_filter(query), ordering_of(query)
        instant, known_at = instants(query)
        cursor = cursor_of(
            query, key_of_subscriptions(wanted, ordering, instant, known_at), ordering
        )
        size = parameters.page_size(query)
        if instant is None:
            to = answer_to(request)
            try:
                page = pages.page(wanted, cursor, size, ordering, seen_by(request, to))
            except NotServed as error:
                raise not_served(error) from error
            except Unchanged as error:
                return Response(status=304, headers=validator(error.version, to))
            waiting = waiting_for(None) if page.waits else []
        else:
            waiting = waiting_for(instant, known_at)
            to = f"{answer_to(request)} {waiting}"
            refuse_with_as_of(wanted, ordering)
            try:
                page = page_as_of(instant, wanted, cursor, size, seen_by(request, to), known_at)
            except Unchanged as error:
                return Response(status=304, headers=validator(error.version, to))
        next, previous = link(request, page.next), link(request, page.previous)
        return Response(
            {
                "result": page.result,
                "total_amount": page.total.amount,
                "count": page.total.subscriptions,
                "paid_amount": page.paid.amount,
                "paid_count": page.paid.subscriptions,
                "currency": settings.CURRENCY,
                "next": next,
                "previous": previous,
                "waiting_for": waiting,
            },
            headers=validator(page.version, to) | links(next, previous),
        )

    def as_sheet(self, request: Request) -> StreamingHttpResponse:
        query = request.query_params
        answering.refuse_unknown(request, filters.FILTERS, streaming.ONLY_OF_PAGES)
        wanted = parameters.book_filter(query)
        return answering.answer(request, subscriptions(wanted, answering.filters_of(query)))

    @extend_schema(
        parameters=[
            PATH_ID,
            OpenApiParameter(
                "as_of",
                filter_kinds.INSTANT.schema,
                description="Shows what it paid then; as in the list.",
            ),
            KNOWN_AT,
        ],
        responses={
            200: PolymorphicProxySerializer(
                component_name="NowOrAsOf",
                serializers=[OneSubscriptionSerializer, SubscriptionAsOfSerializer],
                resource_type_field_name=None,
            ),
            304: UNCHANGED,
            **ERRORS,
            **UNKNOWN,
        },
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """A single subscription."""
        parameters.refuse_unknown(request.query_params, ["as_of", "known_at"])
        instant, known_at = instants(request.query_params)
        if instant is None:
            return Response(self.found(known_id(pk)))
        waiting = waiting_for(instant, known_at)
        to = f"{answer_to(request)} {waiting}"
        try:
            found, version = one_as_of(instant, known_id(pk), seen_by(request, to), known_at)
        except Unchanged as error:
            return Response(status=304, headers=validator(error.version, to))
        if found is None:
            raise nothing_then(pk, instant, known_at)
        return Response(
            found | {"currency": settings.CURRENCY, "as_of": instant, "waiting_for": waiting},
            headers=validator(version, to),
        )

    @extend_schema(
        parameters=[PATH_ID, CURSOR, PAGE_SIZE, LINK, *answering.PARAMETERS],
        responses={**answering.responses(HistorySerializer), **ERRORS, **UNKNOWN},
    )
    @action(detail=True, url_path="ledger")
    def history(self, request: Request, pk: str) -> Response | StreamingHttpResponse:
        """Every price that a subscription has had, newest last; also of a deleted one."""
        query = request.query_params
        if answering.refuse_unknown(request, [], parameters.PAGING):
            first = ledger.history(known_id(pk), 0, sheets.CHUNK)
            if not first:
                raise never_was(pk)
            said = {"subscription": pk}
            return answering.answer(request, sheets.history(known_id(pk), first, said))
        key = list_key("ledger", known_id(pk))
        cursor, size = cursor_of(query, key), parameters.page_size(query)
        if cursor is not None and cursor.backward:
            raise BadParameter("cursor", str(cursor), _("The ledger is read forward: take next."))
        entries = ledger.history(known_id(pk), cursor.id if cursor else 0, size + 1)
        if not entries and not ledger.history(known_id(pk), limit=1):
            raise never_was(pk)
        more = Cursor(entries[size - 1]["id"], list_key=key) if len(entries) > size else None
        next = link(request, more)
        return Response({"result": entries[:size], "next": next}, headers=links(next))

    @extend_schema(
        parameters=[
            PATH_ID,
            OpenApiParameter(
                "at", filter_kinds.INSTANT.schema, description="The instant; now, if left out."
            ),
            KNOWN_AT,
        ],
        responses={200: ExplanationSerializer, **ERRORS, **UNKNOWN},
    )
    @action(detail=True)
    def explain(self, request: Request, pk: str) -> Response:
        """Why a subscription pays what it pays, or paid what it paid."""
        parameters.refuse_unknown(request.query_params, ["at", "known_at"])
        instant, known_at = instants(request.query_params, "at")
        with in_english():  # an answer is the same whoever reads it
            explanation = ledger.explain(known_id(pk), instant, known_at)
            if explanation is None:
                raise nothing_then(pk, instant, known_at)
            return Response(asdict(explanation) | {"currency": settings.CURRENCY})

    @verb(LockSerializer, DECIDED)
    def lock(self, request: Request, pk: str) -> Response:
        """Keep a subscription's price, until an instant or until it is released."""
        given = object_of(request.data, ["until", "reason", "dry_run"])
        until = given.get("until")
        return self.decided(
            request,
            pk,
            given,
            until=None if until is None else parsing.instant("until", until),
            reason=given.get("reason", ""),
        )

    @verb(DryRunSerializer, DECIDED)
    def release(self, request: Request, pk: str) -> Response:
        """End a lock: the subscription follows the catalogue again."""
        return self.decided(request, pk, object_of(request.data, ["dry_run"]))

    @verb(NegotiateSerializer, DECIDED)
    def negotiate(self, request: Request, pk: str) -> Response:
        """Give a subscription a price of its own."""
        given = object_of(request.data, ["price", "reason", "dry_run"])
        if given.get("price") is None:
            raise Refused(
                "missing", _("Give the price, a number such as 12.50."), parameter="price"
            )
        return self.decided(
            request,
            pk,
            given,
            price=parsing.money("price", given["price"]),
            reason=given.get("reason", ""),
        )

    @verb(DryRunSerializer, DECIDED)
    def follow(self, request: Request, pk: str) -> Response:
        """Let a subscription follow the catalogue, whatever its state was."""
        return self.decided(request, pk, object_of(request.data, ["dry_run"]))

    def decided(
        self, request: Request, pk: str, given: Mapping[str, Any], **values: Any
    ) -> Response:
        """The answer to a verb: done, a plan that waits (202), or only shown (`dry_run`)."""
        asked = (self.action, self.seen(request, pk), author(request.user))
        if parsing.flag("dry_run", given.get("dry_run", False)):
            return answer_of_one(price_decisions.show(*asked, **values))
        done = price_decisions.decide(*asked, **values)
        if isinstance(done, WaitingPlan):
            return waits(done)
        return Response(self.found(done.pk))


def never_was(pk: str) -> NotFound:
    return NotFound(_("There is no subscription %(pk)s, and never was.") % {"pk": pk})
