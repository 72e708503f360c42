"""Pages of a list that leads both ways, the newest first or in the order of its numbers."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

from django.db.models import QuerySet

from services.reading.ordering import LIST_KEY_LENGTH, Cursor

T = TypeVar("T")
NO_LIST = bytes(LIST_KEY_LENGTH)
# A page, with the cursors of the next one and the previous one.
Page = tuple[list[T], Cursor | None, Cursor | None]


def newest_first(
    rows: QuerySet[Any],
    cursor: Cursor | None,
    size: int,
    list_key: bytes = NO_LIST,
    number: str = "pk",
) -> Page[Any]:
    """A page of rows by their numbers, the greatest first. One query."""
    backward = cursor is not None and cursor.backward
    if cursor is not None:
        rows = rows.filter(**{f"{number}__{'gt' if backward else 'lt'}": cursor.id})
    found = list(rows.order_by(number if backward else f"-{number}")[: size + 1])
    return page_of(found, cursor, size, list_key, attrgetter(number))


def page_of(
    found: list[T],
    cursor: Cursor | None,
    size: int,
    list_key: bytes,
    number: Callable[[T], int],
) -> Page[T]:
    """The page of rows that were read from a cursor on, in its direction: one more than its size
    says that there are more."""
    backward = cursor is not None and cursor.backward
    more, page = len(found) > size, found[:size]
    if backward:
        page.reverse()
    if not page:
        return [], None, None
    next = Cursor(number(page[-1]), list_key=list_key) if more or backward else None
    has_previous = more if backward else cursor is not None
    previous = Cursor(number(page[0]), True, list_key=list_key) if has_previous else None
    return page, next, previous
