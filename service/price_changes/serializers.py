"""The serializers of the answers of price changes in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from price_changes import verbs
from price_changes.models import Brake, PriceChange
from price_changes.planning import recount
from price_changes.planning.local_instant import other_instant
from price_changes.running.outcomes import Outcome
from price_changes.shapes_of_filters import FilterField
from price_changes.shapes_of_previews import PreviewSerializer, money_field
from price_changes.showing.progress import progress_of
from pricebook.kit.decimals import FigureField
from pricebook.kit.errors import ErrorSerializer
from services.models import Skip, Subscription
from services.serializers import CURRENCY


class ProgressSerializer(serializers.Serializer):
    """The workers' progress with a change."""

    done = serializers.IntegerField()
    total = serializers.IntegerField()
    rows_per_second = serializers.IntegerField()
    seconds_left = serializers.IntegerField(allow_null=True)


class OutcomeSerializer(serializers.Serializer):
    """The numbers of a change's rows by their outcome: applied + skipped + failed = rows."""

    rows = serializers.IntegerField()
    applied = serializers.IntegerField()
    skipped = serializers.DictField(child=serializers.IntegerField(), help_text="By the reason.")
    failed = serializers.IntegerField()
    stamped = serializers.IntegerField(help_text="Comments written.")
    not_stamped = serializers.IntegerField(help_text="Applied rows without their comment.")
    drift = serializers.IntegerField(
        allow_null=True, help_text="Rows that were written between the preview and the start."
    )
    superseded = serializers.IntegerField(help_text="Rows that other changes left to this one.")
    taken_back_by = serializers.IntegerField(
        allow_null=True, help_text="The change that takes it back, if it was cancelled."
    )


class BrakeSerializer(serializers.ModelSerializer[Brake]):
    """One time for which no price change started."""

    released_at = serializers.DateTimeField(allow_null=True, help_text="Null: the brake is on.")

    class Meta:
        model = Brake
        fields = (
            "id",
            "pulled_by",
            "pulled_at",
            "reason",
            "released_by",
            "released_at",
            "release_reason",
        )
        read_only_fields = fields


