"""The bridge between two instants over the API."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import QueryDict, StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from price_changes.row_views import after_of
from price_changes.showing.bridges import (
    NamedChange,
    changes_of,
    named_rows,
    names_of,
    table_behind,
    table_of,
)
from pricebook.kit.errors import BadParameter
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_CLIENT, VIEW_SUBSCRIPTION, VIEW_TOTALS
from services import parsing
from services.ledger.bridge import (
    FILTERS,
    GROUPS,
    KINDS,
    Behind,
    Bridge,
    Group,
    Step,
    behind,
    bridge,
)
from services.models import book_clock
from services.reading import filter_kinds, filters, parameters
from services.reading.filters import BookFilter
from services.reading.ordering import Cursor
from services.serializers import CURRENCY, WaitingChangeSerializer
from services.transfer.sheets import answering
from services.views.as_of import waiting_for
from services.views.openapi import CURSOR, ERRORS, LINK, PAGE_SIZE
from services.views.paging import link, links

NAMES = [*FILTERS, "from", "to", "by"]


class NamedChangeSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    title = serializers.CharField()
    says = serializers.CharField(help_text="Its effect, in a sentence.")
    edit = serializers.BooleanField(
        help_text="Whether it is a plain edit of the catalogue, which nobody had planned."
    )
    takes_back = serializers.IntegerField(
        allow_null=True, help_text="The price change that it takes back."
    )


class BridgeStepSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(KINDS)
    change_id = serializers.IntegerField(
        allow_null=True, help_text="The price change, if it is the step of one."
    )
    change = NamedChangeSerializer(
        allow_null=True, help_text="Only for those who may view price changes."
    )
    amount = serializers.DecimalField(max_digits=20, decimal_places=2)
    rows = serializers.IntegerField(help_text="How many times it moved what a subscription pays.")


class BridgedSerializer(serializers.Serializer):
    """Two totals, and the steps between them, which add up to the difference to the cent."""

    total_from = serializers.DecimalField(max_digits=20, decimal_places=2)
    count_from = serializers.IntegerField(help_text="How many subscriptions paid.")
    total_to = serializers.DecimalField(max_digits=20, decimal_places=2)
    count_to = serializers.IntegerField()
    steps = BridgeStepSerializer(many=True)


class BehindSerializer(serializers.Serializer):
    """A subscription, with the names of today; empty if it was deleted since."""

    subscription = serializers.IntegerField()
    client_name = serializers.CharField()
    service_name = serializers.CharField()
    plan = serializers.CharField()
    amount = serializers.DecimalField(
        max_digits=20, decimal_places=2, help_text="The amount that the step added to its price."
    )


class BridgeGroupSerializer(BridgedSerializer):
    id = serializers.IntegerField(allow_null=True, help_text="Null: all others together.")
    name = serializers.CharField(
        allow_null=True, help_text="Names of clients only for those who may view them."
    )


@extend_schema_serializer(many=False)
class BridgeSerializer(BridgedSerializer):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    result = BridgeGroupSerializer(many=True, help_text="With `by`: those that moved most first.")
    waiting_for = WaitingChangeSerializer(many=True)
    currency = serializers.CharField(help_text=CURRENCY)

    def get_fields(self) -> Any:
        fields = super().get_fields()
        return {"from": fields.pop("since"), "to": fields.pop("until"), **fields}


def instant_parameter(name: str, description: str, required: bool = False) -> OpenApiParameter:
    return OpenApiParameter(
        name, filter_kinds.INSTANT.schema, description=description, required=required
    )


INSTANTS = [
    instant_parameter(
        "from", "The earlier instant, ISO 8601 with a time zone; past or future.", True
    ),
    instant_parameter("to", "The later one; now if it is left out."),
]
OF_FILTERS = [
    OpenApiParameter(
        name, filters.FILTERS[name].kind.schema, description=filters.FILTERS[name].help
    )
    for name in FILTERS
]


class BridgeView(answering.Sheets, APIView):
    """The way from the total of one instant to that of another."""

    needs = {"get": ((VIEW_TOTALS, VIEW_SUBSCRIPTION),)}

    @extend_schema(
        operation_id="totals_bridge",
        parameters=[
            *INSTANTS,
            OpenApiParameter("by", {"type": "string", "enum": list(GROUPS)}),
            *OF_FILTERS,
            *answering.PARAMETERS,
        ],
        responses={**answering.responses(BridgeSerializer), **ERRORS},
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        """The total at two instants, and the steps from one to the other, to the cent.

        Subscriptions that started, ended or were opened again; each price change by its number;
        moves; locks that ended; prices that were negotiated or locked; corrections. By what is
        known now. With `by`, the same for each service, plan or client; of clients the 50 that
        moved most, and all others together.
        """
        query = request.query_params
        as_sheet = answering.refuse_unknown(request, NAMES)
        since, until = instants_of(query)
        by = by_of(query)
        found = bridge(since, until, filter_of(query), by)
        user = request.user
        sees_clients = user.has_perm(VIEW_CLIENT) or user.has_perm(VIEW_SUBSCRIPTION)
        changes = changes_of(found, sees_clients) if user.has_perm(VIEW_CHANGE) else {}
        may_name = by != "client" or sees_clients
        names = names_of(found, by) if may_name else {}
        if as_sheet:
            said = answering.filters_of(query)
            return answering.answer(request, table_of(found, by, changes, names, said))
        return Response(shown(found, changes, names))


@extend_schema_serializer(many=False)
class BehindPageSerializer(serializers.Serializer):
    """The subscriptions behind a step of a bridge; their amounts add up to the step's."""

    result = BehindSerializer(many=True)
    currency = serializers.CharField(help_text=CURRENCY)
    next = serializers.URLField(allow_null=True)


