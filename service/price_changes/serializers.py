"""What the API shows of a price change, and what it takes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from price_changes import verbs
from price_changes.models import PriceChange
from price_changes.planning import recount
from price_changes.planning.local_instant import other_instant
from price_changes.showing.progress import progress_of
from pricebook.kit.errors import ErrorSerializer
from services.models import Skip, Subscription
from services.reading.filters import LASTING


def money(**options: Any) -> serializers.DecimalField:
    return serializers.DecimalField(max_digits=20, decimal_places=2, **options)


# --- What it shows ----------------------------------------------------------------------------


class PairSerializer(serializers.Serializer):
    """What a change does to the subscriptions of one service and plan."""

    service = serializers.IntegerField()
    service_name = serializers.CharField()
    plan = serializers.IntegerField()
    plan_name = serializers.CharField()
    rows = serializers.IntegerField()
    moves = serializers.IntegerField()
    before = money()
    after = money()


class MoverSerializer(serializers.Serializer):
    """What a change does to one of the clients whom it moves most."""

    client = serializers.IntegerField()
    client_name = serializers.CharField()
    rows = serializers.IntegerField()
    before = money()
    after = money()


class BucketSerializer(serializers.Serializer):
    """How many prices move by an amount in [from, to)."""

    rows = serializers.IntegerField()

    def get_fields(self) -> dict[str, serializers.Field]:
        ends = {name: serializers.IntegerField(allow_null=True) for name in ("from", "to")}
        return {**ends, **super().get_fields()}


class PreviewSerializer(serializers.Serializer):
    """What a change would do, counted at the preview."""

    as_of = serializers.DateTimeField()
    rows = serializers.IntegerField(help_text="Subscriptions that it is about.")
    moves = serializers.IntegerField(help_text="Of these, those that it moves.")
    stays = serializers.DictField(
        child=serializers.IntegerField(), help_text="The others, by the reason."
    )
    stop_following = serializers.IntegerField(help_text="Movers that leave the catalogue's price.")
    total_before = money()
    total_after = money()
    movement = money(
        required=False, help_text="What prices rise and fall by, added up without the sign."
    )
    by_service_and_plan = PairSerializer(many=True)
    largest_movers = MoverSerializer(many=True)
    distribution = BucketSerializer(many=True, help_text="Movers by the difference.")
    scheduled_before = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="Changes that come before it, may move rows of it, and are not in its figures.",
    )
    scheduled_after = serializers.ListField(
        child=serializers.IntegerField(),
        required=False,
        help_text="Of the catalogue: changes that will overrule it.",
    )


class ProgressSerializer(serializers.Serializer):
    """How far the workers are."""

    done = serializers.IntegerField()
    total = serializers.IntegerField()
    rows_per_second = serializers.IntegerField()
    seconds_left = serializers.IntegerField(allow_null=True)


class OutcomeSerializer(serializers.Serializer):
    """What became of the rows: applied + skipped + failed = rows."""

    rows = serializers.IntegerField()
    applied = serializers.IntegerField()
    skipped = serializers.DictField(child=serializers.IntegerField(), help_text="By the reason.")
    failed = serializers.IntegerField()
    stamped = serializers.IntegerField(help_text="Comments written.")
    not_stamped = serializers.IntegerField(help_text="Of the applied: comments not written.")
    drift = serializers.IntegerField(
        allow_null=True, help_text="Of the catalogue: written between the preview and the start."
    )
    superseded = serializers.IntegerField(help_text="Rows of other changes that this one holds.")
    taken_back_by = serializers.IntegerField(
        allow_null=True, help_text="Of one that was cancelled: the change that takes it back."
    )


class PriceChangeSerializer(serializers.ModelSerializer[PriceChange]):
    """A price change, as the list shows it."""

    allowed = serializers.SerializerMethodField(help_text="The verbs that its state allows.")
    effective_local = serializers.CharField(
        help_text="The local time that was said, in effective_zone; empty: an instant was."
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

    # Of a change of the catalogue that is scheduled; null for any other one.
    finds = money(
        allow_null=True,
        read_only=True,
        help_text="What the catalogue says just before it, by what is scheduled now.",
    )
    will_be_held = serializers.BooleanField(
        read_only=True, help_text="That is not what its approver saw, so it takes no effect."
    )

    # Empty where there is none: a change of the catalogue, one that is not approved yet.
    adjustment = serializers.ChoiceField(PriceChange.Adjustment.choices, allow_blank=True)
    when_moved = serializers.ChoiceField(PriceChange.WhenMoved.choices, allow_blank=True)

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
            "for_new_only",
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
            "note",
            "fingerprint",
            "planned_by",
            "planned_at",
            "previewed_at",
            "approved_by",
            "approved_at",
            "paused_by",
            "paused_at",
            "resumed_by",
            "resumed_at",
            "cancelled_by",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_allowed(self, change: PriceChange) -> list[str]:
        return verbs.allowed(change)

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
    def get_outcome(self, change: PriceChange) -> dict[str, Any] | None:
        return verbs.outcome(change) if change.started_at else None


class MovedFigureSerializer(serializers.Serializer):
    """A figure of a preview that is another one now."""

    figure = serializers.ChoiceField(list(recount.LABELS))
    was = money(allow_null=True)
    now = money(
        allow_null=True, help_text="Of scheduled_before: the change that was scheduled since."
    )


class RefusedApprovalSerializer(ErrorSerializer):
    """Why a change can't be approved. With `moved_since_preview`, the preview that was kept."""

    moved = MovedFigureSerializer(
        many=True, required=False, help_text="What differs from the preview that was approved."
    )
    fingerprint = serializers.CharField(required=False, help_text="Of the new preview.")
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
    """A subscription that a change is about: what it paid, and what it (is to) pay.

    Null is what is not known of one that was deleted, and what one that stays would have paid.
    """

    subscription = serializers.IntegerField()
    client = serializers.IntegerField(allow_null=True)
    service = serializers.IntegerField(allow_null=True)
    plan = serializers.IntegerField(allow_null=True)
    old_price = money(allow_null=True)
    price_state = serializers.ChoiceField(Subscription.PriceState.choices, allow_null=True)
    new_price = money(allow_null=True)
    new_state = serializers.ChoiceField(Subscription.PriceState.choices, allow_null=True)
    locked_until = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_null=True, help_text="Why it stays; null: it moves.")
    moved = serializers.BooleanField(help_text="Whether it has been.")
    by_change = serializers.IntegerField(
        allow_null=True, help_text="The later change that holds it."
    )


