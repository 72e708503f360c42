"""Query strings: filters, the size of a page, instants. Repeated or unknown names are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from pricebook.kit import decimals
from pricebook.kit.errors import BadParameter
from services import parsing
from services.bounds import FIRST_DAY, LAST_DAY
from services.parsing import BadValue
from services.reading.filters import FILTERS, BookFilter, refuse_id_without_source

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
PAGING = ["cursor", "page_size"]


def book_filter(query: QueryDict) -> BookFilter:
    """The filter that a query string describes; raises BadParameter."""
    given = {name: value for name in FILTERS if (value := value_of(query, name)) is not None}
    try:
        return BookFilter.of(given)
    except BadValue as error:
        raise bad_parameter(error) from None


def values_of(query: QueryDict, names: Iterable[str]) -> dict[str, Any]:
    """The values of some filters that a query string gives; raises BadParameter."""
    given = {name: value for name in names if (value := value_of(query, name)) is not None}
    try:
        parsed = {name: FILTERS[name].kind.parse(name, value) for name, value in given.items()}
        refuse_id_without_source(parsed)
        return parsed
    except BadValue as error:
        raise bad_parameter(error) from None


# The API's codes for these errors; every other value that can't be used is a bad_parameter.
CODES = {
    "source_missing": "source_missing",
    "not_an_instant": "bad_instant",
    "time_zone_missing": "instant_without_zone",
}


def bad_parameter(error: BadValue) -> BadParameter:
    about = error.about
    return BadParameter(
        about["parameter"],
        about["value"],
        error.detail,
        CODES.get(error.code, "bad_parameter"),
        about.get("allowed"),
    )


def page_size(query: QueryDict, name: str = "page_size") -> int:
    """The size of a page that a request wants; raises BadParameter."""
    return size_up_to(MAX_PAGE_SIZE, query, name) or DEFAULT_PAGE_SIZE


def size_up_to(most: int, query: QueryDict, name: str) -> int | None:
    """A number of rows that a request gives, or None; raises BadParameter."""
    value = value_of(query, name)
    if value is None:
        return None
    size = whole_number(value)
    if size is None or not 1 <= size <= most:
        raise BadParameter(
            name,
            value,
            _("%(name)s is a whole number from 1 to %(most)s.") % {"name": name, "most": most},
        )
    return size


def instant(query: QueryDict, name: str) -> datetime | None:
    """An instant of the years 1900 to 9999, as ISO 8601 with a time zone; raises BadParameter."""
    value = value_of(query, name)
    if value is None:
        return None
    try:
        found = parsing.unbounded_instant(name, value)
    except BadValue as error:
        raise bad_parameter(error) from None
    if found < FIRST_DAY:
        raise BadParameter(
            name, value, _("%(name)s lies before 1900.") % {"name": name}, "instant_too_early"
        )
    if found > LAST_DAY:
        raise BadParameter(
            name,
            value,
            _("%(name)s lies after the year 9999.") % {"name": name},
            "instant_too_late",
        )
    return found


def refuse_unknown(query: QueryDict, known: list[str]) -> None:
    """Raise BadParameter for an unknown name: a misspelt filter would give a list of everything."""
    known = [*known, "format", decimals.NAME]
    value_of(query, "format")  # if there were two, one would be ignored silently
    for name in query:
        if name not in known:
            raise BadParameter(
                name,
                str(query[name]),
                _("There is no parameter %(name)s; there are %(known)s.")
                % {"name": repr(name[:100]), "known": ", ".join(known)},
                code="unknown_parameter",
                allowed=known,
            )


def value_of(query: QueryDict, name: str) -> str | None:
    """The value of a parameter that may be given once; None if it is not given."""
    given = query.getlist(name)
    if not given:
        return None
    if len(given) > 1:
        raise BadParameter(
            name,
            ", ".join(given),
            _("%(name)s is given %(given)s times; give it once.")
            % {"name": name, "given": len(given)},
            code="repeated_parameter",
        )
    if "\0" in given[0]:
        raise BadParameter(
            name, given[0], _("%(name)s has a NUL in it; leave it out.") % {"name": name}
        )
    return given[0]


def whole_number(text: str) -> int | None:
    """`int()` also accepts other alphabets' digits, blanks, underscores, and may take minutes."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else None
