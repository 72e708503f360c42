"""Clients, services and plans with what their subscriptions pay, and totals by them.

Each has the number and the total of its subscriptions that pay: those that have begun, and have not
ended.

Each answer is one statement. Figures by service and plan are added up from the subtotals, of which
there are a few for each (service, plan), so it costs the same however many subscriptions there are;
a page of clients reads the subscriptions of these clients, by the foreign key.

Each page also has the total of all that match, from the snapshot of the rows:

- **services, plans**: all of them are read, so they can be put in any order;
- **clients that a filter finds**, up to `SEARCH_NAMES`: likewise, with their subscriptions;
- **all clients**: walked along an index, a page at a time. Their total is that of the book, which
  the subtotals know. Their number, a count of 200,000 rows, is in the cache with the version
  of the names for which it holds, as a total is (`total.py`): the statement counts them only if a
  client or a name was written since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection

from services.reading import access_paths, total
from services.reading.breakdown_sql import (
    NOT_COUNTED,
    Counted,
    one_statement,
    some_statement,
    statement,
)
from services.reading.ordering import BY_ID, Cursor, Ordering, list_key, orderings, paged
from services.reading.total import Total
from services.reading.version import Seen, version_of

Row = dict[str, Any]
# The filters of each list. They mean the same in the list of subscriptions, where `source` and
# `external_id` are those of the subscription.
OF_ID = ("source", "external_id")
FILTERS = {
    "client": ("q", "email", *OF_ID),
    "service": ("q", *OF_ID),
    "plan": ("plan_type", *OF_ID),
}
# The orders of each list. No index has the clients in the order of their counts and totals.
ORDERINGS = {
    "client": orderings("id", "company_name", "email"),
    "service": orderings("id", "name", "full_price", "count", "total_amount"),
    "plan": orderings("id", "plan_type", "discount_percent", "count", "total_amount"),
}


class TooManyFound(Exception):
    """A search found more than `SEARCH_NAMES` names."""


@dataclass(frozen=True)
class Page:
    result: list[Row]
    count: int  # of all that match, not of this page
    total: Total  # of all their subscriptions that pay
    next: Cursor | None
    previous: Cursor | None
    version: str | None  # of the book that it shows; None if no other reader will ever see it


def key_of_records(kind: str, given: Mapping[str, str], ordering: Ordering) -> bytes:
    return list_key(kind, given, ordering)


def page(
    kind: str,
    given: Mapping[str, str],
    cursor: Cursor | None,
    size: int,
    ordering: Ordering = BY_ID,
    seen: Seen | None = None,
) -> Page:
    """Up to `size` clients, services or plans in their order, with what each of them pays.

    Also how many match, and their total. `given`: values of the filters of the kind; `ordering`:
    one of the kind. One query. Unchanged where the caller has `seen` this very book; TooManyFound
    if a search leads to more names than it may compare.
    """
    walked = kind == "client" and not given
    counted = _cached() if walked else NOT_COUNTED
    rows, names = rows_and_columns(*statement(kind, given, cursor, size, ordering, seen, counted))
    version = version_of(*rows[0][:3])
    found, count, subscriptions, amount, version_of_names = rows[0][3:8]
    if found > access_paths.SEARCH_NAMES:
        raise TooManyFound
    if count is None:
        count = counted.count
    elif walked and version is not None and version_of_names is not None:
        _remember(Counted(version_of_names, count))
    each = [named_row(names[8:], row[8:]) for row in rows if row[8] is not None]
    key = key_of_records(kind, given, ordering)
    result, following, previous = paged(each, cursor, size, ordering, key)
    return Page(result, count, Total(amount, subscriptions), following, previous, version)


def _cached() -> Counted:
    """The count that the cache has; the database decides whether it is of this book. No query."""
    return Counted(**cache.get(_key(), {"version": "", "count": 0}))


def _remember(counted: Counted) -> None:
    cache.set(_key(), {"version": counted.version, "count": counted.count}, total.TIMEOUT)


def _key() -> str:
    return f"{settings.PRICE_CACHE_NAME}:clients"


def one(kind: str, id: int, seen: Seen | None = None) -> tuple[Row | None, str | None]:
    """A client, service or plan as `page` has it, and the version of the book. One query."""
    (row,), names = rows_and_columns(*one_statement(kind, id, seen))
    version = version_of(*row[:3])
    return None if row[3] is None else named_row(names[3:], row[3:]), version


def some(kind: str, ids: Sequence[int]) -> list[Row]:
    """These clients, services or plans as `page` has them, in this order. One query."""
    rows, names = rows_and_columns(*some_statement(kind, ids))
    found = {row[0]: named_row(names, row) for row in rows}
    return [found[id] for id in ids if id in found]


def rows_and_columns(sql: str, params: tuple[Any, ...]) -> tuple[list[tuple[Any, ...]], list[str]]:
    """The rows, and the names of their columns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall(), [column.name for column in cursor.description]


def named_row(names: list[str], values: tuple[Any, ...]) -> Row:
    return dict(zip(names, values, strict=True))