@extend_schema_serializer(many=False)
class RowPageSerializer(serializers.Serializer):
    """Rows of a change, in the order of the subscriptions' ids."""

    result = RowSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class SkipSerializer(serializers.ModelSerializer[Skip]):
    """Subscriptions that an applied change has not moved, and why."""

    subscription = serializers.IntegerField(
        source="subscription_id",
        allow_null=True,
        help_text="Null: `rows` of them, which need no name: locked, ended…",
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
    """What a change has not moved, in the order of its finding."""

    result = SkipSerializer(many=True)
    next = serializers.URLField(allow_null=True)


# --- What it takes ----------------------------------------------------------------------------
# For the schema only: `definition` and `lifecycle` check, as they do for everybody.

KINDS_TO_PLAN = ["list_price", "discount", "set"]


class NewPriceChangeSerializer(serializers.Serializer):
    """A price change to plan. Which fields go with it follows from its kind."""

    kind = serializers.ChoiceField(KINDS_TO_PLAN)
    title = serializers.CharField(required=False, max_length=100)
    reason = serializers.CharField(required=False, max_length=1000)
    comment = serializers.CharField(
        required=False, max_length=50, help_text="To stamp on what it moves."
    )
    effective_at = serializers.DateTimeField(
        required=False, help_text="With an offset, in the future; else at the approval."
    )
    time_zone = serializers.CharField(
        required=False,
        max_length=64,
        help_text="As America/Vancouver: effective_at is a local time there, without an offset;"
        " what was said is kept.",
    )
    service = serializers.IntegerField(required=False, help_text="Of a list price.")
    plan = serializers.IntegerField(required=False, help_text="Of a discount.")
    new_value = money(required=False, help_text="The list price, or the discount in per cent.")
    for_new_only = serializers.BooleanField(
        required=False, help_text="Followers are locked at the price that they have."
    )
    locked_until = serializers.DateTimeField(
        required=False, help_text="Until when; goes with for_new_only and with lock."
    )
    filter = serializers.DictField(
        required=False,
        help_text="Of a set: which subscriptions; an empty one means all, and has to be given."
        f" Names: {', '.join(LASTING)}.",
    )
    adjustment = serializers.ChoiceField(PriceChange.Adjustment.choices, required=False)
    operand = serializers.DecimalField(
        required=False, max_digits=14, decimal_places=4, help_text="Of amount, add and percent."
    )
    floor = money(required=False)
    ceiling = money(required=False)
    rounding_step = money(required=False)


class ApprovalSerializer(serializers.Serializer):
    """What is approved: the rows that this fingerprint stands for."""

    fingerprint = serializers.CharField(max_length=32, help_text="Of the latest preview.")
    when_moved = serializers.ChoiceField(
        PriceChange.WhenMoved.choices,
        required=False,
        help_text="What happens if rows have moved by its instant; of a change of the catalogue, if"
        " it finds another value than its approver saw (hold, current).",
    )
    effective_at = serializers.DateTimeField(
        required=False,
        help_text="An instant in the future, for one that was planned without, or that was held.",
    )
    time_zone = serializers.CharField(
        required=False, max_length=64, help_text="Where effective_at is a local time."
    )


class RevertSerializer(serializers.Serializer):
    """How a change is taken back."""

    approve = serializers.BooleanField(
        required=False, default=False, help_text="Approve the revert too, unseen."
    )
