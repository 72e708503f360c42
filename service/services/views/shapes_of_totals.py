"""The shapes of the API's answers about clients, services, plans and totals."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from services.models import Plan
from services.serializers import CURRENCY


class PaysSerializer(serializers.Serializer):
    """The number of subscriptions that pay, and their total."""

    count = serializers.IntegerField(
        help_text="How many subscriptions pay: those that have begun, and have not ended."
    )
    total_amount = serializers.DecimalField(
        max_digits=20, decimal_places=2, help_text="The sum of what these pay."
    )


class KnownElsewhereSerializer(PaysSerializer):
    """A record with its id in another system, if it has one."""

    source = serializers.CharField(  # type: ignore[assignment]
        allow_null=True, help_text="Where `external_id` is from."
    )
    external_id = serializers.CharField(allow_null=True, help_text="Its id in `source`.")


class ClientPaySerializer(KnownElsewhereSerializer):
    id = serializers.IntegerField()
    company_name = serializers.CharField()
    email = serializers.CharField()
    full_address = serializers.CharField()


class ServicePaySerializer(KnownElsewhereSerializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    full_price = serializers.DecimalField(max_digits=12, decimal_places=2)


class PlanPaySerializer(KnownElsewhereSerializer):
    id = serializers.IntegerField()
    plan_type = serializers.ChoiceField(Plan.Type.choices)
    discount_percent = serializers.IntegerField()


class OneClientSerializer(ClientPaySerializer):
    """A client, and what its subscriptions pay."""

    currency = serializers.CharField(help_text=CURRENCY)


class OneServiceSerializer(ServicePaySerializer):
    """A service, and what its subscriptions pay."""

    currency = serializers.CharField(help_text=CURRENCY)


class OnePlanSerializer(PlanPaySerializer):
    """A plan, and what its subscriptions pay."""

    currency = serializers.CharField(help_text=CURRENCY)


class PaysPageSerializer(serializers.Serializer):
    count = serializers.IntegerField(help_text="How many match, not on this page alone.")
    subscriptions = serializers.IntegerField(
        help_text="How many subscriptions of them all pay: begun, and not ended."
    )
    total_amount = serializers.DecimalField(
        max_digits=20, decimal_places=2, help_text="The sum of what these pay."
    )
    currency = serializers.CharField(help_text=CURRENCY)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


@extend_schema_serializer(many=False)
class ClientPageSerializer(PaysPageSerializer):
    result = ClientPaySerializer(many=True)


@extend_schema_serializer(many=False)
class ServicePageSerializer(PaysPageSerializer):
    result = ServicePaySerializer(many=True)


@extend_schema_serializer(many=False)
class PlanPageSerializer(PaysPageSerializer):
    result = PlanPaySerializer(many=True)


class GroupSerializer(PaysSerializer):
    """A group, with the names that `by` asks for."""

    service_id = serializers.IntegerField(required=False)
    service_name = serializers.CharField(required=False)
    plan_id = serializers.IntegerField(required=False)
    plan_type = serializers.ChoiceField(Plan.Type.choices, required=False)
    discount_percent = serializers.IntegerField(required=False)


@extend_schema_serializer(many=False)
class TotalsSerializer(PaysSerializer):
    """Groups, and the total of all."""

    result = GroupSerializer(many=True)
    currency = serializers.CharField(help_text=CURRENCY)
