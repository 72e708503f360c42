"""The orders of lists, and cursors: positions in a list from which to read on."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import Any, Self

import msgspec

from services import parsing
from services.parsing import MAX_BIGINT
from services.reading.filters import BookFilter

LIST_KEY_LENGTH, CHECK_LENGTH = 6, 3
# Enough for a name of 100 characters of 4 bytes each, and the rest.
LONGEST_CURSOR = 600


@dataclass(frozen=True)
class Ordering:
    """An order of a list. Ties are broken by the id, in the same direction."""

    name: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.name}" if self.descending else self.name

    @property
    def by_id(self) -> bool:
        return self.name == "id"

    def value_of(self, row: dict[str, Any]) -> str:
        """The value that places a row in this order, besides its id, as text for a cursor."""
        if self.by_id:
            return ""
        value = row[self.name]
        return value.isoformat() if isinstance(value, datetime) else str(value)

    def check(self, value: str) -> None:
        """ValueError for a text that can't be a row's value in this order."""
        PARSE[self.name]("cursor", value)


def _digits(pattern: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: str) -> None:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{name} has no such number in it")

    return check


# By the name of an order: the check that a text is a row's value in it, as the database takes it.
PARSE: dict[str, Callable[[str, Any], Any]] = {
    "id": partial(parsing.text, length=0),
    "price": parsing.money,
    "client_name": partial(parsing.text, length=100),
    "started_at": parsing.instant,
    "company_name": partial(parsing.text, length=100),
    "email": partial(parsing.text, length=254),
    "name": partial(parsing.text, length=50),
    "full_price": parsing.money,
    "plan_type": partial(parsing.text, length=10),
    "discount_percent": _digits("[0-9]{1,3}"),
    "count": _digits("[0-9]{1,18}"),
    "total_amount": _digits(r"[0-9]{1,30}(\.[0-9]{1,2})?"),
}
BY_ID = Ordering("id")


# The column that gives an ordering's value; `id` needs none.
COLUMN = {"price": "price", "client_name": "company_name", "started_at": "started_at"}


def order_by(names: list[str], descending: bool) -> str:
    return ", ".join(f"{name} DESC" if descending else name for name in names)


def orderings(*names: str) -> dict[str, Ordering]:
    """The orders of these names, in both directions, by their names in a request."""
    both = [Ordering(name, descending) for name in names for descending in (False, True)]
    return {str(ordering): ordering for ordering in both}


ORDERINGS = orderings("id", "price", "client_name", "started_at")


@dataclass(frozen=True)
class Cursor:
    """A position next to a row, and the direction in which to read on from there.

    `value` is the row's value in the list's order (empty in the order of ids), `list_key` stands
    for the list that gave it out. It is written in letters that need no quoting in a URL, with a
    check, so that a text which is no cursor is recognised. It is not secret.
    """

    id: int
    backward: bool = False
    value: str = ""
    list_key: bytes = bytes(LIST_KEY_LENGTH)

    def __str__(self) -> str:
        content = struct.pack(">?q", self.backward, self.id) + self.list_key + self.value.encode()
        return base64.urlsafe_b64encode(content + self._check(content)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor from its text. ValueError for a text that no page has given out."""
        if len(text) > LONGEST_CURSOR or not text.isascii():
            raise ValueError("a cursor is shorter, and of plain letters")
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        said, check = content[:-CHECK_LENGTH], content[-CHECK_LENGTH:]
        if len(said) < 9 + LIST_KEY_LENGTH or check != cls._check(said):
            raise ValueError("the check does not fit")
        backward, id = struct.unpack(">?q", said[:9])
        key, value = said[9 : 9 + LIST_KEY_LENGTH], said[9 + LIST_KEY_LENGTH :].decode()
        cursor = cls(id, backward, value, key)
        if str(cursor) != text:
            raise ValueError("the check does not fit: these letters are another cursor's")
        return cursor

    @staticmethod
    def _check(said: bytes) -> bytes:
        return blake2b(said, digest_size=CHECK_LENGTH, person=b"cursor").digest()


def list_key(*what: object) -> bytes:
    """The key of a list, which its cursors carry: `what` distinguishes it from others."""
    told = [str(each) if isinstance(each, Ordering) else each for each in what]
    return blake2b(msgspec.json.encode(told), digest_size=LIST_KEY_LENGTH, person=b"list").digest()


def key_of_subscriptions(
    book_filter: BookFilter,
    ordering: Ordering,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> bytes:
    known = () if known_at is None else (known_at,)
    return list_key("subscriptions", book_filter.as_json(), ordering, as_of, *known)


def paged(
    rows: list[dict[str, Any]],
    cursor: Cursor | None,
    size: int,
    ordering: Ordering,
    key: bytes,
) -> tuple[list[dict[str, Any]], Cursor | None, Cursor | None]:
    """A page of a list, and the cursors of the next and the previous one (None: there is none).

    `rows` were read from the cursor on, in the list's order: one more than `size` if there is a
    page behind this one.
    """
    backward = cursor is not None and cursor.backward
    more = len(rows) > size
    if backward:
        rows = rows[-size:]
        before, after = more, True
    else:
        rows = rows[:size]
        before, after = cursor is not None, more
    if rows:
        first, last = (
            Cursor(row["id"], value=ordering.value_of(row)) for row in (rows[0], rows[-1])
        )
    else:  # beyond an end of the list: the rows of when the link was made are no more there
        step = -1 if ordering.descending else 1
        asked = cursor or Cursor(0)
        first = replace(asked, id=min(max(asked.id + step, 0), MAX_BIGINT))
        last = replace(asked, id=min(max(asked.id - step, 0), MAX_BIGINT))
    return (
        rows,
        replace(last, backward=False, list_key=key) if after else None,
        replace(first, backward=True, list_key=key) if before else None,
    )
