"""The API of subscriptions and the ledger: reading, and the verbs of the price state."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from pricebook import idempotency
from pricebook.api import BadParameter, ErrorSerializer, object_of
from pricebook.idempotency import idempotent
from pricebook.models import SET_PRICE_STATE
from services import filters, ledger, listing, price_state, values
from services.filters import BookFilter
from services.models import Subscription
from services.serializers import (
    ExplanationSerializer,
    FeedSerializer,
    HistorySerializer,
    LockSerializer,
    NegotiateSerializer,
    OneSubscriptionSerializer,
    PageSerializer,
)
from services.values import MAX_BIGINT

ERRORS = {
    400: OpenApiResponse(ErrorSerializer, "A parameter can't be used; `detail` has the mend."),
    401: OpenApiResponse(ErrorSerializer, "No session and no API key, or one that is not valid."),
    406: OpenApiResponse(ErrorSerializer, "No such content type."),
    503: OpenApiResponse(ErrorSerializer, "The database does not answer."),
}

SIZE = {
    "type": "integer",
    "minimum": 1,
    "maximum": filters.MAX_PAGE_SIZE,
    "default": filters.DEFAULT_PAGE_SIZE,
}
PAGE_SIZE = OpenApiParameter("page_size", SIZE)
CURSOR = OpenApiParameter("cursor", str, description="As `next` or `previous` have it.")
PATH_ID = OpenApiParameter("id", filters.ID.schema, OpenApiParameter.PATH)
UNKNOWN = {404: OpenApiResponse(ErrorSerializer, "There is no such subscription.")}
PARAMETERS = [
    *[
        OpenApiParameter(name, each.kind.schema, description=each.help)
        for name, each in filters.FILTERS.items()
    ],
    OpenApiParameter(
        "as_of",
        filters.INSTANT.schema,
        description="What was paid then, ISO 8601 with a time zone, not in the future. Goes with"
        " service, plan and client, as they were then. Names, comment and dates are today's.",
    ),
    CURSOR,
    PAGE_SIZE,
]

# What a request that wants something done may be refused with, besides `ERRORS`.
REFUSALS = {
    403: OpenApiResponse(ErrorSerializer, "Not allowed; `missing` names the permission."),
    409: OpenApiResponse(ErrorSerializer, "Not in this state; `allowed` has the states that do."),
    413: OpenApiResponse(ErrorSerializer, "The body is too long."),
    415: OpenApiResponse(ErrorSerializer, "The body is not JSON."),
    422: OpenApiResponse(ErrorSerializer, "The Idempotency-Key was used for another request."),
}


def verb(body: type[Serializer] | None) -> Callable[[Any], Any]:
    """`POST /api/subscriptions/{id}/<name>/`, once for each Idempotency-Key."""

    def decorated(method: Any) -> Any:
        described = extend_schema(
            parameters=[PATH_ID, idempotency.PARAMETER],
            request=body,
            responses={200: OneSubscriptionSerializer, **ERRORS, **UNKNOWN, **REFUSALS},
        )
        return described(action(detail=True, methods=["post"])(idempotent(method)))

    return decorated


class SubscriptionView(ReadOnlyModelViewSet):
    """Who pays what, and how much it is all together."""

    queryset = Subscription.objects.for_api()
    serializer_class = OneSubscriptionSerializer
    lookup_value_regex = "[0-9]+"
    needs = dict.fromkeys(("lock", "release", "negotiate", "follow"), (SET_PRICE_STATE,))

    @extend_schema(parameters=PARAMETERS, responses={200: PageSerializer, **ERRORS}, filters=False)
    def list(self, request: Request) -> Response:
        """A page of subscriptions in the order of their ids, and the total of all that match."""
        query = request.query_params
        filters.refuse_unknown(query, [*filters.FILTERS, "as_of", *filters.PAGING])
        wanted = filters.book_filter(query)
        paging = cursor_of(query), filters.page_size(query)
        instant = filters.past_instant(query, "as_of")
        if instant is None:
            page = listing.page(wanted, *paging)
        else:
            refuse_with_as_of(wanted)
            page = listing.page_as_of(instant, wanted, *paging)
        return Response(
            {
                "result": page.result,
                "total_amount": page.total.amount,
                "count": page.total.subscriptions,
                "currency": settings.CURRENCY,
                "next": link(request, page.next),
                "previous": link(request, page.previous),
            }
        )

    @extend_schema(
        parameters=[
            PATH_ID,
            OpenApiParameter(
                "as_of", filters.INSTANT.schema, description="What it paid then; as in the list."
            ),
        ],
        responses={200: OneSubscriptionSerializer, **ERRORS, **UNKNOWN},
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """One subscription."""
        filters.refuse_unknown(request.query_params, ["as_of"])
        instant = filters.past_instant(request.query_params, "as_of")
        if instant is None:
            return super().retrieve(request, pk=pk)
        found = listing.one_as_of(instant, known_id(pk))
        if found is None:
            raise nothing_then(pk, instant)
        return Response(found)

    @extend_schema(
        parameters=[PATH_ID, CURSOR, PAGE_SIZE],
        responses={200: HistorySerializer, **ERRORS, **UNKNOWN},
    )
    @action(detail=True, url_path="ledger")
    def history(self, request: Request, pk: str) -> Response:
        """Every price that a subscription has had, newest last; of a deleted one too."""
        query = request.query_params
        filters.refuse_unknown(query, filters.PAGING)
        cursor, size = cursor_of(query), filters.page_size(query)
        if cursor is not None and cursor.backward:
            raise BadParameter("cursor", str(cursor), "The ledger is read forward: take next.")
        entries = ledger.history(known_id(pk), cursor.id if cursor else 0, size + 1)
        if not entries and not ledger.history(known_id(pk), limit=1):
            raise NotFound(f"There is no subscription {pk}, and never was.")
        more = listing.Cursor(entries[size - 1]["id"]) if len(entries) > size else None
        return Response({"result": entries[:size], "next": link(request, more)})

    @extend_schema(
        parameters=[
            PATH_ID,
            OpenApiParameter(
                "at", filters.INSTANT.schema, description="The instant; now, if left out."
            ),
        ],
        responses={200: ExplanationSerializer, **ERRORS, **UNKNOWN},
    )
    @action(detail=True)
    def explain(self, request: Request, pk: str) -> Response:
        """Why a subscription pays what it pays, or paid what it paid."""
        filters.refuse_unknown(request.query_params, ["at"])
        instant = filters.past_instant(request.query_params, "at")
        explanation = ledger.explain(known_id(pk), instant)
        if explanation is None:
            raise nothing_then(pk, instant)
        return Response(asdict(explanation))

    @verb(LockSerializer)
    def lock(self, request: Request, pk: str) -> Response:
        """Keep the price that it has, until an instant or until it is released."""
        given = object_of(request.data, ["until", "reason"])
        until = given.get("until")
        return self.decided(
            price_state.lock(
                known_id(pk),
                until=None if until is None else values.instant("until", until),
                reason=given.get("reason", ""),
                author=str(request.user),
            )
        )

    @verb(None)
    def release(self, request: Request, pk: str) -> Response:
        """End a lock: it follows the catalogue again."""
        object_of(request.data, [])
        return self.decided(price_state.release(known_id(pk), author=str(request.user)))

    @verb(NegotiateSerializer)
    def negotiate(self, request: Request, pk: str) -> Response:
        """Give it a price of its own."""
        given = object_of(request.data, ["price", "reason"])
        return self.decided(
            price_state.negotiate(
                known_id(pk),
                price=values.money("price", given.get("price", "")),
                reason=given.get("reason", ""),
                author=str(request.user),
            )
        )

    @verb(None)
    def follow(self, request: Request, pk: str) -> Response:
        """Let it follow the catalogue, whatever its state was."""
        object_of(request.data, [])
        return self.decided(price_state.follow(known_id(pk), author=str(request.user)))

    def decided(self, subscription: Subscription) -> Response:
        return Response(self.get_serializer(self.get_queryset().get(pk=subscription.pk)).data)


class LedgerView(APIView):
    """What has been written to the ledger."""

    @extend_schema(
        operation_id="ledger_feed",
        parameters=[
            OpenApiParameter("after", str, description="As `next` has it; from the beginning."),
            OpenApiParameter("limit", SIZE),
        ],
        responses={200: FeedSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Entries in the order of their transactions, each once: to be polled with `next`.

        An entry comes when no transaction that began before its own is open any more.
        """
        query = request.query_params
        filters.refuse_unknown(query, ["after", "limit"])
        after, limit = place_of(query), filters.page_size(query, "limit")
        try:
            feed = ledger.feed(after, limit)
        except ledger.PlaceAhead as error:
            raise BadParameter(
                "after",
                str(after),
                "This place lies ahead of the ledger: it was given out by another server, or this"
                " one was restored. Read from the beginning: leave it out.",
                code="place_ahead",
            ) from error
        return Response({"result": feed.entries, "next": str(feed.next)})


