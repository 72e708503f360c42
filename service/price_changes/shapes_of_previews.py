"""The preview of a price change in the API's schema."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


def money_field(**options: Any) -> serializers.DecimalField:
    return serializers.DecimalField(max_digits=20, decimal_places=2, **options)


class PairSerializer(serializers.Serializer):
    """The effect of a change on the subscriptions of one service and plan."""

    service = serializers.IntegerField()
    service_name = serializers.CharField()
    plan = serializers.IntegerField()
    plan_name = serializers.CharField()
    rows = serializers.IntegerField()
    moves = serializers.IntegerField()
    before = money_field()
    after = money_field()


class MoverSerializer(serializers.Serializer):
    """The effect of a change on one of the clients whom it moves most."""

    client = serializers.IntegerField()
    client_name = serializers.CharField()
    rows = serializers.IntegerField()
    before = money_field()
    after = money_field()


class BucketSerializer(serializers.Serializer):
    """The number of prices that move by an amount, or by so many per cent, in [from, to)."""

    rows = serializers.IntegerField()

    def get_fields(self) -> dict[str, serializers.Field]:
        ends = {name: serializers.IntegerField(allow_null=True) for name in ("from", "to")}
        return {**ends, **super().get_fields()}


class PaidSerializer(serializers.Serializer):
    """The part of the rows of a change that is paid as of its count."""

    total_before = money_field()
    total_after = money_field()
    until = serializers.DateTimeField(
        allow_null=True,
        help_text="The first instant after it at which a row that moves starts or ends; null if"
        " none is known.",
    )


class PreviewSerializer(serializers.Serializer):
    """The effect that a change would have, as counted by its preview."""

    as_of = serializers.DateTimeField()
    rows = serializers.IntegerField(help_text="Subscriptions that the change is about.")
    moves = serializers.IntegerField(help_text="Those of the rows that it moves.")
    stays = serializers.DictField(
        child=serializers.IntegerField(), help_text="The other rows, by the reason."
    )
    stays_total = serializers.DictField(
        child=money_field(),
        required=False,
        help_text="The sums that the rows that stay pay, by the reason.",
    )
    stop_following = serializers.IntegerField(help_text="Rows that stop following the catalogue.")
    total_before = money_field()
    total_after = money_field()
    paid = PaidSerializer(
        required=False,
        help_text="The same without the rows that start after `as_of` or have ended by then;"
        " not in previews of earlier releases.",
    )
    movement = money_field(
        required=False, help_text="The sum of all rises and falls, without their signs."
    )
    largest_percent = serializers.CharField(
        required=False,
        help_text="The largest rise or fall of one price, in per cent of it, if there is a limit"
        " of that; Infinity for a rise from 0.",
    )
    by_service_and_plan = PairSerializer(many=True)
    largest_movers = MoverSerializer(
        many=True, help_text="Empty for a caller who may not read clients."
    )
    distribution = BucketSerializer(many=True, help_text="Rows that move, by the difference.")
    percents = BucketSerializer(
        many=True,
        required=False,
        help_text="The same in per cent of the price; a rise from 0 is in the last one.",
    )
    scheduled_before = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="Changes that come before it and may move rows of it: in the figures of a set,"
        " and not in those of others.",
    )
    scheduled_after = serializers.ListField(
        child=serializers.IntegerField(),
        required=False,
        help_text="Changes that will overrule a change of the catalogue.",
    )
