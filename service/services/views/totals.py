"""Totals by service, plan and plan type over the API."""

from django.conf import settings
from django.http import QueryDict, StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pricebook.kit.errors import BadParameter
from pricebook.kit.figures import grouped
from pricebook.kit.replica import from_replica
from pricebook.kit.scopes import VIEW_SUBSCRIPTION, VIEW_TOTALS
from services.reading import access_paths, filters, parameters, totals_by
from services.reading.access_paths import NotServed
from services.reading.filters import BookFilter
from services.reading.version import Unchanged
from services.transfer.sheets import answering
from services.views import sheets
from services.views.etags import answer_to, seen_by, validator
from services.views.openapi import ERRORS, FILTER_PARAMETERS, UNCHANGED
from services.views.shapes_of_totals import TotalsSerializer

BY_PATTERN = "^(service|plan|plan_type)(,(service|plan|plan_type))*$"


class TotalsView(answering.Sheets, APIView):
    """Totals of what subscriptions pay."""

    needs = {"get": ((VIEW_TOTALS, VIEW_SUBSCRIPTION),)}

    @extend_schema(
        operation_id="totals",
        parameters=[
            OpenApiParameter(
                "by",
                {"type": "string", "pattern": BY_PATTERN},
                description="The grouping, with commas: service, plan, plan_type.",
            ),
            *FILTER_PARAMETERS,
            *answering.PARAMETERS,
        ],
        responses={
            **answering.responses(TotalsSerializer),
            304: UNCHANGED,
            **ERRORS,
        },
    )
    @from_replica
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        """Totals by service, plan and plan type, and of all together, in one snapshot.

        With filters by service, plan and plan type alone it costs the same at any size of the book.
        """
        query = request.query_params
        as_sheet = answering.refuse_unknown(request, [*filters.FILTERS, "by"])
        wanted, by = parameters.book_filter(query), groups_of(query)
        to = answer_to(request)
        try:
            if as_sheet:
                said = answering.filters_of(query)
                return answering.answer(request, sheets.totals(wanted, by, said))
            rows, together, version = totals_by.totals(wanted, by, seen_by(request, to))
        except Unchanged as error:
            return Response(status=304, headers=validator(error.version, to))
        except NotServed as error:
            raise too_much_summed(error, wanted) from error
        except totals_by.TooManyGroups as error:
            raise BadParameter(
                "by",
                ",".join(by),
                _(
                    "These are more than %(most_groups)s groups; filter by service, plan or"
                    " plan_type, or group by less."
                )
                % {"most_groups": grouped(totals_by.MOST_GROUPS)},
                "too_many_groups",
            ) from error
        return Response(
            {
                "result": rows if by else [],
                "total_amount": together.amount,
                "count": together.subscriptions,
                "currency": settings.CURRENCY,
            },
            headers=validator(version, to),
        )


def groups_of(query: QueryDict) -> list[str]:
    value = parameters.value_of(query, "by")
    if value is None:
        return []
    by, allowed = value.split(","), list(totals_by.GROUPS)
    if len(set(by)) != len(by) or not set(by) <= set(allowed):
        raise BadParameter(
            "by",
            value,
            _("by is one or more of %(allowed)s, each once, with commas between.")
            % {"allowed": ", ".join(allowed)},
            allowed=allowed,
        )
    return by


def too_much_summed(error: NotServed, wanted: BookFilter) -> BadParameter:
    """The error, with the filter that is too much: never one that an index or subtotal serves."""
    given = [
        name for name in wanted.given if name not in access_paths.CATALOGUE | access_paths.INDEXED
    ]
    name = next((name for name in ("q", "pending") if name in given), given[0])
    return BadParameter(name, str(wanted.given[name]), str(error), "not_served_at_size")
