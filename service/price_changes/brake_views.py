"""The API of the brake: look, pull, release."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from price_changes import verbs
from price_changes.bodies import BrakeBodySerializer
from price_changes.models import Brake
from price_changes.serializers import BrakeSerializer
from pricebook.kit import idempotency
from pricebook.kit.access import author
from pricebook.kit.content import object_of
from pricebook.kit.idempotency import idempotent
from pricebook.kit.scopes import APPROVE, PULL_BRAKE, VIEW_CHANGE
from services.reading import parameters
from services.views.openapi import ERRORS, REFUSALS

HISTORY = 100  # brakes that an answer has, the newest first


@extend_schema_serializer(many=False)
class BrakeStateSerializer(serializers.Serializer):
    """The brake, the price changes that it is about, and the brakes before it."""

    on = serializers.BooleanField(help_text="Whether it is on: no price change starts.")
    brake = BrakeSerializer(allow_null=True, help_text="The one that is on.")
    to_come = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="Price changes that are approved for later: held if the brake is on by then.",
    )
    under_way = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="Price changes that are in force and not applied yet: the brake does not stop"
        " them, cancel does.",
    )
    history = BrakeSerializer(many=True, help_text=f"The last {HISTORY} brakes, newest first.")


VERB = extend_schema(
    parameters=[idempotency.PARAMETER],
    request=BrakeBodySerializer,
    responses={200: BrakeStateSerializer, **ERRORS, **REFUSALS},
)


class BrakeView(ViewSet):
    """The brake, which holds every start of a price change while it is on."""

    needs = {
        "list": ((VIEW_CHANGE,),),
        # Approvers may hold what was approved. Others may be given this alone.
        **dict.fromkeys(("pull", "release"), ((APPROVE, PULL_BRAKE),)),
    }

    @extend_schema(operation_id="brake_retrieve", responses={200: BrakeStateSerializer, **ERRORS})
    def list(self, request: Request) -> Response:
        """Whether the brake is on, which price changes it is about, and the brakes before it."""
        parameters.refuse_unknown(request.query_params, [])
        return Response(shown())

    @VERB
    @action(detail=False, methods=["post"])
    @idempotent
    def pull(self, request: Request) -> Response:
        """Hold every price change that would start from now on, until the brake is released."""
        given = object_of(request.data, ["reason"])
        verbs.pull_brake(author(request.user), given.get("reason"))
        return Response(shown())

    @VERB
    @action(detail=False, methods=["post"])
    @idempotent
    def release(self, request: Request) -> Response:
        """Let price changes start again from now on; what came meanwhile stays held."""
        given = object_of(request.data, ["reason"])
        verbs.release_brake(author(request.user), given.get("reason"))
        return Response(shown())


def shown() -> dict[str, Any]:
    """The state of the brake, and its history. Three queries."""
    state = verbs.brake_state()
    brakes = {"brake": state.brake, "history": Brake.objects.order_by("-pk")[:HISTORY]}
    about = {"on": state.on, "to_come": state.to_come, "under_way": state.under_way}
    return dict(BrakeStateSerializer(about | brakes).data)
