"""The feed: every entry once, in an order in which none can appear behind the reader."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from django.db import connection

from services.ledger.entries import COLUMNS, Entry


@dataclass(frozen=True)
class Place:
    """Behind an entry of the feed: where to read on.

    Written as 24 characters that need no quoting in a URL: transaction and id (16 bytes) and a
    check (2 bytes), so that what is no place of ours is known for it. It is no secret.
    """

    xact: int = 0
    id: int = 0

    def __str__(self) -> str:
        place = struct.pack(">qq", self.xact, self.id)
        return base64.urlsafe_b64encode(place + self._check(place)).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what no feed has given out."""
        if len(text) != 24 or not text.isascii():
            raise ValueError("a place has 24 characters")
        content = base64.b64decode(text, altchars=b"-_", validate=True)
        place, check = content[:16], content[16:]
        if check != cls._check(place):
            raise ValueError("the check does not fit")
        return cls(*struct.unpack(">qq", place))

    @staticmethod
    def _check(place: bytes) -> bytes:
        return blake2b(place, digest_size=2, person=b"feed").digest()


class PlaceAhead(ValueError):
    """A place beyond all that this server has written: it is of another one."""


@dataclass(frozen=True)
class Feed:
    entries: list[Entry]
    next: Place  # also where there is nothing new: poll from there


# A transaction below the snapshot's xmin has ended, and so has every one that came before it: no
# entry can appear any more before the last one shown. Ids alone don't promise that: they are
# taken before the commit, and of two transactions the one with the smaller ids may commit later.
FEED = """
SELECT server.next_xact, entry.*
  FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xact) server
  LEFT JOIN (
    SELECT xact, {columns}
      FROM services_ledgerentry
     WHERE (xact, id) > (%s, %s)
       AND xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
     ORDER BY xact, id LIMIT %s) entry ON true
 ORDER BY entry.xact, entry.id
"""


def feed(after: Place | None = None, limit: int = 100) -> Feed:
    """Up to `limit` entries behind a place (the ledger's beginning), each once and none left out.

    In the order of transactions, a subscription's in the order of its writing. An entry appears
    when every transaction that began writing before its own has ended, so an open one holds the
    feed up, in whichever database of the server. `PlaceAhead` for a place that this server has
    not come to. One query.
    """
    after = after or Place()
    with connection.cursor() as cursor:
        cursor.execute(FEED.format(columns=", ".join(COLUMNS)), [after.xact, after.id, limit])
        rows = cursor.fetchall()
    if after.xact >= rows[0][0]:
        raise PlaceAhead(f"transaction {after.xact} is not before {rows[0][0]}")
    found = [row[1:] for row in rows if row[1] is not None]
    return Feed(
        [dict(zip(COLUMNS, row[1:], strict=True)) for row in found],
        next=Place(*found[-1][:2]) if found else after,
    )
