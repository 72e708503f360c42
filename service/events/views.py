"""Webhook endpoints over the API, and the log of their deliveries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import ViewSet

from events import endpoints, queues
from events.given import OVERLAP_HOURS, checked_place
from events.models import Attempt
from events.serializers import (
    DeliveryPageSerializer,
    DeliverySerializer,
    DisablingSerializer,
    EndpointFieldsSerializer,
    EndpointPageSerializer,
    EndpointSerializer,
    EndpointWithSecretSerializer,
    NewEndpointSerializer,
    ReplaySerializer,
    SecretRotationSerializer,
    shown,
)
from events.tasks import tell_events
from pricebook.kit import idempotency
from pricebook.kit.access import author
from pricebook.kit.content import object_of
from pricebook.kit.idempotency import idempotent, idempotent_without
from pricebook.kit.scopes import (
    ADD_ENDPOINT,
    CHANGE_ENDPOINT,
    DELETE_ENDPOINT,
    VIEW_ENDPOINT,
    VIEW_EVENT,
)
from services import parsing
from services.reading import parameters
from services.reading.newest_first import newest_first
from services.reading.ordering import list_key
from services.tasks import wake
from services.views.openapi import CURSOR, ERRORS, LINK, PAGE_SIZE, PATH_ID, REFUSALS, errors
from services.views.paging import cursor_of, known_id, link, links

UNKNOWN = errors({404: "There is no such webhook endpoint."})
GONE = errors({410: "The events before `oldest` are deleted."})
View = Callable[..., Response]
LIST_KEY = list_key("webhooks")
NOT_STORED = {"Cache-Control": "no-store"}


def verb(
    name: str,
    request: type[Serializer] | None = None,
    status: int = 200,
    shape: type[Serializer] | None = EndpointSerializer,
) -> Callable[[View], View]:
    """The schema of a write of one endpoint."""
    return extend_schema(
        operation_id=f"webhooks_{name}",
        parameters=[PATH_ID, idempotency.PARAMETER],
        request=request,
        responses={status: shape, **ERRORS, **UNKNOWN, **REFUSALS, **GONE},
    )


class WebhookView(ViewSet):
    """Endpoints that are sent events. Their secrets are shown once."""

    lookup_value_regex = "[0-9]+"
    never_open = True  # OPEN_READS is about the book
    # An endpoint is sent all events, so that takes the right to read them, too.
    needs = {
        "list": ((VIEW_ENDPOINT,),),
        "retrieve": ((VIEW_ENDPOINT,),),
        "deliveries": ((VIEW_ENDPOINT,),),
        "create": ((ADD_ENDPOINT,), (VIEW_EVENT,)),
        "partial_update": ((CHANGE_ENDPOINT,), (VIEW_EVENT,)),
        "rotate": ((CHANGE_ENDPOINT,), (VIEW_EVENT,)),
        "end_rotation": ((CHANGE_ENDPOINT,),),
        "enable": ((CHANGE_ENDPOINT,), (VIEW_EVENT,)),
        "disable": ((CHANGE_ENDPOINT,),),
        "test": ((CHANGE_ENDPOINT,),),
        "replay": ((CHANGE_ENDPOINT,), (VIEW_EVENT,)),
        "destroy": ((DELETE_ENDPOINT,),),
    }

    @extend_schema(
        operation_id="webhooks_list",
        parameters=[CURSOR, PAGE_SIZE, LINK],
        responses={200: EndpointPageSerializer, **ERRORS},
    )
    def list(self, request: Request) -> Response:
        """Webhook endpoints, newest first, with how far each is behind."""
        query = request.query_params
        parameters.refuse_unknown(query, parameters.PAGING)
        cursor, size = cursor_of(query, LIST_KEY), parameters.page_size(query)
        page, next, previous = newest_first(queues.for_readers(), cursor, size, LIST_KEY)
        found_links = {"next": link(request, next), "previous": link(request, previous)}
        return Response(
            {"result": EndpointSerializer(page, many=True).data, **found_links},
            headers=links(**found_links),
        )

    @extend_schema(
        operation_id="webhooks_retrieve",
        parameters=[PATH_ID],
        responses={200: EndpointSerializer, **ERRORS, **UNKNOWN},
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """One webhook endpoint, without its secret."""
        parameters.refuse_unknown(request.query_params, [])
        return Response(shown(queues.found(id_of(pk))), headers=NOT_STORED)

    @extend_schema(
        operation_id="webhooks_create",
        parameters=[idempotency.PARAMETER],
        request=NewEndpointSerializer,
        responses={201: EndpointWithSecretSerializer, **ERRORS, **REFUSALS},
    )
    @idempotent_without("secret")
    def create(self, request: Request) -> Response:
        """Make an endpoint, which is sent what happens from now on. Its secret is shown once."""
        given = object_of(request.data, ["name", "url", "types"])
        made = endpoints.create(
            given.get("name"), given.get("url"), given.get("types", []), author(request.user)
        )
        return Response({**shown(made), "secret": made.secret}, status=201, headers=NOT_STORED)

    @verb("update", request=EndpointFieldsSerializer)
    @idempotent
    def partial_update(self, request: Request, pk: str) -> Response:
        """Give an endpoint another name, address or types."""
        given = object_of(request.data, ["name", "url", "types"])
        changed = endpoints.change(id_of(pk), author(request.user), **given)
        wake_after_commit()
        return Response(shown(changed))

    @verb("destroy", status=204, shape=None)
    @idempotent
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete an endpoint with its log. The events stay."""
        endpoints.delete(id_of(pk), author(request.user))
        return Response(status=204)

    @verb("rotate", request=SecretRotationSerializer, shape=EndpointWithSecretSerializer)
    @action(detail=True, methods=["post"])
    @idempotent_without("secret")
    def rotate(self, request: Request, pk: str) -> Response:
        """Give an endpoint a new secret; for some hours the old one signs beside it."""
        given = object_of(request.data, ["overlap_hours"])
        hours = given.get("overlap_hours", OVERLAP_HOURS)
        rotated = endpoints.rotate(id_of(pk), author(request.user), hours)
        return Response({**shown(rotated), "secret": rotated.secret}, headers=NOT_STORED)

    @verb("end_rotation")
    @action(detail=True, methods=["post"])
    @idempotent
    def end_rotation(self, request: Request, pk: str) -> Response:
        """Sign with the new secret alone from now on."""
        object_of(request.data, [])
        return Response(shown(endpoints.end_rotation(id_of(pk), author(request.user))))

    @verb("enable")
    @action(detail=True, methods=["post"])
    @idempotent
    def enable(self, request: Request, pk: str) -> Response:
        """Send to an endpoint again, from the first event on that it has not had."""
        object_of(request.data, [])
        enabled = endpoints.enable(id_of(pk), author(request.user))
        wake_after_commit()
        return Response(shown(enabled))

    @verb("disable", request=DisablingSerializer)
    @action(detail=True, methods=["post"])
    @idempotent
    def disable(self, request: Request, pk: str) -> Response:
        """Send an endpoint nothing more; events wait for it."""
        reason = object_of(request.data, ["reason"]).get("reason", "")
        return Response(shown(endpoints.disable(id_of(pk), author(request.user), reason)))

    @verb("test", status=202)
    @action(detail=True, methods=["post"])
    @idempotent
    def test(self, request: Request, pk: str) -> Response:
        """Have a test event sent, before all that waits; `deliveries/` shows what came of it."""
        object_of(request.data, [])
        asked = endpoints.test(id_of(pk), author(request.user))
        wake_after_commit()
        return Response(shown(asked), status=202)

    @verb("replay", request=ReplaySerializer, status=202)
    @action(detail=True, methods=["post"])
    @idempotent
    def replay(self, request: Request, pk: str) -> Response:
        """Send an endpoint events again, each with the `webhook-id` that it had."""
        given = object_of(request.data, ["from", "place", "since"])
        place = given.get("place")
        replayed = endpoints.replay(
            id_of(pk),
            author(request.user),
            parsing.identifier("from", given["from"]) if "from" in given else None,
            checked_place(place) if "place" in given else None,
            parsing.instant("since", given["since"]) if "since" in given else None,
        )
        wake_after_commit()
        return Response(shown(replayed), status=202)

    @extend_schema(
        operation_id="webhooks_deliveries",
        parameters=[PATH_ID, CURSOR, PAGE_SIZE, LINK],
        responses={200: DeliveryPageSerializer, **ERRORS, **UNKNOWN},
    )
    @action(detail=True)
    def deliveries(self, request: Request, pk: str) -> Response:
        """The attempts of the last 30 days to send something to an endpoint, newest first."""
        query = request.query_params
        parameters.refuse_unknown(query, parameters.PAGING)
        key = list_key("deliveries", id_of(pk))
        cursor, size = cursor_of(query, key), parameters.page_size(query)
        log = Attempt.objects.filter(endpoint=queues.found(id_of(pk)))
        page, next, previous = newest_first(log, cursor, size, key)
        found_links = {"next": link(request, next), "previous": link(request, previous)}
        return Response(
            {"result": DeliverySerializer(page, many=True).data, **found_links},
            headers=links(**found_links),
        )


def wake_after_commit() -> None:
    transaction.on_commit(partial(wake, tell_events), robust=True)


def id_of(pk: str) -> int:
    return known_id(pk, "webhook endpoint")
