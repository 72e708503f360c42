"""A block of the ledger, its hash, the newest one, and what waits to be sealed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from django.db import connection

from services.ledger.place import Place
from services.ledger.seals.rows import BEGINNING, FORMAT, Content

GENESIS = bytes(32)  # the hash before the first block
# An instant as a hash has it, whatever the session's time zone is.
IN_UTC = """to_char({instant} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


@dataclass(frozen=True)
class Block:
    """A block without its rows: all that its hash is made of. `sealed_at` is as `IN_UTC` says."""

    number: int
    first: Place
    last: Place
    counts: list[int]
    digest: bytes
    previous: bytes
    life: str
    sealed_at: str

    @property
    def rows(self) -> int:
        return sum(self.counts)

    def hash(self) -> bytes:
        """The SHA-256 of these lines of text, each of which ends with a line feed."""
        lines = (
            f"pricebook ledger block, format {FORMAT}",
            f"number {self.number}",
            f"previous {self.previous.hex()}",
            f"first {self.first.xact} {self.first.id}",
            f"last {self.last.xact} {self.last.id}",
            f"rows {' '.join(map(str, self.counts))}",
            f"digest {self.digest.hex()}",
            f"life {self.life}",
            f"sealed {self.sealed_at}",
        )
        return sha256("".join(f"{line}\n" for line in lines).encode()).digest()

    def holds(self, content: Content) -> bool:
        """Whether these are the rows that were sealed."""
        found = content.counts, content.digest, content.first
        return found == (self.counts, self.digest, self.first)


@dataclass(frozen=True)
class Head:
    """The newest block: what was sealed last, and in which `life` of the database.

    `hash` is in hexadecimal digits: whoever keeps it elsewhere can tell later whether the book was
    sealed anew.
    """

    block: int
    hash: str
    sealed_at: datetime
    life: str
    last: Place

    def __str__(self) -> str:
        return f"{self.block}:{self.hash}"


@dataclass(frozen=True)
class Unsealed:
    """The rows that wait to be sealed.

    `rows`: how many of the ledger's tables; no more than `COUNTED` of each are counted. `oldest`:
    when the first of them was recorded. `seconds`: its age.

    `is_ahead`: the head is of a transaction that this server has not reached, so nothing is sealed:
    the book was restored into another server.
    """

    rows: int
    oldest: datetime | None
    seconds: float
    is_ahead: bool


HEAD = """
SELECT number, encode(hash, 'hex'), sealed_at, life, last_xact, last_id
  FROM services_sealedblock ORDER BY number DESC LIMIT 1
"""
COUNTED = 10_000  # of each table
BEHIND = """
SELECT xact, id, recorded_at FROM {table}
 WHERE (xact, id) > (%(xact)s, %(id)s) ORDER BY xact, id LIMIT %(most)s
"""
FACTS_BEHIND = """
SELECT xact, id, recorded_at FROM {table}
 WHERE xact > %(xact)s ORDER BY xact LIMIT %(most)s
"""
UNSEALED = """
SELECT count(*), min(recorded_at),
       coalesce(extract(epoch FROM greatest(book_now() - min(recorded_at), '0')), 0)::float,
       %(xact)s >= ledger_next()
  FROM (({entries}) UNION ALL ({moved}) UNION ALL ({corrected})
        UNION ALL ({values}) UNION ALL ({corrections})) waiting
"""
UNSEALED_ROWS = UNSEALED.format(
    entries=BEHIND.format(table="services_ledgerentry"),
    moved=BEHIND.format(table="services_movedfollowers"),
    corrected=BEHIND.format(table="services_correctedentry"),
    values=FACTS_BEHIND.format(table="services_cataloguevalue"),
    corrections=FACTS_BEHIND.format(table="services_correction"),
)


def head() -> Head | None:
    """The newest block; None: nothing is sealed yet. One query, by the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(HEAD)
        found = cursor.fetchone()
    if found is None:
        return None
    number, hash, sealed_at, life, xact, id = found
    return Head(number, hash, sealed_at, life, Place(xact, id))


def unsealed() -> Unsealed:
    """Count what was recorded behind the head, also what an open transaction may precede.

    Two queries, by indexes, of at most `COUNTED` rows of a table.
    """
    newest = head()
    place = newest.last if newest else BEGINNING
    with connection.cursor() as cursor:
        cursor.execute(UNSEALED_ROWS, {"xact": place.xact, "id": place.id, "most": COUNTED})
        return Unsealed(*cursor.fetchone())
