"""The shapes of the API's answers from the ledger."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from services.ledger.entries import COLUMNS
from services.models import LedgerEntry, Subscription
from services.serializers import CURRENCY


class LedgerEntrySerializer(serializers.ModelSerializer[LedgerEntry]):
    """An entry: what a subscription pays, for which period, from when on, and who wrote it when."""

    currency = serializers.CharField(help_text="ISO 4217; of the whole book.")
    correction_id = serializers.IntegerField(
        allow_null=True,
        help_text="The correction that has added it; null: none has.",
    )
    correction_reason = serializers.CharField(help_text="Why it was corrected; empty: it was not.")

    class Meta:
        model = LedgerEntry
        fields = (
            *COLUMNS,
            "request_id",
            "source",
            "external_id",
            "currency",
            "correction_reason",
        )
        read_only_fields = fields
        extra_kwargs = {
            "price": {"allow_null": True, "help_text": "Null: the subscription was deleted."},
            "started_at": {
                "help_text": "From when it is paid, as of this entry; null: the entry is older than"
                " periods."
            },
            "ended_at": {"help_text": "Until when it is paid, as of this entry; null: no end."},
            "unpaid_since": {
                "help_text": "It was opened again: from then to `effective_at` nothing is paid."
            },
            "period_only": {
                "help_text": "Written for a start or an end; the price is the one in force."
            },
            "request_id": {
                "help_text": "The X-Request-ID of the request that wrote it; null: none did."
            },
            "source": {"help_text": "Where `external_id` is from."},
            "external_id": {"help_text": "The id of the subscription in `source`."},
            "effective_at": {"help_text": "From when it is in force."},
            "recorded_at": {"help_text": "When it was written."},
            "change_id": {"help_text": "The price change; null: no price change wrote it."},
            "author": {
                "help_text": "The writer; empty if a price change wrote it, which has an author."
            },
        }


class SealedSerializer(serializers.Serializer):
    """The newest block of the ledger that is sealed."""

    block = serializers.IntegerField(help_text="Its number, from 1.")
    hash = serializers.CharField(
        help_text="SHA-256 in hexadecimal digits. Keep it: `verify_ledger --head` tells later"
        " whether the ledger up to there is still the same."
    )


@extend_schema_serializer(many=False)
class FeedSerializer(serializers.Serializer):
    """Entries of the ledger after a place."""

    result = LedgerEntrySerializer(many=True)
    next = serializers.CharField(
        help_text="Where to go on, as `after`; also when there is nothing new."
    )
    complete_until = serializers.DateTimeField(
        allow_null=True,
        help_text="All that was recorded, or came into force, before then is in the feed up to"
        " here; null: read on, or the database's user may not see who holds the feed up.",
    )
    sealed = SealedSerializer(
        allow_null=True,
        help_text="The head of the whole ledger, and not of these entries; null: none is.",
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
    """The rule's price at the instant, and the values that it comes from."""

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
    currency = serializers.CharField(help_text=CURRENCY)
    price_state = serializers.ChoiceField(Subscription.PriceState.choices)
    locked_until = serializers.DateTimeField(allow_null=True)
    price_reason = serializers.CharField(
        help_text="Why it is locked or negotiated; a person's reason only of the newest entry, now."
    )
    since = serializers.DateTimeField(help_text="From when this is in force.")
    recorded_at = serializers.DateTimeField()
    entry_id = serializers.IntegerField()
    author = serializers.CharField(help_text="The person who decided it, or wrote it.")
    change = ChangeSerializer(allow_null=True)
    rule = RuleSerializer(
        allow_null=True, help_text="Null: the service or the plan of then was deleted."
    )
    in_line = serializers.BooleanField(help_text="Whether the price is the rule's.")
    known_at = serializers.DateTimeField(
        allow_null=True, help_text="By what was recorded by then; null: by all that is recorded."
    )
    text = serializers.CharField(help_text="All this in a sentence.")
