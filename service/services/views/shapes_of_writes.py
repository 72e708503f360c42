"""The bodies of requests that write one object, for the schema; `services.writing` checks them."""

from __future__ import annotations

from rest_framework import serializers

from pricebook.kit.known_elsewhere import LONGEST_ID
from services import fields
from services.models import Plan
from services.parsing import MAX_BIGINT
from services.serializers import DryRunSerializer

ZONE = "As America/Vancouver: instants without an offset are local times there."


def _record(what: str, required: bool = True) -> serializers.IntegerField:
    return serializers.IntegerField(
        min_value=1, max_value=MAX_BIGINT, required=required, help_text=f"The id of the {what}."
    )


class IdsElsewhereSerializer(serializers.Serializer):
    """An id in another system: both fields, or null for both."""

    source = serializers.CharField(  # type: ignore[assignment]
        max_length=LONGEST_ID, required=False, allow_null=True, help_text="That system."
    )
    external_id = serializers.CharField(
        max_length=LONGEST_ID,
        required=False,
        allow_null=True,
        help_text="The id there, which no other one of this source has.",
    )


class NewClientSerializer(IdsElsewhereSerializer):
    """A client to create. Its log-in can't be used."""

    company_name = serializers.CharField(max_length=100)
    email = serializers.CharField(
        max_length=fields.LONGEST_EMAIL,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="An e-mail that no other client has; empty or null: none.",
    )
    full_address = serializers.CharField(max_length=200, required=False, allow_blank=True)


class ClientChangesSerializer(NewClientSerializer):
    """The fields of a client that are to be changed."""


class NewServiceSerializer(IdsElsewhereSerializer):
    """A service to create."""

    name = serializers.CharField(max_length=50)
    full_price = serializers.DecimalField(
        max_digits=12, decimal_places=2, min_value=0, help_text="A number, or its digits as text."
    )


class ServiceChangesSerializer(NewServiceSerializer, DryRunSerializer):
    """The fields of a service that are to be changed; its list price moves all that follow it."""


class NewPlanSerializer(IdsElsewhereSerializer):
    """A plan to create."""

    plan_type = serializers.ChoiceField(Plan.Type.choices)
    discount_percent = serializers.IntegerField(min_value=0, max_value=100)


class PlanChangesSerializer(NewPlanSerializer, DryRunSerializer):
    """The fields of a plan that are to be changed; its discount moves all that follow it."""


class ZonedSerializer(serializers.Serializer):
    time_zone = serializers.CharField(required=False, allow_null=True, help_text=ZONE)


class SubscriptionChangesSerializer(IdsElsewhereSerializer, ZonedSerializer):
    """The fields of a subscription that are to be changed. Verbs end it and move it."""

    comment = serializers.CharField(max_length=50, required=False, allow_blank=True)
    started_at = serializers.DateTimeField(
        required=False, help_text="When it begins to pay, or began; at creation: now."
    )


class NewSubscriptionSerializer(SubscriptionChangesSerializer):
    """A subscription to create, at the price of the rule."""

    client = _record("client")
    service = _record("service")
    plan = _record("plan")
    ended_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Its end, after the start; null: none."
    )


class EndSerializer(ZonedSerializer):
    """The end of a subscription."""

    ended_at = serializers.DateTimeField(help_text="After its start, past or to come.")


class RestartSerializer(ZonedSerializer):
    """A subscription that goes on."""

    ended_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="A new end, in the future; null: none."
    )


class MoveSerializer(serializers.Serializer):
    """A move of a subscription to one of these, or to more."""

    client = _record("client", required=False)
    service = _record("service", required=False)
    plan = _record("plan", required=False)
