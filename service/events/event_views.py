"""The events over the API, for whoever reads them, or reads on."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events import queues
from events.models import Event
from events.serializers import EventPageSerializer, shown_event
from events.types import TYPES
from pricebook.kit.errors import BadParameter
from pricebook.kit.scopes import VIEW_EVENT
from services.reading import parameters
from services.views.openapi import ERRORS, LINK, PAGE_SIZE, errors
from services.views.paging import address_with, links

GONE = errors({410: "The events before `oldest` are deleted."})


class EventsView(APIView):
    """The events that endpoints are sent, for whoever reads them, or reads on."""

    never_open = True
    needs = {"get": ((VIEW_EVENT,),)}

    @extend_schema(
        operation_id="events_list",
        parameters=[
            OpenApiParameter(
                "after",
                {"type": "integer", "minimum": 0},
                description="The number of the last event that you have; without it, from the"
                " oldest on that is kept.",
            ),
            OpenApiParameter(
                "type", str, description="Types with commas between; without it, all."
            ),
            PAGE_SIZE,
            LINK,
        ],
        responses={200: EventPageSerializer, **ERRORS, **GONE},
    )
    def get(self, request: Request) -> Response:
        """Events after a number, in their order, each once: to be polled with `next`."""
        query = request.query_params
        parameters.refuse_unknown(query, ["after", "type", "page_size"])
        size, types = parameters.page_size(query), types_of(query)
        last = queues.last_number()
        after = after_of(query, last)
        begun = queues.oldest_number() - 1 if after is None else after
        rows = Event.objects.of_types(types).filter(number__gt=begun, number__lte=last)
        page = list(rows.order_by("number")[:size])
        # Asked after the page was read: old events may be deleted at any time.
        if after is not None and after + 1 < (oldest := queues.oldest_number()):
            raise queues.forgotten(oldest)
        # A page that is not full has come to the newest event, whatever the types.
        next = page[-1].number if len(page) == size else max(begun, last)
        return Response(
            {"result": [shown_event(event) for event in page], "next": next},
            headers=links(address_with(request, "after", str(next))),
        )


def after_of(query: Any, last: int) -> int | None:
    value = parameters.value_of(query, "after")
    if value is None:
        return None
    after = parameters.whole_number(value)
    if after is None or after < 0:
        raise BadParameter("after", value, _("after is the number of an event, or 0."))
    if after > last:
        raise BadParameter(
            "after",
            value,
            _(
                "The newest event has the number %(last)s: yours is of another server, or"
                " this one was restored. Compare what you have with the book, and go on from"
                " here."
            )
            % {"last": last},
            code="event_ahead",
        )
    return after


def types_of(query: Any) -> list[str]:
    value = parameters.value_of(query, "type")
    if value is None:
        return []
    types = value.split(",")
    for each in types:
        if each not in TYPES:
            raise BadParameter(
                "type",
                each,
                _("type is some of %(types)s.") % {"types": ", ".join(TYPES)},
                allowed=list(TYPES),
            )
    return types
