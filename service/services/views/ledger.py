"""The ledger's feed over the API."""

from django.http import QueryDict, StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pricebook.kit.errors import BadParameter, Refused
from pricebook.kit.scopes import VIEW_LEDGER
from services import ledger
from services.lives import Parted
from services.reading import parameters
from services.transfer.sheets import answering
from services.transfer.sheets.table import ROWS_OVER_HTTP
from services.views.openapi import ERRORS, LINK, PAGE_SIZE, SIZE, TOKEN
from services.views.paging import address_with, links
from services.views.shapes_of_ledger import FeedSerializer
from services.views.sheets import FeedTable


class LedgerView(answering.Sheets, APIView):
    """The feed of all that has been written to the ledger."""

    needs = {"get": ((VIEW_LEDGER,),)}

    @extend_schema(
        operation_id="ledger_feed",
        parameters=[
            OpenApiParameter(
                "cursor", TOKEN, description="As `next` has it; from the beginning if left out."
            ),
            PAGE_SIZE,
            OpenApiParameter("after", TOKEN, description="Another name of `cursor`."),
            OpenApiParameter("limit", SIZE, description="Another name of `page_size`."),
            LINK,
            *answering.PARAMETERS,
        ],
        responses={
            **answering.responses(FeedSerializer),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        """Entries in the order of their transactions, each once: to be polled with `next`.

        An entry appears when no transaction that began before its own is open any more.
        `complete_until` tells whether an empty answer means that there is nothing new.
        """
        query = request.query_params
        as_sheet = answering.refuse_unknown(request, ["after", "limit", *parameters.PAGING])
        of_place = one_name(query, "cursor", "after")
        of_limit = one_name(query, "page_size", "limit")
        after = place_of(query, of_place)
        try:
            if as_sheet:
                most = parameters.size_up_to(ROWS_OVER_HTTP, query, of_limit)
                return self.as_sheet(request, after, most, of_place)
            feed = ledger.feed(after, parameters.page_size(query, of_limit))
        except ledger.PlaceAhead as error:
            raise BadParameter(
                of_place,
                str(after),
                _(
                    "This place lies ahead of the ledger: it was given out by another server,"
                    " or this one was restored. Read from the beginning: leave it out."
                ),
                code="place_ahead",
            ) from error
        except Parted as error:
            raise parted(of_place, after, error) from error
        return Response(
            {
                "result": feed.entries,
                "next": str(feed.next),
                "complete_until": feed.complete_until,
                "sealed": feed.sealed and dict(zip(("block", "hash"), feed.sealed, strict=True)),
            },
            headers=links(address_with(request, of_place, str(feed.next))),
        )

    def as_sheet(
        self, request: Request, after: ledger.Place | None, most: int | None, of_place: str
    ) -> StreamingHttpResponse:
        """All entries behind a place, or as many as the request says."""
        feed = FeedTable(after, most, answering.filters_of(request.query_params))
        return answering.answer(
            request, feed.table, lambda: links(address_with(request, of_place, str(feed.next)))
        )


def parted(name: str, place: ledger.Place | None, error: Parted) -> Refused:
    """The refusal of a place of another history, which says where the common one ends."""
    return Refused(
        "place_of_another_life",
        error.detail,
        status.HTTP_410_GONE,
        parameter=name,
        value=str(place),
        common_until=error.common,
    )


def one_name(query: QueryDict, name: str, other: str) -> str:
    """The name under which a request gives a parameter that has two."""
    if name in query and other in query:
        raise BadParameter(
            other,
            str(query[other]),
            _("%(other)s is another name of %(name)s; give one of them.")
            % {"other": other, "name": name},
            code="repeated_parameter",
        )
    return other if other in query else name


def place_of(query: QueryDict, name: str) -> ledger.Place | None:
    value = parameters.value_of(query, name)
    if value is None:
        return None
    try:
        return ledger.Place.parse(value)
    except ValueError as error:
        raise BadParameter(
            name, value, _("This is no place in the ledger; take one from next, or leave it out.")
        ) from error
