"""The shapes of webhook endpoints and events over the API."""

from __future__ import annotations

from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from events import queues
from events.addresses import LONGEST_URL
from events.given import LONGEST_NAME, LONGEST_OVERLAP_HOURS, LONGEST_REASON, OVERLAP_HOURS
from events.models import Attempt, Endpoint, Event
from events.types import TYPES
from services.parsing import MAX_BIGINT

EVENT_TYPES = list(TYPES)
OF_NAME = "No other one has it."
OF_URL = "https, to a public address; it is looked up, and refused if it can't be."
# The columns that have another name over the API.
OWN_NAMES = {"old_secret_until": "previous_secret_until"}


class TypesField(serializers.ListField):
    child = serializers.ChoiceField(EVENT_TYPES)


class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    """A webhook endpoint, without its secret."""

    types = TypesField(help_text="The types that it is sent; empty: all.")
    state = serializers.ChoiceField(
        queues.STATES,
        source="*",
        help_text="As of the answer; `failing`: since `failing_since`.",
    )
    delivered_through = serializers.IntegerField(
        help_text="The number of the last event that it has had, or that is none of its types."
    )
    behind = serializers.IntegerField(
        source="*", help_text="How many events lie between that and the newest one."
    )
    attempts = serializers.IntegerField(help_text="How often the event in turn was tried, in vain.")
    failing_since = serializers.DateTimeField(
        allow_null=True, help_text="Since when no attempt has succeeded; null: it does not fail."
    )
    next_attempt_at = serializers.DateTimeField(help_text="Not before then, if it is enabled.")
    disabled_at = serializers.DateTimeField(allow_null=True)
    disabled_reason = serializers.CharField(help_text="By whom or by what; empty: it is enabled.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    old_secret_until = serializers.DateTimeField(
        source="previous_secret_until",
        allow_null=True,
        help_text="Until when the secret before the last rotation signs too, or did; else null.",
    )

    class Meta:
        model = Endpoint
        fields: tuple[str, ...] = (
            "id",
            "name",
            "url",
            "types",
            "state",
            "delivered_through",
            "behind",
            "attempts",
            "failing_since",
            "next_attempt_at",
            "disabled_at",
            "disabled_reason",
            "created_by",
            "created_at",
            "old_secret_until",
        )
        read_only_fields = fields

    def to_representation(self, instance: Any) -> dict[str, Any]:
        names = self.Meta.fields
        shown = {name: getattr(instance, OWN_NAMES.get(name, name), None) for name in names}
        return shown | {"state": queues.state_of(instance), "behind": queues.behind(instance)}


class EndpointWithSecretSerializer(EndpointSerializer):
    """A webhook endpoint with its secret, which is shown once."""

    secret = serializers.CharField(
        allow_null=True,
        help_text="The receiver verifies signatures by it. It is shown this once; null in the"
        " answer to a repeated request.",
    )

    class Meta(EndpointSerializer.Meta):
        fields = (*EndpointSerializer.Meta.fields, "secret")


@extend_schema_serializer(many=False)
class EndpointPageSerializer(serializers.Serializer):
    result = EndpointSerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class EndpointFieldsSerializer(serializers.Serializer):
    """The fields of an endpoint that a caller gives."""

    name = serializers.CharField(required=False, max_length=LONGEST_NAME, help_text=OF_NAME)
    url = serializers.CharField(required=False, max_length=LONGEST_URL, help_text=OF_URL)
    types = TypesField(required=False, help_text="The types that it is sent; empty: all.")


class NewEndpointSerializer(EndpointFieldsSerializer):
    """The body that makes an endpoint."""

    name = serializers.CharField(max_length=LONGEST_NAME, help_text=OF_NAME)
    url = serializers.CharField(max_length=LONGEST_URL, help_text=OF_URL)


class SecretRotationSerializer(serializers.Serializer):
    """The body that gives an endpoint a new secret."""

    overlap_hours = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=LONGEST_OVERLAP_HOURS,
        default=OVERLAP_HOURS,
        help_text="How long the old secret signs beside the new one.",
    )


class DisablingSerializer(serializers.Serializer):
    """The body that disables an endpoint."""

    reason = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_REASON, help_text="It is shown."
    )


class ReplaySerializer(serializers.Serializer):
    """From where on an endpoint is sent events again: one of the three."""

    def get_fields(self) -> dict[str, Any]:
        return {
            "from": serializers.IntegerField(
                required=False,
                min_value=1,
                max_value=MAX_BIGINT,
                help_text="The number of the first event.",
            ),
            "place": serializers.CharField(
                required=False,
                help_text="A place of the ledger's feed: from what stands behind it on.",
            ),
            "since": serializers.DateTimeField(
                required=False, help_text="An instant: from what was recorded then or later on."
            ),
        }


class DeliverySerializer(serializers.ModelSerializer[Attempt]):
    """An attempt to send an event to an endpoint, and what came back."""

    number = serializers.IntegerField(allow_null=True, help_text="The event's; null: a test.")
    at = serializers.DateTimeField()
    delivered = serializers.BooleanField(help_text="Whether the answer was 2xx.")
    status_code = serializers.IntegerField(
        allow_null=True, help_text="The answer's; null: there was none."
    )
    error = serializers.CharField(help_text="Why it is not delivered; empty: it is.")
    duration_ms = serializers.IntegerField()
    answer = serializers.CharField(help_text="Its beginning.")

    class Meta:
        model = Attempt
        fields = (
            "id",
            "number",
            "webhook_id",
            "type",
            "at",
            "delivered",
            "status_code",
            "error",
            "duration_ms",
            "answer",
        )
        read_only_fields = fields

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return {
            name: getattr(instance, name) for name in self.Meta.fields if name != "delivered"
        } | {"delivered": not instance.error}


@extend_schema_serializer(many=False)
class DeliveryPageSerializer(serializers.Serializer):
    """Attempts, the newest first."""

    result = DeliverySerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


@extend_schema_field({"type": "object", "additionalProperties": True})
class DataField(serializers.JSONField):
    pass


class EventSerializer(serializers.Serializer):
    """An event, as endpoints are sent it, with its `webhook_id`."""

    number = serializers.IntegerField(
        help_text="Numbers have no gaps, and none appears before one that was read."
    )
    webhook_id = serializers.CharField(help_text="As the header `webhook-id` of its deliveries.")
    type = serializers.ChoiceField(EVENT_TYPES)
    timestamp = serializers.DateTimeField(help_text="When it was recorded.")
    data = DataField(  # type: ignore[assignment]  # DRF's class makes a field of it
        help_text="By its type: docs/events.md. Amounts are decimals, as text."
    )


@extend_schema_serializer(many=False)
class EventPageSerializer(serializers.Serializer):
    """Events after a number, in their order."""

    result = EventSerializer(many=True)
    next = serializers.IntegerField(
        help_text="Where to go on, as `after`; also when there is nothing new."
    )


def shown(endpoint: Endpoint) -> dict[str, Any]:
    return dict(EndpointSerializer(endpoint).data)


def shown_event(event: Event) -> dict[str, Any]:
    """The event; its data is passed on as it is stored, digit by digit."""
    return {
        "number": event.number,
        "webhook_id": event.webhook_id,
        "type": event.type,
        "timestamp": event.recorded_at,
        "data": msgspec.Raw(event.data.encode()),
    }
