"""The bodies and answers of `bulk/`, for the schema; `services.bulk` checks and writes them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from pricebook.kit.errors import ErrorSerializer
from services.models import Plan
from services.views.shapes_of_writes import (
    ClientChangesSerializer,
    MoveSerializer,
    SubscriptionChangesSerializer,
)


class _KnownElsewhere(serializers.Serializer):
    source = serializers.CharField(max_length=50, help_text="The system that knows the record.")  # type: ignore[assignment]
    external_id = serializers.CharField(max_length=50, help_text="Its id there.")


class BulkSubscriptionSerializer(_KnownElsewhere, MoveSerializer, SubscriptionChangesSerializer):
    """A subscription as it is to be. A new one needs client, service and plan."""

    ended_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Its end; null: it has none, or goes on."
    )


class BulkClientSerializer(_KnownElsewhere, ClientChangesSerializer):
    """A client as it is to be. A new one needs a name."""

    company_name = serializers.CharField(max_length=100, required=False)


class BulkServiceSerializer(_KnownElsewhere):
    """A service as it is to be. A new one needs a name and a list price."""

    name = serializers.CharField(max_length=50, required=False)
    full_price = serializers.DecimalField(
        max_digits=12,
        decimal_places=2,
        min_value=0,
        required=False,
        help_text="One that is there keeps the value in force: give that, or none.",
    )


class BulkPlanSerializer(_KnownElsewhere):
    """A plan as it is to be. A new one needs a type and a discount."""

    plan_type = serializers.ChoiceField(Plan.Type.choices, required=False)
    discount_percent = serializers.IntegerField(
        min_value=0,
        max_value=100,
        required=False,
        help_text="One that is there keeps the value in force: give that, or none.",
    )


class BulkSubscriptionsSerializer(serializers.Serializer):
    """Subscriptions to create and to change."""

    lines = BulkSubscriptionSerializer(many=True)


class BulkClientsSerializer(serializers.Serializer):
    """Clients to create and to change."""

    lines = BulkClientSerializer(many=True)


class BulkServicesSerializer(serializers.Serializer):
    """Services to create and to change."""

    lines = BulkServiceSerializer(many=True)


class BulkPlansSerializer(serializers.Serializer):
    """Plans to create and to change."""

    lines = BulkPlanSerializer(many=True)


class BulkResultSerializer(serializers.Serializer):
    """The result of a line."""

    line = serializers.IntegerField(help_text="Its number, from 1.")
    outcome = serializers.ChoiceField(["created", "changed", "unchanged", "refused"])
    id = serializers.IntegerField(required=False, help_text="The id of the record, if it is there.")
    changes = serializers.DictField(
        required=False, help_text="Each field that differs, `before` and `after`."
    )
    code = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)
    parameter = serializers.CharField(required=False)
    value = serializers.CharField(required=False)
    allowed: Any = serializers.ListField(child=serializers.CharField(), required=False)


class RefusedLineSerializer(serializers.Serializer):
    """A refused line, in the refusal of all."""

    line = serializers.IntegerField(help_text="Its number, from 1.")
    code = serializers.CharField()
    detail = serializers.CharField()
    parameter = serializers.CharField(required=False)
    value = serializers.CharField(required=False)
    allowed: Any = serializers.ListField(child=serializers.CharField(), required=False)


class BulkErrorSerializer(ErrorSerializer):
    """The refusal of a bulk; `lines_refused` has the lines."""

    refused = serializers.IntegerField(required=False, help_text="How many lines are refused.")
    lines = RefusedLineSerializer(
        many=True, required=False, help_text="The first 100 of the refused lines."
    )
    line = serializers.IntegerField(
        required=False, help_text="The line of a body of JSON that can't be read."
    )


class BulkEndSerializer(serializers.Serializer):
    """How many lines there were, and what became of them."""

    lines = serializers.IntegerField()
    created = serializers.IntegerField()
    changed = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    refused = serializers.IntegerField()
    dry_run = serializers.BooleanField()
    # These are of a dry run.
    moves = serializers.IntegerField(
        required=False, help_text="The subscriptions whose prices would move."
    )
    total_before = serializers.DecimalField(
        required=False, max_digits=20, decimal_places=2, help_text="The sum of these prices."
    )
    total_after = serializers.DecimalField(required=False, max_digits=20, decimal_places=2)
    currency = serializers.CharField(required=False, help_text="ISO 4217; that of these sums.")
    needs_another = serializers.CharField(
        required=False, help_text="Why that takes another person; empty: it would be done."
    )


class BulkResultsSerializer(serializers.Serializer):
    """The results, in the order of the lines."""

    end = BulkEndSerializer()
    lines = BulkResultSerializer(many=True)
