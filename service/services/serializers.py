"""Subscriptions as the API shows them."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from services import price_state
from services.models import Plan, Service, Subscription

CURRENCY = "ISO 4217; the currency of every price."


class ServiceSerializer(serializers.ModelSerializer[Service]):
    class Meta:
        model = Service
        fields = ("id", "name", "full_price")
        read_only_fields = fields


class PlanSerializer(serializers.ModelSerializer[Plan]):
    class Meta:
        model = Plan
        fields = ("id", "plan_type", "discount_percent")
        read_only_fields = fields


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    """A subscription, what it pays, and who pays it."""

    # Requires `Subscription.objects.for_api()`, or each row costs four more queries. The list does
    # not use it: `reading.pages` builds the same dicts, which tests/test_serializers.py proves, in
    # a fraction of the time.
    client_name = serializers.CharField(source="client.company_name", read_only=True)
    email = serializers.CharField(source="client.user.email", read_only=True)
    plan = PlanSerializer(read_only=True)
    service = ServiceSerializer(read_only=True)

    class Meta:
        model = Subscription
        fields = (
            "id",
            "plan_id",
            "client_name",
            "email",
            "plan",
            "price",
            "price_state",
            "locked_until",
            "price_reason",
            "service",
            "client_id",
            "comment",
            "source",
            "external_id",
            "started_at",
            "ended_at",
        )
        read_only_fields = fields


class PendingChangeSerializer(serializers.Serializer):
    """A price change that is scheduled and will move the subscription."""

    id = serializers.IntegerField()
    title = serializers.CharField()
    effective_at = serializers.DateTimeField()
    new_price = serializers.DecimalField(max_digits=12, decimal_places=2)
    will_be_held = serializers.BooleanField(
        help_text="The brake is on, or not all who are to be told of it were: it will not come,"
        " unless that changes before."
    )


class WaitingChangeSerializer(serializers.Serializer):
    """A change of a set that is approved and due by an instant, and not applied yet."""

    id = serializers.IntegerField()
    title = serializers.CharField()
    effective_at = serializers.DateTimeField()


class OneSubscriptionSerializer(SubscriptionSerializer):
    """A subscription, the changes scheduled for it, and those that are not in its price yet."""

    currency = serializers.CharField(help_text=CURRENCY)
    pending_changes = PendingChangeSerializer(
        many=True, help_text="The scheduled changes, in the order of their instants."
    )
    waiting_for = WaitingChangeSerializer(
        many=True, help_text="Changes of sets that have come, and of which not all rows are moved."
    )

    class Meta(SubscriptionSerializer.Meta):
        fields = (  # type: ignore[assignment]
            *SubscriptionSerializer.Meta.fields,
            "currency",
            "pending_changes",
            "waiting_for",
        )
        read_only_fields = fields  # type: ignore[assignment]


class SubscriptionAsOfSerializer(SubscriptionSerializer):
    """A subscription as it is at an instant, and the changes that are not in its price then."""

    currency = serializers.CharField(help_text=CURRENCY)
    as_of = serializers.DateTimeField(help_text="The instant.")
    waiting_for = WaitingChangeSerializer(
        many=True,
        help_text="Changes of sets that have come by then, and of which not all rows are moved.",
    )

    class Meta(SubscriptionSerializer.Meta):
        fields = (  # type: ignore[assignment]
            *SubscriptionSerializer.Meta.fields,
            "currency",
            "as_of",
            "waiting_for",
        )
        read_only_fields = fields  # type: ignore[assignment]


class DryRunSerializer(serializers.Serializer):
    """A look before a price is moved."""

    dry_run = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Only show what it would do: nothing is written, and no Idempotency-Key is kept.",
    )


class LockSerializer(DryRunSerializer):
    """A lock: the price stays until its end, or until it is released."""

    until = serializers.DateTimeField(
        required=False, allow_null=True, help_text="With a time zone, in the future."
    )
    reason = serializers.CharField(max_length=price_state.LONGEST_REASON)


class NegotiateSerializer(DryRunSerializer):
    """A price of the subscription's own."""

    price = serializers.DecimalField(
        max_digits=12, decimal_places=2, min_value=0, help_text="A number, or its digits as text."
    )
    reason = serializers.CharField(max_length=price_state.LONGEST_REASON)


@extend_schema_serializer(many=False)
class PageSerializer(serializers.Serializer):
    """A page of subscriptions, and the total of all that match."""

    result = SubscriptionSerializer(many=True)
    total_amount = serializers.DecimalField(
        max_digits=20,
        decimal_places=2,
        help_text="The sum of the prices of all that match, not of this page, whether they pay or"
        " not.",
    )
    count = serializers.IntegerField(help_text="How many match.")
    paid_amount = serializers.DecimalField(
        max_digits=20,
        decimal_places=2,
        help_text="The part of it that is paid: by those that have begun, and have not ended.",
    )
    paid_count = serializers.IntegerField(help_text="How many of those that match pay.")
    currency = serializers.CharField(help_text=CURRENCY)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    waiting_for = WaitingChangeSerializer(
        many=True,
        help_text="Changes of sets that have come (with `as_of`: by then), and of which not all"
        " rows are moved, so that the figures don't include them fully.",
    )
