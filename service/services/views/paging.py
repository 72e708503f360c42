"""Pages: the cursor, the order and the id of a request, and the links of an answer."""

from collections.abc import Mapping

from django.http import QueryDict
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from pricebook.kit.errors import BadParameter
from services.parsing import MAX_BIGINT
from services.reading import parameters
from services.reading.access_paths import NotServed
from services.reading.ordering import BY_ID, ORDERINGS, Cursor, Ordering


def link(request: Request, cursor: Cursor | None) -> str | None:
    """This request's address with another cursor."""
    return None if cursor is None else address_with(request, "cursor", str(cursor))


def address_with(request: Request, name: str, value: str) -> str:
    """This request's address with another value of a parameter."""
    query: QueryDict = request.query_params.copy()
    query[name] = value
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def links(next: str | None, previous: str | None = None) -> dict[str, str]:
    """The header `Link` (RFC 8288) of a page: the addresses of the next and the previous one."""
    found = {"next": next, "prev": previous}
    parts = [f'<{address}>; rel="{rel}"' for rel, address in found.items() if address]
    return {"Link": ", ".join(parts)} if parts else {}


def ordering_of(query: QueryDict, orderings: Mapping[str, Ordering] = ORDERINGS) -> Ordering:
    value = parameters.value_of(query, "ordering")
    if value is None:
        return BY_ID
    if value not in orderings:
        allowed = list(orderings)
        raise BadParameter(
            "ordering",
            value,
            _("ordering may be %(allowed)s.") % {"allowed": ", ".join(allowed)},
            allowed=allowed,
        )
    return orderings[value]


def not_served(error: NotServed) -> BadParameter:
    return BadParameter(
        "ordering", str(error.ordering), str(error), "not_served_at_size", list(ORDERINGS)
    )


def known_id(pk: str, kind: str = "subscription") -> int:
    id = parameters.whole_number(pk)
    if id is None or id > MAX_BIGINT:
        raise NotFound(_("There is no %(kind)s %(pk)s.") % {"kind": _(kind), "pk": pk[:100]})
    return id


def cursor_of(
    query: QueryDict, key: bytes = Cursor.list_key, ordering: Ordering = BY_ID
) -> Cursor | None:
    """The cursor of a request; BadParameter if it is not one of this very list."""
    value = parameters.value_of(query, "cursor")
    if value is None:
        return None
    try:
        cursor = Cursor.parse(value)
    except ValueError as error:
        raise BadParameter(
            "cursor",
            value,
            _("This is no cursor; take one from next or previous, or leave it out."),
        ) from error
    try:
        if cursor.list_key != key:
            raise ValueError(_("another list gave it out"))
        ordering.check(cursor.value)
    except ValueError as error:
        raise BadParameter(
            "cursor",
            value,
            _(
                "This cursor is of a list with other filters or in another order; take one"
                " from next or previous of this one, or leave it out."
            ),
            code="cursor_of_another_list",
        ) from error
    return cursor