class PriceChangeSerializer(serializers.ModelSerializer[PriceChange]):
    """A price change, as the list shows it."""

    allowed = serializers.SerializerMethodField(help_text="The verbs that its state allows.")
    effective_local = serializers.CharField(
        help_text="The local time that was given, in effective_zone; empty: an instant was given."
    )
    zone_rules_differ = serializers.SerializerMethodField(
        help_text="Whether today's rules of time zones give another instant for that local time."
    )
    effective_by_zone_rules = serializers.SerializerMethodField(
        help_text="That instant; null: it is effective_at, or there is none, or there are two."
    )
    service = serializers.IntegerField(source="service_id", allow_null=True)
    plan = serializers.IntegerField(source="plan_id", allow_null=True)
    reverts = serializers.IntegerField(source="reverts_id", allow_null=True)
    filter = FilterField(allow_null=True, help_text="Null: it is no change of a set.")
    currency = serializers.SerializerMethodField(help_text=CURRENCY)

    # Set for a scheduled change of the catalogue; else null and false.
    finds = money_field(
        allow_null=True,
        read_only=True,
        help_text="The value just before its instant, by all that is scheduled now; else null.",
    )
    will_be_held = serializers.BooleanField(
        read_only=True,
        help_text="Its approver saw another value, the brake is on, or not all its clients were"
        " told: it will take no effect.",
    )
    brake = BrakeSerializer(
        allow_null=True,
        read_only=True,
        help_text="The brake that was on at its instant, or is on and will hold it; else null.",
    )

    notice_days = serializers.IntegerField(
        allow_null=True,
        help_text="All its clients are to be told so many days before; null: nobody has to be.",
    )
    notice_by = serializers.DateField(
        allow_null=True,
        help_text="The day by which they have to be, else it is held; null before the approval.",
    )

    # Empty for a change of the catalogue, and before the approval.
    adjustment = serializers.ChoiceField(PriceChange.Adjustment.choices, allow_blank=True)
    when_moved = serializers.ChoiceField(PriceChange.WhenMoved.choices, allow_blank=True)

    for_one = serializers.BooleanField(
        help_text="Whether it is a decision about one subscription that waits for another person."
    )
    needs_another = serializers.CharField(
        help_text="Why it takes another person; empty: it takes none, or has been approved."
    )
    not_approved = serializers.BooleanField(
        help_text="Whether it has moved prices beyond a limit, by SQL or the ORM, unapproved."
    )

    class Meta:
        model = PriceChange
        fields: tuple[str, ...] = (
            "id",
            "kind",
            "status",
            "allowed",
            "title",
            "reason",
            "comment",
            "service",
            "plan",
            "old_value",
            "new_value",
            "finds",
            "will_be_held",
            "brake",
            "for_new_only",
            "currency",
            "filter",
            "adjustment",
            "operand",
            "floor",
            "ceiling",
            "rounding_step",
            "locked_until",
            "reverts",
            "effective_at",
            "effective_local",
            "effective_zone",
            "zone_rules_differ",
            "effective_by_zone_rules",
            "instant_kept_by",
            "when_moved",
            "notice_days",
            "notice_by",
            "note",
            "for_one",
            "needs_another",
            "not_approved",
            "fingerprint",
            "planned_by",
            "planned_at",
            "previewed_at",
            "approved_by",
            "approved_at",
            "accepted_by",
            "accepted_at",
            "paused_by",
            "paused_at",
            "resumed_by",
            "resumed_at",
            "cancelled_by",
            "rejected_because",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_allowed(self, change: PriceChange) -> list[str]:
        return verbs.allowed(change)

    def get_currency(self, change: PriceChange) -> str:
        return str(settings.CURRENCY)

    def get_zone_rules_differ(self, change: PriceChange) -> bool:
        return other_instant(change) is not None

    def get_effective_by_zone_rules(self, change: PriceChange) -> datetime | None:
        other = other_instant(change)
        return None if other is None else other.at


class OnePriceChangeSerializer(PriceChangeSerializer):
    """A price change with its preview, its progress and its outcome."""

    preview = PreviewSerializer(allow_null=True)
    progress = serializers.SerializerMethodField(help_text="While it runs.")
    outcome = serializers.SerializerMethodField(help_text="Once it has begun.")

    class Meta(PriceChangeSerializer.Meta):
        fields = (*PriceChangeSerializer.Meta.fields, "preview", "progress", "outcome")
        read_only_fields = fields

    def to_representation(self, change: PriceChange) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(change)
        if shown["preview"] is not None and not self.context.get("names_clients", True):
            shown["preview"]["largest_movers"] = []
        return shown

    @extend_schema_field(ProgressSerializer(allow_null=True))
    def get_progress(self, change: PriceChange) -> dict[str, Any] | None:
        if change.status not in ("applying", "paused"):
            return None
        so_far = progress_of([change]).get(change.pk)
        if so_far is None:  # no worker has counted its rows yet
            return None
        return {
            "done": so_far.done,
            "total": so_far.total,
            "rows_per_second": round(so_far.rate),
            "seconds_left": None if so_far.left is None else round(so_far.left.total_seconds()),
        }

    @extend_schema_field(OutcomeSerializer(allow_null=True))
    def get_outcome(self, change: PriceChange) -> Outcome | None:
        return verbs.outcome(change) if change.started_at else None


class MovedFigureSerializer(serializers.Serializer):
    """A figure that differs from that of the preview: an amount, or a count."""

    figure = serializers.ChoiceField(list(recount.LABELS))
    was = FigureField(max_digits=20, decimal_places=2, allow_null=True)
    now = FigureField(
        max_digits=20,
        decimal_places=2,
        allow_null=True,
        help_text="For scheduled_before: the change that was scheduled since.",
    )


class RefusedApprovalSerializer(ErrorSerializer):
    """A refusal to approve a change; `moved_since_preview` comes with a new preview, now stored."""

    moved = MovedFigureSerializer(
        many=True, required=False, help_text="The figures that differ from the approved preview."
    )
    currency = serializers.CharField(required=False, help_text=CURRENCY)
    fingerprint = serializers.CharField(required=False, help_text="That of the new preview.")
    change = OnePriceChangeSerializer(
        required=False, help_text="The change with its new preview, as it stands now."
    )


@extend_schema_serializer(many=False)
class PriceChangePageSerializer(serializers.Serializer):
    """A page of price changes, newest first."""

    result = PriceChangeSerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class RowSerializer(serializers.Serializer):
    """A subscription that a change is about, with its price before and after.

    Unknown values of a deleted subscription are null, and so is the new price of one that stays.
    """

    subscription = serializers.IntegerField()
    client = serializers.IntegerField(allow_null=True)
    service = serializers.IntegerField(allow_null=True)
    plan = serializers.IntegerField(allow_null=True)
    old_price = money_field(allow_null=True)
    price_state = serializers.ChoiceField(Subscription.PriceState.choices, allow_null=True)
    new_price = money_field(allow_null=True)
    new_state = serializers.ChoiceField(Subscription.PriceState.choices, allow_null=True)
    locked_until = serializers.DateTimeField(
        allow_null=True,
        help_text="The end of the lock that it gets; for a skipped row, of the lock that it has.",
    )
    reason = serializers.CharField(allow_null=True, help_text="Why it stays; null: it moves.")
    moved = serializers.BooleanField(help_text="Whether it has been moved.")
    by_change = serializers.IntegerField(
        allow_null=True, help_text="The later change that holds it."
    )
    detail = serializers.CharField(help_text="The database's words where the row failed.")


@extend_schema_serializer(many=False)
class RowPageSerializer(serializers.Serializer):
    """Rows of a change, in the order of the subscriptions' ids."""

    result = RowSerializer(many=True)
    currency = serializers.CharField(help_text=CURRENCY)
    next = serializers.URLField(allow_null=True)


class SkipSerializer(serializers.ModelSerializer[Skip]):
    """A subscription, or a number of them, that an applied change has not moved, and why."""

    subscription = serializers.IntegerField(
        source="subscription_id",
        allow_null=True,
        help_text="Null: `rows` of them that are only counted: locked, ended…",
    )
    by_change = serializers.IntegerField(
        source="by_change_id", allow_null=True, help_text="The later change that holds it."
    )

    class Meta:
        model = Skip
        fields = ("id", "reason", "rows", "subscription", "by_change", "detail")
        read_only_fields = fields


@extend_schema_serializer(many=False)
class SkipPageSerializer(serializers.Serializer):
    """Subscriptions that a change has not moved, in the order in which they were found."""

    result = SkipSerializer(many=True)
    next = serializers.URLField(allow_null=True)