def link(request: Request, cursor: listing.Cursor | None) -> str | None:
    """This request's address with another cursor."""
    if cursor is None:
        return None
    query: QueryDict = request.query_params.copy()
    query["cursor"] = str(cursor)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def refuse_with_as_of(wanted: BookFilter) -> None:
    for name, value in wanted.given.items():
        if name not in ledger.AS_OF_FILTERS:
            raise BadParameter(
                name,
                str(value),
                f"The ledger doesn't know {name}; as_of goes with"
                f" {', '.join(ledger.AS_OF_FILTERS)}.",
                code="not_with_as_of",
                allowed=list(ledger.AS_OF_FILTERS),
            )


def known_id(pk: str) -> int:
    id = filters.whole_number(pk)
    if id is None or id > MAX_BIGINT:
        raise NotFound(f"There is no subscription {pk[:100]}.")
    return id


def nothing_then(pk: str, instant: datetime | None) -> NotFound:
    when = f" at {instant.isoformat()}" if instant else ""
    return NotFound(f"There was no subscription {pk}{when}.")


def place_of(query: QueryDict) -> ledger.Place | None:
    value = filters.value_of(query, "after")
    if value is None:
        return None
    try:
        return ledger.Place.parse(value)
    except ValueError as error:
        raise BadParameter(
            "after", value, "This is no place in the ledger; take one from next, or leave it out."
        ) from error


def cursor_of(query: QueryDict) -> listing.Cursor | None:
    value = filters.value_of(query, "cursor")
    if value is None:
        return None
    try:
        return listing.Cursor.parse(value)
    except ValueError as error:
        raise BadParameter(
            "cursor", value, "This is no cursor; take one from next or previous, or leave it out."
        ) from error
