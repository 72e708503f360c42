"""What the API shows of a subscription."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from services import ledger, price_state
from services.ledger.entries import COLUMNS
from services.models import LedgerEntry, Plan, Service, Subscription


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

    # Wants `Subscription.objects.for_api()`, or each row costs four more queries. The list does
    # not go through it: `listing.page` builds the same dicts, which tests/test_serializers.py
    # proves, in a fraction of the time.
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


class OneSubscriptionSerializer(SubscriptionSerializer):
    """A subscription, and what is scheduled for it."""

    pending_changes = serializers.SerializerMethodField(
        required=False, help_text="What is scheduled, in the order of its coming; not with as_of."
    )

    class Meta(SubscriptionSerializer.Meta):
        fields = (*SubscriptionSerializer.Meta.fields, "pending_changes")  # type: ignore[assignment]
        read_only_fields = fields  # type: ignore[assignment]

    @extend_schema_field(PendingChangeSerializer(many=True))
    def get_pending_changes(self, subscription: Subscription) -> list[dict[str, Any]]:
        return [asdict(change) for change in ledger.pending_changes(subscription.pk)]


class LockSerializer(serializers.Serializer):
    """A lock: the price stays until its end, or until it is released."""

    until = serializers.DateTimeField(
        required=False, allow_null=True, help_text="With a time zone, in the future."
    )
    reason = serializers.CharField(max_length=price_state.LONGEST_REASON)


class NegotiateSerializer(serializers.Serializer):
    """A price of its own."""

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
        help_text="The sum of the prices of all that match, not of this page.",
    )
    count = serializers.IntegerField(help_text="How many match.")
    currency = serializers.CharField(help_text="ISO 4217; the currency of every price.")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class PaysSerializer(serializers.Serializer):
    """What the subscriptions of something pay."""

    count = serializers.IntegerField(help_text="How many subscriptions.")
    total_amount = serializers.DecimalField(
        max_digits=20, decimal_places=2, help_text="The sum of their prices."
    )


class ClientPaySerializer(PaysSerializer):
    id = serializers.IntegerField()
    company_name = serializers.CharField()
    email = serializers.CharField()
    full_address = serializers.CharField()


class ServicePaySerializer(PaysSerializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    full_price = serializers.DecimalField(max_digits=12, decimal_places=2)


class PlanPaySerializer(PaysSerializer):
    id = serializers.IntegerField()
    plan_type = serializers.ChoiceField(Plan.Type.choices)
    discount_percent = serializers.IntegerField()


class PaysPageSerializer(serializers.Serializer):
    count = serializers.IntegerField(help_text="How many match, not of this page alone.")
    subscriptions = serializers.IntegerField(help_text="How many subscriptions they all have.")
    total_amount = serializers.DecimalField(
        max_digits=20, decimal_places=2, help_text="The sum of the prices of these subscriptions."
    )
    currency = serializers.CharField(help_text="ISO 4217; the currency of every price.")
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
    """Groups, and all of them together."""

    result = GroupSerializer(many=True)
    currency = serializers.CharField(help_text="ISO 4217; the currency of every price.")


class LedgerEntrySerializer(serializers.ModelSerializer[LedgerEntry]):
    """One price that a subscription has had: from when, written when, by which change, by whom."""

    class Meta:
        model = LedgerEntry
        fields = COLUMNS
        read_only_fields = fields
        extra_kwargs = {
            "price": {"allow_null": True, "help_text": "Null: the subscription was deleted."},
            "effective_at": {"help_text": "From when it is in force."},
            "recorded_at": {"help_text": "When it was written."},
            "change_id": {"help_text": "The price change; null: somebody's own write."},
            "author": {"help_text": "Who wrote it; empty where a price change has an author."},
        }


@extend_schema_serializer(many=False)
class FeedSerializer(serializers.Serializer):
    """Entries of the ledger behind a place."""

    result = LedgerEntrySerializer(many=True)
    next = serializers.CharField(
        help_text="Where to go on, as `after`; also when there is nothing new."
    )


@extend_schema_serializer(many=False)
class HistorySerializer(serializers.Serializer):
    """Entries of one subscription, newest last."""

    result = LedgerEntrySerializer(many=True)
    next = serializers.URLField(allow_null=True)


class ChangeSerializer(serializers.Serializer):
    """A price change, in short."""

    id = serializers.IntegerField()
    author = serializers.CharField()
    title = serializers.CharField()
    reason = serializers.CharField()


class EditSerializer(serializers.Serializer):
    """An edit of the catalogue: a list price, or a discount in per cent."""

    old = serializers.DecimalField(max_digits=12, decimal_places=2, allow_null=True)
    new = serializers.DecimalField(max_digits=12, decimal_places=2)
    effective_at = serializers.DateTimeField()
    author = serializers.CharField()
    change_id = serializers.IntegerField(allow_null=True)


class RuleSerializer(serializers.Serializer):
    """What the rule said at the instant, and from what."""

    list_price = serializers.DecimalField(max_digits=12, decimal_places=2)
    discount_percent = serializers.IntegerField()
    price = serializers.DecimalField(max_digits=12, decimal_places=2)
    arithmetic = serializers.CharField(help_text="The rule with its numbers.")
    list_price_edit = EditSerializer(
        allow_null=True, help_text="The edit in force; null: it was never edited."
    )
    discount_edit = EditSerializer(
        allow_null=True, help_text="The edit in force; null: it was never edited."
    )
    text = serializers.CharField()


class ExplanationSerializer(serializers.Serializer):
    """Why a subscription pays what it pays at an instant."""

    subscription_id = serializers.IntegerField()
    at = serializers.DateTimeField()
    client_id = serializers.IntegerField()
    service_id = serializers.IntegerField()
    plan_id = serializers.IntegerField()
    price = serializers.DecimalField(
        max_digits=12, decimal_places=2, allow_null=True, help_text="Null: it was deleted by then."
    )
    price_state = serializers.ChoiceField(Subscription.PriceState.choices)
    locked_until = serializers.DateTimeField(allow_null=True)
    price_reason = serializers.CharField(
        help_text="Why it is locked or negotiated; known for the newest entry."
    )
    since = serializers.DateTimeField(help_text="From when this is in force.")
    recorded_at = serializers.DateTimeField()
    entry_id = serializers.IntegerField()
    author = serializers.CharField(help_text="Who decided it, or wrote it.")
    change = ChangeSerializer(allow_null=True)
    rule = RuleSerializer(
        allow_null=True, help_text="Null: the service or the plan of then is gone."
    )
    in_line = serializers.BooleanField(help_text="Whether the price is the rule's.")
    text = serializers.CharField(help_text="All this in a sentence.")
