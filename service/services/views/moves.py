"""The answers of doors that move prices: a look before it (`dry_run`), and a plan that waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from django.conf import settings
from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers
from rest_framework.response import Response

from services.models import Subscription
from services.moves import Effect, WaitingPlan
from services.price_decisions import Shown

STATES = Subscription.PriceState.choices


class ShownRowSerializer(serializers.Serializer):
    """A subscription's price before and after."""

    subscription = serializers.IntegerField()
    old_price = serializers.DecimalField(max_digits=20, decimal_places=2)
    price_state = serializers.ChoiceField(STATES)
    new_price = serializers.DecimalField(max_digits=20, decimal_places=2)
    new_state = serializers.ChoiceField(STATES)
    locked_until = serializers.DateTimeField(allow_null=True)


class ShownSerializer(serializers.Serializer):
    """The effect that a request would have (`dry_run`): nothing was written."""

    dry_run = serializers.BooleanField()
    moves = serializers.IntegerField(help_text="The number of rows that would move.")
    total_before = serializers.DecimalField(max_digits=20, decimal_places=2)
    total_after = serializers.DecimalField(max_digits=20, decimal_places=2)
    currency = serializers.CharField()
    needs_another = serializers.CharField(
        help_text="Why it takes another person; empty: it would be done."
    )
    rows = ShownRowSerializer(many=True, help_text="The first of them, in the order of ids.")


class WaitingPlanSerializer(serializers.Serializer):
    """A price change that was planned in the place of an edit beyond the limits of its author."""

    code = serializers.CharField(help_text="`needs_another_person`")
    detail = serializers.CharField()
    price_change = serializers.IntegerField()
    address = serializers.CharField(help_text="Also in the header Location.")


def or_shown(name: str, body: type[serializers.Serializer]) -> PolymorphicProxySerializer:
    """The answer of a request that takes `dry_run`, for the schema."""
    return PolymorphicProxySerializer(
        component_name=name, serializers=[body, ShownSerializer], resource_type_field_name=None
    )


def waits(plan: WaitingPlan) -> Response:
    """202: nothing has moved, and a plan waits for another person."""
    return Response(
        {
            "code": "needs_another_person",
            "detail": plan.detail,
            "price_change": plan.id,
            "address": plan.address,
        },
        status=202,
        headers={"Location": plan.address},
    )


def answer_of_one(shown: Shown) -> Response:
    """The answer to a `dry_run` of a decision about one subscription."""
    row = asdict(shown)
    why = row.pop("needs_another")
    del row["old_until"]
    return shows([row], int(shown.moves), shown.old_price, shown.new_price, why)


def answer_of_effect(effect: Effect) -> Response:
    """The answer to a `dry_run` of an edit of the catalogue."""
    move = effect.move
    return shows(effect.rows, move.rows, move.before, move.after, effect.needs_another)


def shows(
    rows: Sequence[Mapping[str, Any]], moves: int, before: Decimal, after: Decimal, why: str
) -> Response:
    """The answer to a `dry_run`, which keeps no Idempotency-Key."""
    response = Response(
        {
            "dry_run": True,
            "moves": moves,
            "total_before": before,
            "total_after": after,
            "currency": settings.CURRENCY,
            "needs_another": why,
            "rows": list(rows),
        }
    )
    response.shows_only = True  # type: ignore[attr-defined]
    return response
