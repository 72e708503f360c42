"""Sealing: afterwards, by a task, and never in the transaction of who writes.

As the feed, it goes no further than the oldest open transaction: so nothing can be committed
afterwards at a place that is sealed.
"""

from __future__ import annotations

import logging
import time

from django.db import connection, transaction

from pricebook.kit.points import at_point
from services import lives
from services.ledger.place import Place
from services.ledger.seals.blocks import GENESIS, IN_UTC, Block
from services.ledger.seals.rows import BEGINNING, read
from services.models import SealedBlock

logger = logging.getLogger(__name__)

MOST = 10_000  # rows in a block
# A row of followers that were moved stands for up to 4,000 entries.
WEIGHT_OF_MOVE = 50

# Whoever holds it seals, and nobody waits for it. A lock of a row would draw the number of a
# transaction each minute, though there is nothing to write.
LOCK = "SELECT pg_try_advisory_xact_lock('services_sealedblock'::regclass::oid::int, 0)"
# In a statement of its own: it sees what the last sealer has committed.
LAST = """
SELECT number, hash, last_xact, last_id,
       last_xact >= ledger_next()
  FROM services_sealedblock ORDER BY number DESC LIMIT 1
"""
OLDEST = "ledger_oldest()"
ENTRIES = """
    (SELECT xact, id, {weight} AS weight FROM {table}
      WHERE (xact, id) > (%(xact)s, %(id)s) AND xact < {oldest}
      ORDER BY xact, id LIMIT %(most)s)"""
FACTS = """
    (SELECT {xact}, 0, 1 FROM {table}
      WHERE {xact} > %(xact)s AND {xact} < {oldest}{which} ORDER BY {xact} LIMIT %(most)s)"""
NEXT = """
SELECT xact, id
  FROM (SELECT xact, id, sum(weight) OVER place AS weight, rank() OVER place AS rank
          FROM ({entries} UNION ALL {moved} UNION ALL {corrected}
                UNION ALL {values} UNION ALL {judged} UNION ALL {corrections}) line
        WINDOW place AS (ORDER BY xact, id)) line
 WHERE weight <= %(most)s OR rank = 1
 ORDER BY xact DESC, id DESC LIMIT 1
"""
# Where the next block ends: behind so many rows, or all that no open transaction can precede.
END = NEXT.format(
    entries=ENTRIES.format(table="services_ledgerentry", weight=1, oldest=OLDEST),
    moved=ENTRIES.format(table="services_movedfollowers", weight=WEIGHT_OF_MOVE, oldest=OLDEST),
    corrected=ENTRIES.format(table="services_correctedentry", weight=1, oldest=OLDEST),
    values=FACTS.format(table="services_cataloguevalue", xact="xact", oldest=OLDEST, which=""),
    judged=FACTS.format(
        table="services_cataloguevalue",
        xact="judged_xact",
        oldest=OLDEST,
        which=" AND seen IS NOT NULL AND held IS NOT NULL",
    ),
    corrections=FACTS.format(table="services_correction", xact="xact", oldest=OLDEST, which=""),
)
# The timeline is the first part of the name of a segment of the log.
LIFE = """
SELECT system_identifier || '.' || ('x' || left(segment, 8))::bit(32)::int, now, {sealed_at}
  FROM pg_control_system(), pg_walfile_name(pg_current_wal_lsn()) segment, book_clock() now
""".format(sealed_at=IN_UTC.format(instant="now"))


def seal(seconds: float = 5.0) -> int:
    """Seal what waits, block after block, for about so many seconds; how many blocks.

    A transaction and twelve queries for each block; five if there is nothing to seal.
    """
    until = time.monotonic() + seconds
    blocks = 0
    lives.begin()  # it notes up to which block the history before it was sealed
    while _seal_block():
        blocks += 1
        if time.monotonic() >= until:
            break
    return blocks


def _seal_block() -> bool:
    """Seal the next block; False: there is none, or another sealer does it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if cursor.fetchone() != (True,):
            return False
        cursor.execute(LAST)
        number, previous, xact, id, is_ahead = cursor.fetchone() or (
            0,
            GENESIS,
            BEGINNING.xact,
            BEGINNING.id,
            False,
        )
        if is_ahead:
            logger.error(
                "Nothing is sealed: block %s ends at transaction %s, which this server has not"
                " reached. The book was restored into another server.",
                number,
                xact,
            )
            return False
        cursor.execute(END, {"xact": xact, "id": id, "most": MOST})
        if (end := cursor.fetchone()) is None:
            return False
        last = Place(*end)
        (content,) = read([last], after=Place(xact, id), checked=True)
        cursor.execute(LIFE)
        life, now, sealed_at = cursor.fetchone()
        assert content.first is not None
        block = Block(
            number=number + 1,
            first=content.first,
            last=last,
            counts=content.counts,
            digest=content.digest,
            previous=bytes(previous),
            life=life,
            sealed_at=sealed_at,
        )
        SealedBlock.objects.create(
            number=block.number,
            first_xact=block.first.xact,
            first_id=block.first.id,
            last_xact=last.xact,
            last_id=last.id,
            counts=block.counts,
            digest=block.digest,
            checks=content.checks,
            previous=block.previous,
            hash=block.hash(),
            life=life,
            sealed_at=now,
        )
        at_point("block not committed")
    return True
