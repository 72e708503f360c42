"""The API: subscriptions, read only."""

from django.conf import settings
from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from pricebook.api import BadParameter, ErrorSerializer
from services import filters, listing
from services.models import Subscription
from services.serializers import PageSerializer, SubscriptionSerializer

ERRORS = {
    400: OpenApiResponse(ErrorSerializer, "A parameter can't be used; `detail` has the mend."),
    401: OpenApiResponse(ErrorSerializer, "No session and no API key, or one that is not valid."),
    406: OpenApiResponse(ErrorSerializer, "No such content type."),
    503: OpenApiResponse(ErrorSerializer, "The database does not answer."),
}

ID = {"type": "integer", "minimum": 1, "maximum": filters.MAX_BIGINT}
PARAMETERS = [
    OpenApiParameter("service", ID, description="Only those of this service (its id)."),
    OpenApiParameter("plan", ID, description="Only those of this plan (its id)."),
    OpenApiParameter("client", ID, description="Only those of this client (its id)."),
    OpenApiParameter("source", str, description="Only those that came from this system."),
    OpenApiParameter("external_id", str, description="Their id in `source`, which is needed too."),
    OpenApiParameter("comment", str, description="Only those with exactly this comment."),
    OpenApiParameter("comment_prefix", str, description="Only those whose comment begins so."),
    OpenApiParameter("cursor", str, description="As `next` or `previous` have it."),
    OpenApiParameter(
        "page_size",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": filters.MAX_PAGE_SIZE,
            "default": filters.DEFAULT_PAGE_SIZE,
        },
    ),
]


class SubscriptionView(ReadOnlyModelViewSet):
    """Who pays what, and how much it is all together."""

    queryset = Subscription.objects.for_api()
    serializer_class = SubscriptionSerializer
    lookup_value_regex = "[0-9]+"

    @extend_schema(parameters=PARAMETERS, responses={200: PageSerializer, **ERRORS}, filters=False)
    def list(self, request: Request) -> Response:
        """A page of subscriptions in the order of their ids, and the total of all that match."""
        query = request.query_params
        filters.refuse_unknown(query, [*filters.FILTERS, *filters.PAGING])
        page = listing.page(filters.book_filter(query), cursor_of(query), filters.page_size(query))
        return Response(
            {
                "result": page.result,
                "total_amount": page.total.amount,
                "count": page.total.subscriptions,
                "currency": settings.CURRENCY,
                "next": self.link(request, page.next),
                "previous": self.link(request, page.previous),
            }
        )

    @extend_schema(
        parameters=[OpenApiParameter("id", ID, OpenApiParameter.PATH)],
        responses={
            200: SubscriptionSerializer,
            **ERRORS,
            404: OpenApiResponse(ErrorSerializer, "There is no such subscription."),
        },
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """One subscription."""
        filters.refuse_unknown(request.query_params, [])
        return super().retrieve(request, pk=pk)

    def link(self, request: Request, cursor: listing.Cursor | None) -> str | None:
        """This request's address with another cursor."""
        if cursor is None:
            return None
        query: QueryDict = request.query_params.copy()
        query["cursor"] = str(cursor)
        return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


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
