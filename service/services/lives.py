"""Lives of the book's database: which one it is in, and which places of the feed are of it.

A place is of the book's history if three things hold: no later life began before it (the fork); the
block that was sealed before it is one of this book's; and as many rows lie between the two, of
which the last was recorded at the same instant. So a history that parted shows however it did: by a
dump, a point in time, a standby that lagged, or a disk that was put back.

Cached totals and ETags need no life: the version of the book has the server's start and the
database (`services.reading.version`), and a standby never counts through a number twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from django.db import connection
from django.utils.translation import gettext as _

from services.ledger.place import Place, Proof
from services.models import Life
from services.models.clock import book_clock

# Rows that are counted between a block and a place. Blocks are this small unless sealing is late.
COUNTED = 20_000
# Numbers of transactions whose end is asked for, before a fork.
LOOKED_AT = 100_000

_BETWEEN = """
(SELECT count(*) FROM (
    SELECT FROM {table} WHERE (xact, id) > (block.last_xact, block.last_id)
       AND (xact, id) <= (%(xact)s, %(id)s) ORDER BY xact DESC, id DESC LIMIT {counted}) row)"""
PROOF = """
SELECT block.number, substr(block.hash, 1, 4), {entries} + {moved} + {corrected},
       coalesce(
           (SELECT recorded_at FROM services_ledgerentry WHERE xact = %(xact)s AND id = %(id)s),
           (SELECT recorded_at FROM services_correctedentry WHERE xact = %(xact)s AND id = %(id)s),
           (SELECT recorded_at FROM services_movedfollowers
             WHERE xact = %(xact)s AND id >= %(id)s AND %(id)s = ANY (entry_ids) LIMIT 1)),
       ARRAY(SELECT key FROM services_life ORDER BY number),
       ARRAY(SELECT first_xact FROM services_life ORDER BY number)
  FROM ((SELECT number, hash, last_xact, last_id FROM services_sealedblock
          WHERE (last_xact, last_id) <= (%(xact)s, %(id)s)
            AND (%(block)s::bigint IS NULL OR number = %(block)s)
          ORDER BY last_xact DESC, last_id DESC LIMIT 1)
        UNION ALL
        (SELECT 0, '\\x00000000'::bytea, -1, 0)
        ORDER BY 1 DESC LIMIT 1) block
""".format(  # noqa: S608 - constants
    entries=_BETWEEN.format(table="services_ledgerentry", counted=COUNTED),
    moved=_BETWEEN.format(table="services_movedfollowers", counted=COUNTED),
    corrected=_BETWEEN.format(table="services_correctedentry", counted=COUNTED),
)


class Parted(ValueError):
    """A place of a history that is not this book's, or not any more.

    `common_until`: the place up to which that history is certainly this book's too, and from which
    to read on; None: not even that is known of it.
    """

    def __init__(self, why: str, common_until: Place | None) -> None:
        super().__init__(why)
        self.common_until = common_until
        if common_until is None:
            what = _(
                "How far that history is this book's is not known: take an earlier place that you"
                " kept, or read from the beginning. The book has not got what you hold and do not"
                " find there."
            )
        else:
            what = _(
                "Up to common_until it is: read on from there. The book has not got what you hold"
                " from behind it and do not find there."
            )
        about = _(
            "This place is of a history that is not this book's, which was restored or went on in"
            " another server."
        )
        self.detail = f"{about} {what}"

    @property
    def common(self) -> str | None:
        return None if self.common_until is None else str(self.common_until)


def current_life() -> Life | None:
    """The life that the last write was in; None where nothing was ever written. One query."""
    return Life.objects.order_by("-number").first()


def lives() -> list[Life]:
    """All lives of this book, the first one first. One query."""
    return list(Life.objects.order_by("number"))


def begin() -> Life:
    """Begin another life if the database is in another one than was written; the life that it is.

    Any write does so too. A transaction of its own is best: other writers wait for its end. Two
    queries; it writes nothing where no life has begun.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT begin_life()")
    return Life.objects.order_by("-number")[0]


def declare() -> Life:
    """Begin another life because an operator says so: a disk was put back, and nothing shows it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT begin_life(declared => true)")
    return Life.objects.order_by("-number")[0]


# Read on a standby too, where the server's own life can't be told.
STANDING = """
SELECT last.number, last.why, last.acknowledged_at IS NULL,
       CASE WHEN pg_is_in_recovery() THEN false
            ELSE (SELECT (last.system_identifier, last.database, last.book)
                     IS DISTINCT FROM (server.system_identifier, server.database, server.book)
                    FROM life_of_server() server) END
  FROM (SELECT * FROM services_life ORDER BY number DESC LIMIT 1) last
