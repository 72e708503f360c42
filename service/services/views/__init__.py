"""The API of subscriptions and the ledger: reading, and the verbs of the price state."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import QueryDict, StreamingHttpResponse
from django.utils.http import parse_etags
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet, ViewSet

from pricebook.kit import idempotency
from pricebook.kit.api import BadParameter, ErrorSerializer, Refused, object_of
from pricebook.kit.idempotency import idempotent
from pricebook.models import SET_PRICE_STATE
from services import ledger, parsing, price_state
from services.models import Subscription
from services.parsing import MAX_BIGINT
from services.reading import access_paths, breakdown, filters, pages
from services.reading.access_paths import SEARCH_NAMES, NotServed, served
from services.reading.filters import BookFilter
from services.reading.ordering import BY_ID, ORDERINGS, Cursor, Ordering, list_of, marked
from services.serializers import (
    ClientPageSerializer,
    ClientPaySerializer,
    ExplanationSerializer,
    FeedSerializer,
    HistorySerializer,
    LockSerializer,
    NegotiateSerializer,
    OneSubscriptionSerializer,
    PageSerializer,
    PlanPageSerializer,
    PlanPaySerializer,
    ServicePageSerializer,
    ServicePaySerializer,
    TotalsSerializer,
)
from services.transfer import streaming

ERRORS = {
    400: OpenApiResponse(ErrorSerializer, "A parameter can't be used; `detail` has the mend."),
    401: OpenApiResponse(ErrorSerializer, "No session and no API key, or one that is not valid."),
    406: OpenApiResponse(ErrorSerializer, "No such content type."),
    503: OpenApiResponse(ErrorSerializer, "The database does not answer, or not in time."),
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
UNCHANGED = OpenApiResponse(description="The book is as it was when the ETag was given out.")
UNKNOWN = {404: OpenApiResponse(ErrorSerializer, "There is none of this id.")}


def ordering_parameter(orderings: Mapping[str, Ordering]) -> OpenApiParameter:
    return OpenApiParameter(
        "ordering",
        {"type": "string", "enum": list(orderings), "default": "id"},
        description="The order; a minus turns it round. Equal ones go by their ids, likewise.",
    )


FILTER_PARAMETERS = [
    OpenApiParameter(name, each.kind.schema, description=each.help)
    for name, each in filters.FILTERS.items()
]
BY_PATTERN = "^(service|plan|plan_type)(,(service|plan|plan_type))*$"
PARAMETERS = [
    *FILTER_PARAMETERS,
    OpenApiParameter(
        "as_of",
        filters.INSTANT.schema,
        description="What was paid then, ISO 8601 with a time zone, not in the future. Goes with"
        " service, plan and client, as they were then. Names, comment and dates are today's.",
    ),
    ordering_parameter(ORDERINGS),
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

    def get_renderers(self) -> list[BaseRenderer]:
        whole = streaming.RENDERERS if self.action == "list" else ()
        return [*super().get_renderers(), *[renderer() for renderer in whole]]

    def handle_exception(self, exc: Exception) -> Response:
        streaming.errors_are_json(self.request)
        return super().handle_exception(exc)

    @extend_schema(
        parameters=PARAMETERS,
        responses={
            (200, "application/json"): PageSerializer,
            **streaming.RESPONSES,
            304: UNCHANGED,
            **{(status, "application/json"): answer for status, answer in ERRORS.items()},
        },
        filters=False,
        description=(
            "A page of subscriptions, and the total of all that match."
            f"\n\n{served()}\n\n{streaming.DESCRIPTION}"
        ),
    )
    def list(  # type: ignore[override]
        self, request: Request
    ) -> Response | StreamingHttpResponse:
        """A page of subscriptions, and the total of all that match."""
        if streaming.is_wanted(request):
            return streaming.answer(request)
        query = request.query_params
        filters.refuse_unknown(query, [*filters.FILTERS, "as_of", "ordering", *filters.PAGING])
        wanted, ordering = filters.book_filter(query), ordering_of(query)
        instant = filters.past_instant(query, "as_of")
        cursor = cursor_of(query, marked(wanted, ordering, instant), ordering)
        size = filters.page_size(query)
        if instant is None:
            to = answer_to(request)
            try:
                page = pages.page(wanted, cursor, size, ordering, seen_by(request, to))
            except NotServed as error:
                raise not_served(error) from error
            except pages.Unchanged as error:
                return Response(status=304, headers=validator(error.version, to))
        else:
            to = answer_to(request)
            refuse_with_as_of(wanted, ordering)
            try:
                page = pages.page_as_of(instant, wanted, cursor, size, seen_by(request, to))
            except pages.Unchanged as error:
                return Response(status=304, headers=validator(error.version, to))
        return Response(
            {
                "result": page.result,
                "total_amount": page.total.amount,
                "count": page.total.subscriptions,
                "currency": settings.CURRENCY,
                "next": link(request, page.next),
                "previous": link(request, page.previous),
            },
            headers=validator(page.version, to),
        )

    @extend_schema(
        parameters=[
            PATH_ID,
            OpenApiParameter(
                "as_of", filters.INSTANT.schema, description="What it paid then; as in the list."
            ),
        ],
        responses={200: OneSubscriptionSerializer, 304: UNCHANGED, **ERRORS, **UNKNOWN},
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """One subscription."""
        filters.refuse_unknown(request.query_params, ["as_of"])
        instant = filters.past_instant(request.query_params, "as_of")
        if instant is None:
            return super().retrieve(request, pk=pk)
        to = answer_to(request)
        try:
            found, version = pages.one_as_of(instant, known_id(pk), seen_by(request, to))
        except pages.Unchanged as error:
            return Response(status=304, headers=validator(error.version, to))
        if found is None:
            raise nothing_then(pk, instant)
        return Response(found, headers=validator(version, to))

    @extend_schema(
        parameters=[PATH_ID, CURSOR, PAGE_SIZE],
        responses={200: HistorySerializer, **ERRORS, **UNKNOWN},
    )
    @action(detail=True, url_path="ledger")
    def history(self, request: Request, pk: str) -> Response:
        """Every price that a subscription has had, newest last; of a deleted one too."""
        query = request.query_params
        filters.refuse_unknown(query, filters.PAGING)
        mark = list_of("ledger", known_id(pk))
        cursor, size = cursor_of(query, mark), filters.page_size(query)
        if cursor is not None and cursor.backward:
            raise BadParameter("cursor", str(cursor), "The ledger is read forward: take next.")
        entries = ledger.history(known_id(pk), cursor.id if cursor else 0, size + 1)
        if not entries and not ledger.history(known_id(pk), limit=1):
            raise NotFound(f"There is no subscription {pk}, and never was.")
        more = Cursor(entries[size - 1]["id"], of=mark) if len(entries) > size else None
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
                until=None if until is None else parsing.instant("until", until),
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
        if given.get("price") is None:
            raise Refused("missing", "Give the price, a number such as 12.50.", parameter="price")
        return self.decided(
            price_state.negotiate(
                known_id(pk),
                price=parsing.money("price", given["price"]),
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


# To be raised when an answer from the same book comes to look otherwise.
REPRESENTATION = 2


def answer_to(request: Request) -> str | None:
    """What an answer's ETag stands for, beside the version of the book: address and settings.

    None for the page that a browser is shown: it says who is logged in.
    """
    if request.accepted_renderer.format != "json":
        return None
    return f" {REPRESENTATION} {settings.CURRENCY} {request.build_absolute_uri()}"


def seen_by(request: Request, to: str | None) -> pages.Seen | None:
    etags = parse_etags(request.headers.get("If-None-Match", "")[:2000])
    digests = [etag.removeprefix("W/").strip('"') for etag in etags]
    digests = [each for each in digests if re.fullmatch("[0-9a-f]{32}", each)]
    return pages.Seen(to, digests) if to is not None and digests else None


def validator(version: str | None, to: str | None) -> dict[str, str]:
    """The headers with which a client may ask again whether an answer still holds."""
    if version is None or to is None:
        return {"Cache-Control": "private, no-cache"}
    return {
        "ETag": f'W/"{pages.digest(version, to)}"',
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization, Cookie",
    }


def link(request: Request, cursor: Cursor | None) -> str | None:
    """This request's address with another cursor."""
    if cursor is None:
        return None
    query: QueryDict = request.query_params.copy()
    query["cursor"] = str(cursor)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


