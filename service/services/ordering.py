"""In which order a list goes, and places in it from which to read on."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import Any, Self

import msgspec

from services import values
from services.filters import BookFilter

OF_LENGTH, CHECK_LENGTH = 6, 3
# A name of 100 characters, of 4 bytes each, beside the rest.
LONGEST_CURSOR = 600


@dataclass(frozen=True)
class Ordering:
    """An order of subscriptions. Ties are broken by the id, in the same direction."""

    name: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.name}" if self.descending else self.name

    @property
    def by_id(self) -> bool:
        return self.name == "id"

    def value_of(self, row: dict[str, Any]) -> str:
        """What places a row in this order, beside its id, as a cursor has it."""
        if self.by_id:
            return ""
        value = row[self.name]
        return value.isoformat() if isinstance(value, datetime) else str(value)

    def check(self, value: str) -> None:
        """Raise ValueError for what is no row's value in this order."""
        PARSE[self.name]("cursor", value)


PARSE: dict[str, Callable[[str, Any], Any]] = {
    "id": partial(values.text, length=0),
    "price": values.money,
    "client_name": partial(values.text, length=100),
    "started_at": values.instant,
}
BY_ID = Ordering("id")
ORDERINGS = {
    str(ordering): ordering
    for name in PARSE
    for ordering in (Ordering(name), Ordering(name, descending=True))
}


@dataclass(frozen=True)
class Cursor:
    """A place beside a row, and the way to read on from there.

    `value` is the row's in the list's order (empty in that of the ids), `of` tells the list that
    gave it out. Written in letters that need no quoting in a URL, with a check, so that what is
    not a cursor of ours is known for it. It is no secret.
    """

    id: int
    backward: bool = False
    value: str = ""
    of: bytes = bytes(OF_LENGTH)

    def __str__(self) -> str:
        place = struct.pack(">?q", self.backward, self.id) + self.of + self.value.encode()
        return base64.urlsafe_b64encode(place + self._check(place)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what no page has given out."""
        if len(text) > LONGEST_CURSOR or not text.isascii():
            raise ValueError("a cursor is shorter, and of plain letters")
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        place, check = content[:-CHECK_LENGTH], content[-CHECK_LENGTH:]
        if len(place) < 9 + OF_LENGTH or check != cls._check(place):
            raise ValueError("the check does not fit")
        backward, id = struct.unpack(">?q", place[:9])
        cursor = cls(id, backward, place[9 + OF_LENGTH :].decode(), place[9 : 9 + OF_LENGTH])
        if str(cursor) != text:
            raise ValueError("the check does not fit: these letters are another cursor's")
        return cursor

    @staticmethod
    def _check(place: bytes) -> bytes:
        return blake2b(place, digest_size=CHECK_LENGTH, person=b"cursor").digest()


def list_of(*what: object) -> bytes:
    """The mark of a list, which its cursors carry: `what` tells it from others."""
    told = [str(each) if isinstance(each, Ordering) else each for each in what]
    return blake2b(msgspec.json.encode(told), digest_size=OF_LENGTH, person=b"list").digest()


def marked(book_filter: BookFilter, ordering: Ordering, as_of: datetime | None = None) -> bytes:
    return list_of("subscriptions", book_filter.kept(), ordering, as_of)