"""


class Standing(NamedTuple):
    """The last life that was written in, and whether an operator has to look: `waits`."""

    number: int
    why: str
    waits: bool

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, ...]]) -> Standing:
        """That of the rows of STANDING: none in a book in which nothing was ever written."""
        if not rows:
            return cls(0, Life.Why.FIRST, False)
        number, why, is_open, is_another = rows[0]
        # Nothing has been written since it was loaded.
        return cls(number, Life.Why.RESTORED if is_another else why, is_open or is_another)


def standing() -> Standing:
    """How the book stands, by reading alone. One query."""
    with connection.cursor() as cursor:
        cursor.execute(STANDING)
        return Standing.of(cursor.fetchall())


def has_been_acknowledged(life: Life) -> bool:
    """Whether it needs nobody, or an operator has said that all is done that it asks for."""
    return life.acknowledged_at is not None


def acknowledge(life: Life, by: str) -> bool:
    """Note that an operator has done what a restore asks for; False: that was noted before.

    Two queries.
    """
    rows = Life.objects.filter(pk=life.pk, acknowledged_at=None).update(
        acknowledged_at=book_clock(), acknowledged_by=by
    )
    return bool(rows)


@dataclass(frozen=True)
class _Found:
    """The block, the rows and the lives that this book has at a place."""

    block: int
    hash: bytes
    rows: int
    recorded_at: datetime | None
    keys: list[int]
    first: list[int]

    def mark(self) -> bytes:
        at = "" if self.recorded_at is None else str(self.recorded_at.timestamp())
        return blake2b(f"{self.rows} {at}".encode(), digest_size=4).digest()

    def nth_life(self, xact: int) -> int:
        """The place in the list of the life that wrote a transaction; -1: no life is known."""
        return max((nth for nth, first in enumerate(self.first) if first <= xact), default=-1)


def _find(place: Place, block: int | None) -> _Found:
    with connection.cursor() as cursor:
        cursor.execute(PROOF, {"xact": place.xact, "id": place.id, "block": block})
        number, hash, *found = cursor.fetchone()
    return _Found(number, bytes(hash), *found)


def short(key: int) -> int:
    """The part of a life's key that a place has."""
    return key & 0xFFFFFFFF


def proven(place: Place) -> Place:
    """The place with its proof: all before it must be over. One query; none at the beginning."""
    if place.xact <= 0:
        return place
    found = _find(place, None)
    nth = found.nth_life(place.xact)
    life = short(found.keys[nth]) if nth >= 0 else 0
    return Place(place.xact, place.id, Proof(life, found.block, found.hash, found.mark()))


def of_its_life(place: Place, known: Sequence[Life]) -> Place:
    """The place with its life, of those that are `known`, and nothing else of a proof. No query."""
    if place.xact <= 0:
        return place
    of = [life.key for life in known if life.first_xact <= place.xact]
    return replace(place, proof=Proof(short(of[-1]))) if of else place


def check(place: Place) -> None:
    """Raise `Parted` for a place of a history that is not this book's. One query, none at the
    beginning; more for one that is refused.

    A place without a proof is of the first life: later ones give out none.
    """
    if place.xact <= 0:
        return
    proof = place.proof
    found = _find(place, proof.block if proof else None)
    nth = 0 if proof is None else _nth(found.keys, proof.life)
    if nth is None:
        raise Parted("its life is none of this book's", _common_block(proof))
    if nth + 1 < len(found.first) and place.xact >= found.first[nth + 1]:
        raise Parted("another life began before it", before(nth + 2))
    if proof is None or proof.mark == bytes(4):
        return
    if (proof.block, proof.hash) != (found.block, found.hash):
        raise Parted("the block before it is another one", None)
    if proof.mark != found.mark():
        raise Parted("the rows before it are others", _common_block(proof))


def _nth(keys: list[int], life: int) -> int | None:
    return next((nth for nth, key in enumerate(keys) if short(key) == life), None)


BLOCK = "SELECT last_xact, last_id, substr(hash, 1, 4) FROM services_sealedblock WHERE number = %s"


def _common_block(proof: Proof | None) -> Place | None:
    """The end of the block that a place names, if it is one of this book's."""
    if proof is None or not proof.block:
        return None
    with connection.cursor() as cursor:
        cursor.execute(BLOCK, [proof.block])
        found = cursor.fetchone()
    if found is None or bytes(found[2]) != proof.hash:
        return None
    return proven(Place(*found[:2]))


# A transaction that was open at the fork may have been committed where the histories parted, and
# have been read there: here it counts as aborted. So the common history ends before the first such
# one behind the last block that was sealed by then: what a block covers was over. The ends of
# transactions are known where the same database goes on; a dump has none of them.
FORK = f"""
SELECT life.first_xact, life.why IN ('promoted', 'recovered')
         AND life.first_xact - coalesce(block.last_xact, -1) <= {LOOKED_AT},
       parent.xact_offset, coalesce(block.last_xact, -1), coalesce(block.last_id, 0)
  FROM services_life life
  JOIN services_life parent ON parent.number = life.number - 1
  LEFT JOIN services_sealedblock block ON block.number = life.sealed_block
 WHERE life.number = %s
"""  # noqa: S608 - a constant
ABORTED = """
SELECT min(xact) FROM generate_series(%(after)s + 1, %(before)s - 1) xact
 WHERE xact > %(offset)s
   AND pg_xact_status((xact - %(offset)s)::text::xid8) IS DISTINCT FROM 'committed'
"""
LAST_BEFORE = """
SELECT xact, id FROM (
    (SELECT xact, id FROM services_ledgerentry WHERE xact < %(xact)s
      ORDER BY xact DESC, id DESC LIMIT 1)
    UNION ALL
    (SELECT xact, id FROM services_movedfollowers WHERE xact < %(xact)s
      ORDER BY xact DESC, id DESC LIMIT 1)
    UNION ALL
    (SELECT xact, id FROM services_correctedentry WHERE xact < %(xact)s
      ORDER BY xact DESC, id DESC LIMIT 1)) line
 ORDER BY xact DESC, id DESC LIMIT 1
"""


def before(number: int) -> Place:
    """The place up to which all histories that parted where a life began are certainly the same.

    Up to three queries, one of them over the transactions since the last block.
    """
    with connection.cursor() as cursor:
        cursor.execute(FORK, [number])
        first, are_ends_known, offset, xact, id = cursor.fetchone()
        if not are_ends_known:
            return proven(Place(xact, id)) if xact > 0 else Place()
        cursor.execute(ABORTED, {"after": xact, "before": first, "offset": offset})
        (aborted,) = cursor.fetchone()
        cursor.execute(LAST_BEFORE, {"xact": first if aborted is None else aborted})
        found = cursor.fetchone()
    return proven(Place(*found)) if found else Place()
