"""One subscription over the API: create, change, end, restart, move, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from pricebook.kit import idempotency
from pricebook.kit.access import author
from pricebook.kit.content import object_of
from pricebook.kit.idempotency import idempotent
from pricebook.kit.scopes import ADD_SUBSCRIPTION, CHANGE_SUBSCRIPTION, DELETE_SUBSCRIPTION
from services.models import Subscription
from services.reading.one import one
from services.serializers import OneSubscriptionSerializer
from services.views.one_object import CHANGED, IF_MATCH, OneObject
from services.views.openapi import ERRORS, PATH_ID, REFUSALS, UNKNOWN
from services.views.paging import known_id
from services.views.shapes_of_writes import (
    EndSerializer,
    MoveSerializer,
    NewSubscriptionSerializer,
    RestartSerializer,
    SubscriptionChangesSerializer,
)
from services.writing import subscriptions
from services.writing.bodies import values_of

REFUSED = {**ERRORS, **REFUSALS}
REFUSED_OF_ONE = {**REFUSED, **UNKNOWN, **CHANGED}
OF_ONE = [PATH_ID, idempotency.PARAMETER, IF_MATCH]


def verb(
    body: type[Serializer], answers: Mapping[int, Any] = MappingProxyType({})
) -> Callable[[Any], Any]:
    """`POST /api/subscriptions/{id}/<name>/`, once for each Idempotency-Key."""

    def decorated(method: Any) -> Any:
        described = extend_schema(
            parameters=OF_ONE,
            request=body,
            responses={200: OneSubscriptionSerializer, **answers, **REFUSED_OF_ONE},
        )
        return described(action(detail=True, methods=["post"])(idempotent(method)))

    return decorated


class SubscriptionWrites(OneObject):
    """A mixin: `POST` of the list, `PATCH`, `DELETE` and verbs of one."""

    kind = "subscription"
    model = Subscription
    answers_one = (
        "retrieve",
        "create",
        "partial_update",
        "end",
        "restart",
        "move",
        "lock",
        "release",
        "negotiate",
        "follow",
    )
    needs_to_write = {
        "create": ((ADD_SUBSCRIPTION,),),
        **dict.fromkeys(("partial_update", "end", "restart", "move"), ((CHANGE_SUBSCRIPTION,),)),
        "destroy": ((DELETE_SUBSCRIPTION,),),
    }

    def shown(self, id: int) -> dict[str, Any] | None:
        return one(id)

    def seen(self, request: Request, pk: str) -> int:
        """The id, of a subscription that is as the request's `If-Match` says, if it says that."""
        id = known_id(pk)
        self.refuse_changed(request, id)
        return id

    @extend_schema(
        parameters=[idempotency.PARAMETER],
        request=NewSubscriptionSerializer,
        responses={201: OneSubscriptionSerializer, **REFUSED},
    )
    @idempotent
    def create(self, request: Request) -> Response:
        """Create a subscription, at the price of the rule."""
        values = values_of(subscriptions.FIELDS, request.data)
        id = subscriptions.create(values, author(request.user))
        return Response(one(id, new=True), status=201)

    @extend_schema(
        parameters=OF_ONE,
        request=SubscriptionChangesSerializer,
        responses={200: OneSubscriptionSerializer, **REFUSED_OF_ONE},
    )
    @idempotent
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change a subscription's comment, its ids elsewhere, its start: those that are given."""
        values = values_of(subscriptions.FIELDS, request.data, changing=True)
        id = self.seen(request, pk)
        subscriptions.change(id, values, author(request.user))
        return Response(self.found(id))

    @extend_schema(
        parameters=OF_ONE,
        request=None,
        responses={204: OpenApiResponse(description="It is gone."), **REFUSED_OF_ONE},
    )
    @idempotent
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete a subscription that has not begun, and never paid."""
        object_of(request.data, [])
        subscriptions.delete(self.seen(request, pk), author(request.user))
        return Response(status=204)

    @verb(EndSerializer)
    def end(self, request: Request, pk: str) -> Response:
        """End a subscription at an instant, past or to come."""
        values = values_of(subscriptions.END, request.data)
        id = self.seen(request, pk)
        subscriptions.end(id, values["ended_at"], author(request.user))
        return Response(self.found(id))

    @verb(RestartSerializer)
    def restart(self, request: Request, pk: str) -> Response:
        """Take back a subscription's end: it goes on from now, and the gap stays unpaid."""
        values = values_of(subscriptions.RESTART, request.data)
        id = self.seen(request, pk)
        subscriptions.restart(id, values.get("ended_at"), author(request.user))
        return Response(self.found(id))

    @verb(MoveSerializer)
    def move(self, request: Request, pk: str) -> Response:
        """Move a subscription to another client, service or plan, from now on."""
        values = values_of(subscriptions.MOVE, request.data, any_of=list(subscriptions.MOVE))
        id = self.seen(request, pk)
        subscriptions.move(id, values, author(request.user))
        return Response(self.found(id))