class BreakdownView(ViewSet):
    """Clients, services or plans, each with the number of its subscriptions and what they pay."""

    kind: str
    lookup_value_regex = "[0-9]+"

    def list(self, request: Request) -> Response:
        query = request.query_params
        names = breakdown.FILTERS[self.kind]
        filters.refuse_unknown(query, [*names, "ordering", *filters.PAGING])
        given = filters.values_of(query, names)
        ordering = ordering_of(query, breakdown.ORDERINGS[self.kind])
        cursor = cursor_of(query, breakdown.marked(self.kind, given, ordering), ordering)
        size = filters.page_size(query)
        to = answer_to(request)
        try:
            page = breakdown.page(self.kind, given, cursor, size, ordering, seen_by(request, to))
        except pages.Unchanged as error:
            return Response(status=304, headers=validator(error.version, to))
        except breakdown.TooManyFound as error:
            raise too_many_found(given) from error
        return Response(
            {
                "result": page.result,
                "count": page.count,
                "subscriptions": page.total.subscriptions,
                "total_amount": page.total.amount,
                "currency": settings.CURRENCY,
                "next": link(request, page.next),
                "previous": link(request, page.previous),
            },
            headers=validator(page.version, to),
        )

    def retrieve(self, request: Request, pk: str) -> Response:
        filters.refuse_unknown(request.query_params, [])
        to = answer_to(request)
        try:
            row, version = breakdown.one(self.kind, known_id(pk, self.kind), seen_by(request, to))
        except pages.Unchanged as error:
            return Response(status=304, headers=validator(error.version, to))
        if row is None:
            raise NotFound(f"There is no {self.kind} {pk}.")
        return Response(row, headers=validator(version, to))


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
            ],
            responses={200: page, 304: UNCHANGED, **ERRORS},
        ),
        retrieve=extend_schema(
            summary=f"One {kind}.",
            parameters=[PATH_ID],
            responses={200: shown, 304: UNCHANGED, **ERRORS, **UNKNOWN},
        ),
    )