class BridgeRowsView(answering.Sheets, APIView):
    """The subscriptions behind a step of a bridge."""

    needs = {"get": ((VIEW_SUBSCRIPTION,),)}

    @extend_schema(
        operation_id="totals_bridge_rows",
        parameters=[
            *INSTANTS,
            OpenApiParameter(
                "kind",
                {"type": "string", "enum": list(KINDS)},
                description="The kind of the step.",
                required=True,
            ),
            OpenApiParameter(
                "change", filter_kinds.ID.schema, description="The price change of the step."
            ),
            *OF_FILTERS,
            CURSOR,
            PAGE_SIZE,
            LINK,
            *answering.PARAMETERS,
        ],
        responses={**answering.responses(BehindPageSerializer), **ERRORS},
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        """The subscriptions that a step moved, in the order of ids, and by how much."""
        query = request.query_params
        names = [*FILTERS, "from", "to", "kind", "change"]
        as_sheet = answering.refuse_unknown(request, names, parameters.PAGING)
        since, until = instants_of(query)
        kind, change = step_of(query)
        wanted = filter_of(query)

        def asked(after: int, limit: int) -> list[Behind]:
            return behind(since, until, kind, change, wanted, after, limit)

        if as_sheet:
            said = answering.filters_of(query)
            return answering.answer(request, table_behind(asked, said))
        size = parameters.page_size(query)
        found = asked(after_of(query), size + 1)
        next = link(request, Cursor(found[size - 1].id) if len(found) > size else None)
        return Response(
            {
                "result": [asdict(row) for row in named_rows(found[:size])],
                "currency": settings.CURRENCY,
                "next": next,
            },
            headers=links(next),
        )


def step_of(query: QueryDict) -> tuple[str, int | None]:
    """The kind of a step, and its price change; raises BadParameter."""
    kind = parameters.value_of(query, "kind")
    allowed = list(KINDS)
    if kind not in KINDS:
        raise BadParameter(
            "kind", kind or "", f"kind is one of {', '.join(allowed)}.", "bad_parameter", allowed
        )
    change = parameters.value_of(query, "change")
    if change is None:
        return kind, None
    try:
        return kind, parsing.identifier("change", change)
    except parsing.BadValue as error:
        raise parameters.bad_parameter(error) from None


def shown(found: Bridge, changes: dict[int, NamedChange], names: dict[int, str]) -> dict[str, Any]:
    """The answer. One query."""
    whole = Group(None, found.total_since, found.total_until, found.steps)
    return {
        "from": found.since,
        "to": found.until,
        **_bridged(whole, changes),
        "result": [
            {
                "id": group.id,
                "name": names.get(group.id) if group.id is not None else None,
                **_bridged(group, changes),
            }
            for group in found.groups
        ],
        "waiting_for": waiting_for(found.until),
        "currency": settings.CURRENCY,
    }


def _bridged(group: Group, changes: dict[int, NamedChange]) -> dict[str, Any]:
    def step(each: Step) -> dict[str, Any]:
        change = changes.get(each.change_id or 0)
        return asdict(each) | {"change": change and asdict(change)}

    return {
        "total_from": group.since.amount,
        "count_from": group.since.subscriptions,
        "total_to": group.until.amount,
        "count_to": group.until.subscriptions,
        "steps": [step(each) for each in group.steps],
    }


def instants_of(query: QueryDict) -> tuple[datetime, datetime]:
    """Both instants of a bridge; raises BadParameter. One query without `to`."""
    since = parameters.instant(query, "from")
    if since is None:
        raise BadParameter("from", "", "from is missing: the instant at which the bridge begins.")
    until = parameters.instant(query, "to") or book_clock()
    if until <= since:
        raise BadParameter(
            "to",
            str(query.get("to", until.isoformat())),
            "to is not after from: a bridge goes from an instant to a later one.",
            "not_after_from",
        )
    return since, until


def by_of(query: QueryDict) -> str | None:
    by = parameters.value_of(query, "by")
    if by is not None and by not in GROUPS:
        allowed = list(GROUPS)
        raise BadParameter("by", by, f"by is one of {', '.join(allowed)}.", allowed=allowed)
    return by


def filter_of(query: QueryDict) -> BookFilter:
    return BookFilter(**parameters.values_of(query, FILTERS))
