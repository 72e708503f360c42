"""The clients who are to be told of a price change over the API, and the marks that they were."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from price_changes.models import Told, ToTell
from price_changes.notices import Mark, Standing, standing, tell, to_tell
from price_changes.notices.files import table_of
from price_changes.notices.lists import WHICH, Which
from price_changes.notices.telling import LONGEST_NOTE
from price_changes.row_views import UNKNOWN, after_of, change_of
from price_changes.shapes_of_previews import money_field
from pricebook.kit import idempotency
from pricebook.kit.access import author
from pricebook.kit.content import object_of
from pricebook.kit.errors import Refused
from pricebook.kit.idempotency import idempotent
from pricebook.kit.scopes import APPROVE, PLAN, VIEW_CHANGE, VIEW_CLIENT
from services import parsing
from services.parsing import BadValue
from services.reading import parameters
from services.reading.ordering import Cursor
from services.serializers import CURRENCY
from services.transfer.sheets import answering
from services.views.openapi import CURSOR, ERRORS, LINK, PAGE_SIZE, PATH_ID, REFUSALS
from services.views.paging import link, links

LISTS = [which for which in WHICH if which]
MOST = 10_000  # marks of a request


class NoticeSerializer(serializers.ModelSerializer[ToTell]):
    """A client whose price a change moves, and whether it was told."""

    client = serializers.IntegerField(source="client_id")
    client_name = serializers.CharField(allow_null=True, help_text="Null: it was deleted since.")
    email = serializers.CharField(allow_null=True)
    rows = serializers.IntegerField(help_text="Its subscriptions whose price moves.")
    old_total = money_field(help_text="The sum of their prices before the change.")
    new_total = money_field(help_text="The sum of their prices by the change.")
    in_time = serializers.BooleanField(help_text="Told by the day that the change asks for.")
    told_on = serializers.DateField(allow_null=True, help_text="Null: not told.")
    told_at = serializers.DateTimeField(allow_null=True, help_text="The instant of the mark.")
    told_by = serializers.CharField(help_text="The person or program that marked it.")
    way = serializers.ChoiceField(["", *Told.Way.values])

    class Meta:
        model = ToTell
        fields = (
            "client", "client_name", "email", "rows", "old_total", "new_total", "in_time",
            "told_on", "told_at", "told_by", "way", "note",
        )  # fmt: skip
        read_only_fields = fields


class StandingSerializer(serializers.Serializer):
    """The numbers of the clients of a change: total = told_in_time + told_late + not_told."""

    total = serializers.IntegerField()
    told_in_time = serializers.IntegerField()
    told_late = serializers.IntegerField()
    not_told = serializers.IntegerField()
    by = serializers.DateField(
        allow_null=True, help_text="The day by which all have to be told; null: none is set."
    )
    all_told = serializers.BooleanField(help_text="Whether all were told in time.")


@extend_schema_serializer(many=False)
class NoticePageSerializer(serializers.Serializer):
    """Clients to be told of a change, in the order of their ids."""

    result = NoticeSerializer(many=True)
    standing = StandingSerializer()
    effective_at = serializers.DateTimeField(allow_null=True)
    currency = serializers.CharField(help_text=CURRENCY)
    next = serializers.URLField(allow_null=True)


class MarkSerializer(serializers.Serializer):
    """A client, and the day on which it was told."""

    client = serializers.IntegerField()
    told_on = serializers.DateField(allow_null=True, help_text="Null: not told after all.")
    note = serializers.CharField(required=False, max_length=LONGEST_NOTE)


class MarksSerializer(serializers.Serializer):
    """The body of a request that marks clients as told."""

    told = MarkSerializer(many=True, help_text=f"Up to {MOST:,}, each client once.")
    way = serializers.ChoiceField(Told.Way.choices, required=False, help_text="Default: hand.")
    effective_at = serializers.DateTimeField(
        required=False,
        help_text="The instant that they were told of: refused if the change has another by now.",
    )


class MarkedSerializer(serializers.Serializer):
    """The outcome of a request that marks clients as told."""

    recorded = serializers.IntegerField()
    unchanged = serializers.IntegerField(help_text="Clients that were marked so already.")
    standing = StandingSerializer()


class NoticeViews(answering.Sheets):
    """The action `notices` of a view of price changes."""

    # They show who the clients are, and what each pays by the change.
    needs_of_notices = {
        "notices": ((VIEW_CHANGE,), (VIEW_CLIENT,)),
        "tell": ((VIEW_CHANGE,), (VIEW_CLIENT,), (PLAN, APPROVE)),
    }

    @extend_schema(
        operation_id="price_changes_notices",
        parameters=[
            PATH_ID,
            OpenApiParameter(
                "told",
                {"type": "string", "enum": LISTS},
                description="Only clients that were told, or were not; told in time, or late.",
            ),
            CURSOR,
            PAGE_SIZE,
            LINK,
            *answering.PARAMETERS,
        ],
        responses={**answering.responses(NoticePageSerializer), **ERRORS, **UNKNOWN, **REFUSALS},
    )
    @action(detail=True)
    def notices(self, request: Request, pk: str) -> Response | StreamingHttpResponse:
        """The clients whose price a change moves, as it was approved, and who of them was told."""
        query = request.query_params
        as_sheet = answering.refuse_unknown(request, ["told"], parameters.PAGING)
        which = which_of(query)
        change = change_of(pk)
        if as_sheet:
            return answering.answer(request, table_of(change, which, change.title))
        after, size = after_of(query), parameters.page_size(query)
        found = list(to_tell(change, which).filter(client_id__gt=after)[: size + 1])
        more = Cursor(found[size - 1].client_id) if len(found) > size else None
        next = link(request, more)
        return Response(
            {
                "result": NoticeSerializer(found[:size], many=True).data,
                "standing": shown(standing(change)),
                "effective_at": change.effective_at,
                "currency": settings.CURRENCY,
                "next": next,
            },
            headers=links(next),
        )

    @extend_schema(
        operation_id="price_changes_tell",
        parameters=[PATH_ID, idempotency.PARAMETER],
        request=MarksSerializer,
        responses={200: MarkedSerializer, **ERRORS, **UNKNOWN, **REFUSALS},
    )
    @notices.mapping.post
    @idempotent
    def tell(self, request: Request, pk: str) -> Response:
        """Record who was told on which day, or was not told after all; all of them or none."""
        given = object_of(request.data, ["told", "way", "effective_at"])
        way = given.get("way", Told.Way.HAND.value)
        if way not in Told.Way.values:
            raise _bad("way", way, _("%(place)s: give hand or file, or leave it out."))
        told_of = given.get("effective_at")
        if told_of is not None:
            told_of = parsing.instant("effective_at", told_of)
        marks = marks_of(given.get("told"))
        outcome = tell(change_of(pk), marks, way, author(request.user), told_of)
        return Response(
            {
                "recorded": outcome.recorded,
                "unchanged": outcome.unchanged,
                "standing": shown(outcome.standing),
            }
        )


def shown(standing: Standing) -> dict[str, Any]:
    return dict(StandingSerializer(standing).data)


def which_of(query: Any) -> Which:
    value = parameters.value_of(query, "told")
    if value is None:
        return ""
    try:
        return parsing.word("told", value, LISTS)  # type: ignore[return-value]
    except BadValue as error:
        raise parameters.bad_parameter(error) from None


def marks_of(given: Any) -> list[Mark]:
    if not isinstance(given, list) or not 1 <= len(given) <= MOST:
        raise Refused(
            "missing",
            _("Give the marks as a list of 1 to %(most)s objects with client and told_on.")
            % {"most": MOST},
            parameter="told",
        )
    return [_mark(each, n) for n, each in enumerate(given)]


def _mark(given: Any, n: int) -> Mark:
    place = f"told[{n}]"
    if not isinstance(given, dict) or not {"client", "told_on"} <= set(given):
        text = _("%(place)s: give an object with client and told_on; null: not told after all.")
        raise _bad(place, given, text)
    for name in set(given) - {"client", "told_on", "note"}:
        text = _("%(place)s: there is no such field; known are client, told_on, note.")
        raise _bad(f"{place}.{name}", given[name], text)
    note = given.get("note", "")
    if not isinstance(note, str):
        raise _bad(f"{place}.note", note, _("%(place)s: give a text."))
    return (
        parsing.identifier(f"{place}.client", given["client"]),
        _day(f"{place}.told_on", given["told_on"]),
        note,
    )


def _day(place: str, given: Any) -> date | None:
    if given is None:
        return None
    try:
        if isinstance(given, str) and len(given) == len("2026-12-31"):
            return date.fromisoformat(given)
    except ValueError:
        pass
    raise _bad(place, given, _("%(place)s: give a day, such as 2026-12-31, or null."))


def _bad(place: str, given: Any, text: str) -> Refused:
    place = place[:100]
    return Refused("bad_value", text % {"place": place}, parameter=place, value=str(given)[:100])
