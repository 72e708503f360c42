"""Corrections over the API: of one subscription, and of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from pricebook.kit import idempotency
from pricebook.kit.access import author
from pricebook.kit.errors import Refused
from pricebook.kit.figures import grouped
from pricebook.kit.idempotency import idempotent
from services import corrections, parsing
from services.correction_lines import OF_INTERVAL, lines_of
from services.corrections import Corrected, Line, LinesRefused
from services.models import Subscription
from services.price_state import LONGEST_REASON
from services.serializers import DryRunSerializer
from services.views.openapi import ERRORS, REFUSALS, errors
from services.views.shapes_of_bulk import BulkErrorSerializer
from services.views.subscription_writes import verb
from services.writing.bodies import Field, values_of

MOST_LINES = 1_000
OF_ALL = {
    # Its text is checked where it is written.
    "reason": Field(lambda name, value: value, required=True),
    "dry_run": Field(parsing.flag),
}


class IntervalSerializer(serializers.Serializer):
    """The price that should have been paid, and since when."""

    since = serializers.DateTimeField(help_text="With a time zone, in the past.")
    until = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text="In the past too. If it is left out: the next instant at which the price, the"
        " price state, the service or the plan has changed, or it has ceased to pay; if nothing"
        " has, the price goes on from now.",
    )
    time_zone = serializers.CharField(
        required=False, help_text="Where since and until are local times, as `Europe/Rome`."
    )
    price = serializers.DecimalField(max_digits=12, decimal_places=2, min_value=0)


class CorrectSerializer(IntervalSerializer, DryRunSerializer):
    """A correction of one subscription."""

    reason = serializers.CharField(max_length=LONGEST_REASON)


class CorrectionLineSerializer(IntervalSerializer):
    """A line: its subscription by id, or by source and external id."""

    subscription = serializers.IntegerField(required=False)
    source = serializers.CharField(max_length=50, required=False)  # type: ignore[assignment]
    external_id = serializers.CharField(max_length=50, required=False)


class CorrectManySerializer(DryRunSerializer):
    """Corrections, all of which are made, or none."""

    reason = serializers.CharField(max_length=LONGEST_REASON)
    lines = CorrectionLineSerializer(many=True, help_text=f"Up to {MOST_LINES:,}.")


class CorrectedIntervalSerializer(serializers.Serializer):
    """A part of a correction in which one price was paid."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField(allow_null=True, help_text="Null: it goes on.")
    old_price = serializers.DecimalField(max_digits=12, decimal_places=2)
    new_price = serializers.DecimalField(max_digits=12, decimal_places=2)
    price_state = serializers.ChoiceField(Subscription.PriceState.choices)


class CorrectedSerializer(serializers.Serializer):
    """A subscription that was corrected, or would be."""

    id = serializers.IntegerField(
        allow_null=True,
        help_text="The correction, which is `correction_id` in the ledger; null: nothing was"
        " written, as it is a dry run, or it has paid this price all along.",
    )
    subscription = serializers.IntegerField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField(
        allow_null=True, help_text="Null: the price goes on from now."
    )
    price = serializers.DecimalField(max_digits=12, decimal_places=2)
    moves = serializers.BooleanField(help_text="Whether any part was paid at another price.")
    intervals = CorrectedIntervalSerializer(
        many=True, help_text="The parts of the interval in which it paid, as it was and as it is."
    )


class CorrectionsSerializer(serializers.Serializer):
    """All that was corrected, or would be (`dry_run`)."""

    dry_run = serializers.BooleanField()
    moves = serializers.IntegerField(help_text="The number of lines that are corrected.")
    total_before = serializers.DecimalField(
        max_digits=20, decimal_places=2, help_text="The sum of their prices at `since`."
    )
    total_after = serializers.DecimalField(max_digits=20, decimal_places=2)
    currency = serializers.CharField()
    needs_another = serializers.CharField(
        help_text="Why it takes another person; empty: it would be done, or was."
    )
    corrections = CorrectedSerializer(many=True, help_text="In the order of the lines.")


class Corrections:
    """A mixin for the view of subscriptions: `correct/` of one, and of a list."""

    @verb(CorrectSerializer, {200: CorrectionsSerializer})
    def correct(self, request: Request, pk: str) -> Response:
        """Correct what a subscription has paid since an instant in the past."""
        given = values_of(OF_INTERVAL | OF_ALL, request.data)
        id = self.seen(request, pk)  # type: ignore[attr-defined]
        line = Line(id, given["since"], given["price"], given.get("until"))
        try:
            return corrected(request, [line], given)
        except LinesRefused as refused:
            raise refused.refusals[0] from None

    @extend_schema(
        operation_id="subscriptions_correct_many",
        parameters=[idempotency.PARAMETER],
        request=CorrectManySerializer,
        responses={
            200: CorrectionsSerializer,
            **ERRORS,
            **REFUSALS,
            **errors({400: "Refused; `lines` names the lines."}, BulkErrorSerializer),
        },
    )
    @action(detail=False, methods=["post"], url_path="correct")
    @idempotent
    def correct_many(self, request: Request) -> Response:
        """Correct what many subscriptions have paid: all of them, or none."""
        given = values_of(OF_ALL | {"lines": Field(_a_list, required=True)}, request.data)
        return corrected(request, lines_of(given["lines"]), given)


def _a_list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise Refused(
            "missing",
            _("%(name)s is a list of at least one line.") % {"name": name},
            parameter=name,
        )
    if len(value) > MOST_LINES:
        raise Refused(
            "too_many_lines",
            _("A correction has up to %(most_lines)s lines; send several.")
            % {"most_lines": grouped(MOST_LINES)},
            413,
        )
    return value


def corrected(request: Request, lines: Sequence[Line], given: dict[str, Any]) -> Response:
    """The answer: what was corrected, or, in a dry run, would be."""
    dry_run, why = given.get("dry_run", False), ""
    asked = (lines, given["reason"], author(request.user))
    if dry_run:
        done, why = corrections.show(*asked)
    else:
        done = corrections.correct(*asked)
    moves, before, after = corrections.totals(done)
    response = Response(
        {
            "dry_run": dry_run,
            "moves": moves,
            "total_before": before,
            "total_after": after,
            "currency": settings.CURRENCY,
            "needs_another": why,
            "corrections": list(map(shown, done)),
        }
    )
    response.shows_only = dry_run  # type: ignore[attr-defined]
    return response


def shown(each: Corrected) -> dict[str, Any]:
    return asdict(each) | {"moves": each.moves}
