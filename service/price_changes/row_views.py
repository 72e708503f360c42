"""The rows of a price change over the API, and those that it has not moved: as pages and sheets."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from price_changes import sheets
from price_changes.models import PriceChange
from price_changes.serializers import RowPageSerializer, SkipPageSerializer, SkipSerializer
from price_changes.showing.rows import rows_of
from pricebook.kit.errors import BadParameter
from pricebook.kit.scopes import VIEW_CHANGE, VIEW_SUBSCRIPTION
from services import parsing
from services.models import Skip
from services.parsing import BadValue
from services.reading import parameters
from services.reading.ordering import Cursor
from services.transfer.sheets import answering
from services.views import paging
from services.views.openapi import CURSOR, ERRORS, LINK, PAGE_SIZE, PATH_ID, errors
from services.views.paging import cursor_of, link, links

UNKNOWN = errors({404: _("There is no such price change.")})
REASONS = [reason.value for reason in Skip.Reason]
known_id = partial(paging.known_id, kind="price change")


class RowViews(answering.Sheets):
    """The actions `rows` and `skips` of a view of price changes."""

    sheet_actions = ("rows", "skips", "notices")
    # They show subscriptions and what each pays.
    needs_to_look = dict.fromkeys(("rows", "skips"), ((VIEW_CHANGE,), (VIEW_SUBSCRIPTION,)))

    @extend_schema(
        parameters=[
            PATH_ID,
            OpenApiParameter(
                "reason",
                {"type": "string", "enum": ["moves", *REASONS]},
                description="Only rows that move, or rows that stay for this reason.",
            ),
            CURSOR,
            PAGE_SIZE,
            LINK,
            *answering.PARAMETERS,
        ],
        responses={**answering.responses(RowPageSerializer), **ERRORS, **UNKNOWN},
    )
    @action(detail=True)
    def rows(self, request: Request, pk: str) -> Response | StreamingHttpResponse:
        """The price that a change would give each subscription, by the book as it is now.

        Once it has begun: the rows that it has moved, those still on the list of a set, and those
        that were skipped or failed one by one; `outcome` counts the others.
        """
        query = request.query_params
        as_sheet = answering.refuse_unknown(request, ["reason"], parameters.PAGING)
        reason = reason_of(query, ["moves", *REASONS])
        if as_sheet:
            said = answering.filters_of(query)
            return answering.answer(request, sheets.rows(change_of(pk), reason, said))
        after, size = after_of(query), parameters.page_size(query)
        change = change_of(pk)
        found = rows_of(change, after, size + 1, reason)
        more = Cursor(found[size - 1].subscription) if len(found) > size else None
        next = link(request, more)
        return Response(
            {"result": found[:size], "currency": settings.CURRENCY, "next": next},
            headers=links(next),
        )

    @extend_schema(
        parameters=[
            PATH_ID,
            OpenApiParameter("reason", {"type": "string", "enum": REASONS}),
            CURSOR,
            PAGE_SIZE,
            LINK,
            *answering.PARAMETERS,
        ],
        responses={**answering.responses(SkipPageSerializer), **ERRORS, **UNKNOWN},
    )
    @action(detail=True)
    def skips(self, request: Request, pk: str) -> Response | StreamingHttpResponse:
        """The subscriptions that a change has looked at and not moved, and why."""
        query = request.query_params
        as_sheet = answering.refuse_unknown(request, ["reason"], parameters.PAGING)
        reason = reason_of(query, REASONS)
        change = change_of(pk)
        skips = Skip.objects.filter(repricing__change_id=change.pk).order_by("pk")
        if reason is not None:
            skips = skips.filter(reason=reason)
        if as_sheet:
            said = answering.filters_of(query)
            return answering.answer(request, sheets.skips(change, skips, said))
        after, size = after_of(query), parameters.page_size(query)
        found = list(skips.filter(pk__gt=after)[: size + 1])
        more = Cursor(found[size - 1].pk) if len(found) > size else None
        next = link(request, more)
        return Response(
            {"result": SkipSerializer(found[:size], many=True).data, "next": next},
            headers=links(next),
        )


def change_of(pk: str) -> PriceChange:
    change = PriceChange.objects.select_related("reverts").filter(pk=known_id(pk)).first()
    if change is None:
        raise NotFound(_("There is no price change %(pk)s.") % {"pk": pk})
    return change


def reason_of(query: Any, words: list[str]) -> str | None:
    value = parameters.value_of(query, "reason")
    if value is None:
        return None
    try:
        return parsing.word("reason", value, words)
    except BadValue as error:
        raise parameters.bad_parameter(error) from None


def after_of(query: Any) -> int:
    cursor = cursor_of(query)
    if cursor is None:
        return 0
    if cursor.backward:
        raise BadParameter("cursor", str(cursor), _("This list is read forward: take next."))
    return cursor.id
