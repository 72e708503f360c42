"""Parameters and errors that several endpoints share, as the API's schema describes them."""

from collections.abc import Mapping

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.serializers import Serializer

from pricebook.kit import problem
from pricebook.kit.errors import ErrorSerializer
from services.reading import filter_kinds, filters, parameters
from services.reading.ordering import ORDERINGS, Ordering

Responses = dict[tuple[int, str], OpenApiResponse]


def errors(of_status: Mapping[int, str], body: type[Serializer] = ErrorSerializer) -> Responses:
    """Errors as the schema describes them, by status."""
    return {
        (status, problem.MEDIA_TYPE): OpenApiResponse(body, description)
        for status, description in of_status.items()
    }


ERRORS = errors(
    {
        400: "A parameter can't be used; `detail` says how to fix it.",
        401: "No session and no API key, or one that is not valid.",
        403: "Not allowed; `missing` names the permission.",
        406: "No such content type.",
        429: "Too often; again after `Retry-After` seconds.",
        503: "The database does not answer, or not in time.",
    }
)
SIZE = {
    "type": "integer",
    "minimum": 1,
    "maximum": parameters.MAX_PAGE_SIZE,
    "default": parameters.DEFAULT_PAGE_SIZE,
}
PAGE_SIZE = OpenApiParameter("page_size", SIZE)
TOKEN = {"type": "string", "minLength": 1}
CURSOR = OpenApiParameter("cursor", TOKEN, description="As `next` or `previous` have it.")
LINK = OpenApiParameter(
    "Link",
    str,
    OpenApiParameter.HEADER,
    response=[200],
    description='The addresses of the pages beside this one: `rel="next"` and `rel="prev"`.',
)
PATH_ID = OpenApiParameter("id", filter_kinds.ID.schema, OpenApiParameter.PATH)
UNCHANGED = OpenApiResponse(description="The book is as it was when the ETag was given out.")
UNKNOWN = errors({404: "There is none with this id."})


def ordering_parameter(orderings: Mapping[str, Ordering]) -> OpenApiParameter:
    return OpenApiParameter(
        "ordering",
        {"type": "string", "enum": list(orderings), "default": "id"},
        description="The order; a minus reverses it. Ties are in the order of ids, likewise.",
    )


FILTER_PARAMETERS = [
    OpenApiParameter(name, each.kind.schema, description=each.help)
    for name, each in filters.FILTERS.items()
]
# The refusals of a request that changes something, besides `ERRORS`.
REFUSALS = errors(
    {
        409: "Not in this state; `allowed` has the possible ones.",
        413: "The body is too long.",
        415: "The body is not JSON.",
        422: "The Idempotency-Key was used for another request.",
    }
)

KNOWN_AT = OpenApiParameter(
    "known_at",
    filter_kinds.INSTANT.schema,
    description="Answer by what was recorded by this instant, ISO 8601 with a time zone: as would"
    " have been answered then, and ever since. Alone it asks what was paid then. An instant for"
    " which more may yet be recorded is refused.",
)
LIST_PARAMETERS = [
    *FILTER_PARAMETERS,
    OpenApiParameter(
        "as_of",
        filter_kinds.INSTANT.schema,
        description="The instant of the answer, ISO 8601 with a time zone: what is paid then, in"
        " the future by what is known now. Goes with service, plan and client as they are then, and"
        " with state, by starts and ends that are known now; without state the active ones are"
        " shown. Names, comment and dates are today's. `waiting_for` names changes of sets that are"
        " not in the figures.",
    ),
    KNOWN_AT,
    ordering_parameter(ORDERINGS),
    CURSOR,
    PAGE_SIZE,
    LINK,
]
