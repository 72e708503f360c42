"""The list that an address asks for: its filters, its order, its place; and other addresses of it.

The names are those of the API. Forms send every field, so an empty value is none; an amount is read
as people write it, and a day is its midnight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from django.utils import timezone

from pricebook.kit.amount_field import BadAmount, parse_amount
from pricebook.kit.currency import minor_unit
from pricebook.kit.errors import BadParameter
from services import parsing
from services.parsing import BadValue
from services.reading import parameters
from services.reading.filter_kinds import Input
from services.reading.filters import FILTERS, refuse_id_without_source
from services.reading.ordering import Cursor, Ordering
from services.views.paging import cursor_of

SIZES = (25, 50, 100)
DEFAULT_SIZE = 50
DAYS = (
    (re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})"), (1, 2, 3)),
    (re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})"), (3, 2, 1)),
)


@dataclass(frozen=True)
class Asked:
    """A page of a list, as its address asks for it.

    `texts`: the filters as an address has them; `values`: the same, parsed.
    """

    path: str
    ordering: Ordering
    usual: Ordering
    texts: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    size: int = DEFAULT_SIZE
    cursor: Cursor | None = None

    def address(self, **changes: str | None) -> str:
        """The address of this list with other values (None: without one), from its beginning."""
        query: dict[str, str | None] = {**self.texts}
        if self.ordering != self.usual:
            query["ordering"] = str(self.ordering)
        if self.size != DEFAULT_SIZE:
            query["page_size"] = str(self.size)
        query |= changes
        given = {name: value for name, value in query.items() if value is not None}
        return f"{self.path}?{urlencode(given)}" if given else self.path

    @property
    def here(self) -> str:
        """The address of this very page."""
        return self.address(cursor=None if self.cursor is None else str(self.cursor))

    def at(self, cursor: Cursor | None) -> str:
        """The address of the page at a cursor; empty without one."""
        return "" if cursor is None else self.address(cursor=str(cursor))


def asked(
    request: HttpRequest,
    names: Sequence[str],
    orderings: Mapping[str, Ordering],
    usual: Ordering,
    key_of: Callable[[dict[str, Any], Ordering], bytes],
) -> Asked:
    """The list that a request asks for. BadParameter names the value that can't be used."""
    query = without_empty(request.GET)
    parameters.refuse_unknown(query, [*names, "ordering", *parameters.PAGING])
    texts = {
        name: value for name in names if (value := parameters.value_of(query, name)) is not None
    }
    values, written = {}, {}
    try:
        for name, text in texts.items():
            values[name] = value_of(name, text)
            written[name] = text_of(name, values[name])
        refuse_id_without_source(values)
    except BadValue as error:
        raise parameters.bad_parameter(error) from None
    found = Asked(request.path, _ordering(query, orderings) or usual, usual, written, values)
    size = parameters.size_up_to(max(SIZES), query, "page_size") or DEFAULT_SIZE
    cursor = cursor_of(query, key_of(values, found.ordering), found.ordering)
    return replace(found, size=size, cursor=cursor)


def has_empty(query: QueryDict) -> bool:
    """Whether a form has sent fields that nobody filled in: the list then has a shorter address."""
    return any(not value.strip() for _name, values in query.lists() for value in values)


def without_empty(query: QueryDict) -> QueryDict:
    left = QueryDict(mutable=True)
    for name, values in query.lists():
        if given := [value for value in values if value.strip()]:
            left.setlist(name, given)
    return left


def _ordering(query: QueryDict, orderings: Mapping[str, Ordering]) -> Ordering | None:
    value = parameters.value_of(query, "ordering")
    if value is None:
        return None
    if value not in orderings:
        allowed = list(orderings)
        raise BadParameter(
            "ordering", value, f"ordering may be {', '.join(allowed)}.", allowed=allowed
        )
    return orderings[value]


def value_of(name: str, text: str) -> Any:
    """The value of a filter as a person typed it. BadValue if it can't be used."""
    kind, text = FILTERS[name].kind, text.strip()
    if kind.input == Input.AMOUNT:
        try:
            return parsing.money(name, str(parse_amount(text, minor_unit())))
        except BadAmount as error:
            raise BadValue(error.code, str(error), name, text) from None
    if kind.input == Input.INSTANT and (day := _day(name, text)):
        return parsing.instant(
            name, timezone.make_aware(datetime.combine(day, datetime.min.time()))
        )
    return kind.parse(name, text)


def _day(name: str, text: str) -> date | None:
    for pattern, (year, month, day) in DAYS:
        if match := pattern.fullmatch(text):
            try:
                return date(int(match[year]), int(match[month]), int(match[day]))
            except ValueError:
                raise BadValue(
                    "not_an_instant", f"{name} is not a day that exists.", name, text
                ) from None
    return None


def text_of(name: str, value: Any) -> str:
    """The value of a filter as an address has it: an instant of midnight as its day."""
    if isinstance(value, datetime):
        local = timezone.localtime(value)
        is_midnight = local.time() == datetime.min.time()
        return local.date().isoformat() if is_midnight else value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
