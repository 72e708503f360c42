"""Which subscriptions a caller means: the query parameters of the list, checked."""

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from django.http import QueryDict

from pricebook.api import BadParameter
from services.models import FIRST_DAY

MAX_BIGINT = 2**63 - 1
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, kw_only=True)
class BookFilter:
    """A set of subscriptions: those for which every value that is given holds.

    Ids that do not exist match nothing, as any other value that no subscription has.
    """

    service: int | None = None
    plan: int | None = None
    client: int | None = None
    source: str | None = None
    external_id: str | None = None
    comment: str | None = None
    comment_prefix: str | None = None

    @property
    def by_catalogue(self) -> bool:
        """Whether it cuts along (service, plan), of which the totals are kept."""
        return self.lookups().keys() <= {"service", "plan"}

    def lookups(self) -> dict[str, Any]:
        """Keyword arguments for `QuerySet.filter()`."""
        given = {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        if "comment_prefix" in given:
            given["comment__startswith"] = given.pop("comment_prefix")
        return given


FILTERS = [field.name for field in fields(BookFilter)]
PAGING = ["cursor", "page_size"]


def book_filter(query: QueryDict) -> BookFilter:
    """The filter that a query string describes; raises BadParameter."""
    source, external_id = value_of(query, "source"), value_of(query, "external_id")
    if external_id is not None and source is None:
        raise BadParameter(
            "external_id",
            external_id,
            "external_id is unique within a source: give source too.",
            code="source_missing",
        )
    return BookFilter(
        service=id_of(query, "service"),
        plan=id_of(query, "plan"),
        client=id_of(query, "client"),
        source=source,
        external_id=external_id,
        comment=value_of(query, "comment"),
        # Every comment begins with nothing.
        comment_prefix=value_of(query, "comment_prefix") or None,
    )


def page_size(query: QueryDict, name: str = "page_size") -> int:
    value = value_of(query, name)
    if value is None:
        return DEFAULT_PAGE_SIZE
    size = whole_number(value)
    if size is None or not 1 <= size <= MAX_PAGE_SIZE:
        raise BadParameter(name, value, f"{name} is a whole number from 1 to {MAX_PAGE_SIZE}.")
    return size


INSTANT = re.compile(
    r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)"
    # A + that was not quoted in the address has become a blank.
    r"(?P<zone>[Zz]|[+ -][0-9]{2}:[0-9]{2})?"
)


def past_instant(query: QueryDict, name: str) -> datetime | None:
    """An instant from 1900 up to now, as ISO 8601 with a time zone; raises BadParameter."""
    value = value_of(query, name)
    if value is None:
        return None
    match = INSTANT.fullmatch(value)
    if match is None:
        raise BadParameter(
            name, value, f"{name} is a time in ISO 8601, as 2026-01-31T12:00:00Z.", "bad_instant"
        )
    if match["zone"] is None:
        raise BadParameter(
            name,
            value,
            f"{name} has no time zone: add Z or an offset, as in 2026-01-31T12:00:00+02:00"
            " (in an address a + is written %2B).",
            "instant_without_zone",
        )
    zone = match["zone"].upper().replace(" ", "+")
    try:
        instant = datetime.fromisoformat(match["time"].upper() + zone)
    except ValueError:
        raise BadParameter(
            name, value, f"{name} is no time that there is.", "bad_instant"
        ) from None
    if instant < FIRST_DAY:
        raise BadParameter(name, value, f"{name} lies before 1900.", "instant_too_early")
    if instant > datetime.now(UTC):
        raise BadParameter(
            name, value, f"{name} lies in the future, and nobody knows that.", "instant_in_future"
        )
    return instant


def refuse_unknown(query: QueryDict, known: list[str]) -> None:
    """A misspelt filter would be a list of everything: raise BadParameter for it."""
    known = [*known, "format"]
    for name in query:
        if name not in known:
            raise BadParameter(
                name,
                str(query[name]),
                f"There is no parameter {name[:100]!r}; there are {', '.join(known)}.",
                code="unknown_parameter",
                allowed=known,
            )


def id_of(query: QueryDict, name: str) -> int | None:
    value = value_of(query, name)
    if value is None:
        return None
    id = whole_number(value)
    if id is None or not 0 < id <= MAX_BIGINT:
        raise BadParameter(name, value, f"{name} is an id: a whole number from 1 to {MAX_BIGINT}.")
    return id


def value_of(query: QueryDict, name: str) -> str | None:
    """The value of a parameter that may be given once."""
    values = query.getlist(name)
    if not values:
        return None
    if len(values) > 1:
        raise BadParameter(
            name,
            ", ".join(values),
            f"{name} is given {len(values)} times; give it once.",
            code="repeated_parameter",
        )
    if "\0" in values[0]:
        raise BadParameter(name, values[0], f"{name} has a NUL in it; leave it out.")
    return values[0]


def whole_number(text: str) -> int | None:
    """`int()` also takes other alphabets' digits, blanks, underscores, and minutes of time."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else None
