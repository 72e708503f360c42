"""The bodies of requests about price changes, for the schema alone.

`plan()` and the other verbs check them, as they do for all callers.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from price_changes.kinds import TO_PLAN
from price_changes.kinds.plan_fields import COMMON, PlanField
from price_changes.models import PriceChange
from price_changes.planning.notice_days import MOST
from price_changes.running.brake import LONGEST_REASON
from price_changes.running.rejecting import LONGEST
from price_changes.shapes_of_filters import NewFilterField
from price_changes.shapes_of_previews import money_field
from services.reading.filter_kinds import Input
from services.serializers import DryRunSerializer

KINDS_TO_PLAN = list(TO_PLAN)


class NewPriceChangeSerializer(serializers.Serializer):
    """A price change to plan. The kind decides which fields it takes."""

    kind = serializers.ChoiceField(KINDS_TO_PLAN)

    def get_fields(self) -> dict[str, serializers.Field]:
        of_kinds = (field for kind in TO_PLAN.values() for field in kind.fields)
        return super().get_fields() | {
            each.name: _field_of_plan(each) for each in (*COMMON, *of_kinds)
        }


def _field_of_plan(each: PlanField) -> serializers.Field:
    more: dict[str, Any] = {"required": False}
    if each.help:
        more["help_text"] = each.help
    match each.input:
        case Input.RECORD:
            return serializers.IntegerField(**more)
        case Input.AMOUNT if each.decimal_places:
            return serializers.DecimalField(
                max_digits=14, decimal_places=each.decimal_places, **more
            )
        case Input.AMOUNT:
            return money_field(**more)
        case Input.INSTANT:
            return serializers.DateTimeField(**more)
        case Input.CHOICE:
            return serializers.ChoiceField(list(each.choices), **more)
        case Input.DAYS:
            return serializers.IntegerField(min_value=0, max_value=MOST, **more)
        case Input.FLAG:
            return serializers.BooleanField(**more)
        case Input.FILTER:
            return NewFilterField(**more)
        case _:
            return serializers.CharField(max_length=each.length, **more)


class ApprovalSerializer(DryRunSerializer):
    """An approval of the rows that this fingerprint stands for."""

    fingerprint = serializers.CharField(max_length=32, help_text="That of the latest preview.")
    when_moved = serializers.ChoiceField(
        PriceChange.WhenMoved.choices,
        required=False,
        help_text="How to go on if rows have moved by its instant; for a change of the catalogue,"
        " if it finds another value than its approver saw (hold, current).",
    )
    effective_at = serializers.DateTimeField(
        required=False,
        help_text="An instant in the future, for a change that was planned without, or was held.",
    )
    time_zone = serializers.CharField(
        required=False, max_length=64, help_text="The zone in which effective_at is a local time."
    )


class RejectionSerializer(serializers.Serializer):
    """The body of a rejection."""

    reason = serializers.CharField(max_length=LONGEST, help_text="Why; its planner reads it.")


class RevertSerializer(DryRunSerializer):
    """The body of a revert."""

    approve = serializers.BooleanField(
        required=False, default=False, help_text="Approve the revert too, unseen."
    )


class BrakeBodySerializer(serializers.Serializer):
    """The body of a pull of the brake, and of its release."""

    reason = serializers.CharField(max_length=LONGEST_REASON, help_text="Why; everybody sees it.")