@described("client", ClientPaySerializer, ClientPageSerializer)
class ClientView(BreakdownView):
    """Clients, each with the number of its subscriptions and what they pay together."""

    kind = "client"


@described("service", ServicePaySerializer, ServicePageSerializer)
class ServiceView(BreakdownView):
    """Services, each with the number of its subscriptions and what they pay together."""

    kind = "service"


@described("plan", PlanPaySerializer, PlanPageSerializer)
class PlanView(BreakdownView):
    """Plans, each with the number of their subscriptions and what they pay together."""

    kind = "plan"


class TotalsView(APIView):
    """What subscriptions pay together."""

    @extend_schema(
        operation_id="totals",
        parameters=[
            OpenApiParameter(
                "by",
                {"type": "string", "pattern": BY_PATTERN},
                description="What to group by, with commas: service, plan, plan_type.",
            ),
            *FILTER_PARAMETERS,
        ],
        responses={200: TotalsSerializer, 304: UNCHANGED, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Totals by service, plan and plan type, and of all together, in one snapshot.

        With filters by service, plan and plan type alone it costs the same at any size of the book.
        """
        query = request.query_params
        filters.refuse_unknown(query, [*filters.FILTERS, "by"])
        wanted, by = filters.book_filter(query), groups_of(query)
        to = answer_to(request)
        try:
            rows, together, version = breakdown.totals(wanted, by, seen_by(request, to))
        except pages.Unchanged as error:
            return Response(status=304, headers=validator(error.version, to))
        except NotServed as error:
            raise too_much_summed(error, wanted) from error
        except breakdown.TooManyGroups as error:
            raise BadParameter(
                "by",
                ",".join(by),
                f"These are more than {breakdown.MOST_GROUPS:,} groups; filter by service, plan or"
                " plan_type, or group by less.",
                "too_many_groups",
            ) from error
        return Response(
            {
                "result": rows if by else [],
                "total_amount": together.amount,
                "count": together.subscriptions,
                "currency": settings.CURRENCY,
            },
            headers=validator(version, to),
        )


def groups_of(query: QueryDict) -> list[str]:
    value = filters.value_of(query, "by")
    if value is None:
        return []
    by, allowed = value.split(","), list(breakdown.GROUPS)
    if len(set(by)) != len(by) or not set(by) <= set(allowed):
        raise BadParameter(
            "by",
            value,
            f"by is one or more of {', '.join(allowed)}, each once, with commas between.",
            allowed=allowed,
        )
    return by


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


def ordering_of(query: QueryDict, orderings: Mapping[str, Ordering] = ORDERINGS) -> Ordering:
    value = filters.value_of(query, "ordering")
    if value is None:
        return BY_ID
    if value not in orderings:
        allowed = list(orderings)
        raise BadParameter(
            "ordering", value, f"ordering may be {', '.join(allowed)}.", allowed=allowed
        )
    return orderings[value]


def not_served(error: NotServed) -> BadParameter:
    return BadParameter(
        "ordering", str(error.ordering), str(error), "not_served_at_size", list(ORDERINGS)
    )


def too_much_summed(error: NotServed, wanted: BookFilter) -> BadParameter:
    """Names the filter that makes it too much: what an index or a subtotal knows never does."""
    given = [
        name for name in wanted.given if name not in access_paths.CATALOGUE | access_paths.INDEXED
    ]
    name = next((name for name in ("q", "pending") if name in given), given[0])
    return BadParameter(name, str(wanted.given[name]), str(error), "not_served_at_size")


def too_many_found(given: Mapping[str, str]) -> BadParameter:
    name = "q" if "q" in given else next(iter(given))
    return BadParameter(
        name,
        given[name],
        f"More than {SEARCH_NAMES:,} are like this: give more of the name.",
        "not_served_at_size",
    )


def refuse_with_as_of(wanted: BookFilter, ordering: Ordering) -> None:
    others = {name: str(value) for name, value in wanted.given.items()}
    if ordering != BY_ID:
        others["ordering"] = str(ordering)
    for name, value in others.items():
        if name not in ledger.AS_OF_FILTERS:
            raise BadParameter(
                name,
                value,
                f"The ledger doesn't know {name}; as_of goes with"
                f" {', '.join(ledger.AS_OF_FILTERS)}, in the order of the ids.",
                code="not_with_as_of",
                allowed=list(ledger.AS_OF_FILTERS),
            )


def known_id(pk: str, kind: str = "subscription") -> int:
    id = filters.whole_number(pk)
    if id is None or id > MAX_BIGINT:
        raise NotFound(f"There is no {kind} {pk[:100]}.")
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


def cursor_of(query: QueryDict, of: bytes = Cursor.of, ordering: Ordering = BY_ID) -> Cursor | None:
    """The cursor of this very list; raises BadParameter."""
    value = filters.value_of(query, "cursor")
    if value is None:
        return None
    try:
        cursor = Cursor.parse(value)
    except ValueError as error:
        raise BadParameter(
            "cursor", value, "This is no cursor; take one from next or previous, or leave it out."
        ) from error
    try:
        if cursor.of != of:
            raise ValueError("another list gave it out")
        ordering.check(cursor.value)
    except ValueError as error:
        raise BadParameter(
            "cursor",
            value,
            "This cursor is of a list with other filters or in another order; take one from next"
            " or previous of this one, or leave it out.",
            code="cursor_of_another_list",
        ) from error
    return cursor
