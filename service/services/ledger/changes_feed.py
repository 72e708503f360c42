"""The feed: every entry once, in an order in which none can appear behind the reader."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from services import lives
from services.hooks import price_changes
from services.ledger.entries import COLUMNS, Entry, identified
from services.ledger.place import Place
from services.ledger.recorded import all_recorded_until


class PlaceAhead(ValueError):
    """A place beyond all that this server has written: it is from another server."""


@dataclass(frozen=True)
class Feed:
    """A page of entries, each with its currency, and the instant until which the feed is complete.

    `complete_until`: all that was recorded, or came into force, before this instant is in the feed
    up to here; only starts and ends may be put into the past later. None if more entries wait to be
    read, or if this database user may not see who holds the feed up.
    `sealed`: the newest block of the ledger that is sealed, and its hash; None: none is.
    """

    entries: list[Entry]
    next: Place  # also where there is nothing new: poll from there
    complete_until: datetime | None
    sealed: tuple[int, str] | None


# A transaction below the snapshot's xmin has ended, and so has every one before it: no entry can
# appear any more before the last one shown. Ids alone don't guarantee that: they are taken before
# the commit, and a transaction with smaller ids may commit later than another one.
FEED = """
SELECT server.*, sealed.*, entry.*
  FROM (SELECT ledger_next() AS next_xact,
               ledger_oldest() AS oldest) server
  LEFT JOIN (
    SELECT number, encode(hash, 'hex')
      FROM services_sealedblock ORDER BY number DESC LIMIT 1
    ) sealed ON true
  LEFT JOIN (
    SELECT xact, {columns}
      FROM entries_behind(%(xact)s, %(id)s,
                          ledger_oldest(), %(limit)s)
    ) entry ON true
 ORDER BY entry.xact, entry.id
"""
# The earliest instant of what has come into force and is in no entry that was read: its entry comes
# after an open transaction, or no worker has written it yet.
UNTOLD = """
SELECT least((SELECT min(effective_at) FROM services_ledgerentry WHERE xact >= %s),
             (SELECT min(effective_at) FROM services_movedfollowers WHERE xact >= %s),
             copies_late_since(book_now()), ({waiting}))
"""


def feed(after: Place | None = None, limit: int = 100) -> Feed:
    """Up to `limit` entries behind a place (default: the beginning), each once and none left out.

    They are in the order of transactions, and those of a subscription in the order of writing. An
    entry appears when every transaction that began writing before its own has ended, so an open
    one, in any database of the server, holds the feed up. `PlaceAhead` for a place that this server
    has not reached, `lives.Parted` for one of another history. Four queries, one more behind a
    place, and one more at the end of the ledger.
    """
    after = after or Place()
    lives.check(after)
    # This comes first: a transaction that ends before the entries are read would not be seen later.
    recorded_until = all_recorded_until()
    with connection.cursor() as cursor:
        cursor.execute(
            FEED.format(columns=", ".join(COLUMNS)),
            {"xact": after.xact, "id": after.id, "limit": limit},
        )
        rows = cursor.fetchall()
        next_xact, oldest, block, hash, *_ = rows[0]
        if after.xact >= next_xact:
            raise PlaceAhead(f"transaction {after.xact} is not before {next_xact}")
        found = [row[4:] for row in rows if row[4] is not None]
        entries = [dict(zip(COLUMNS, row[1:], strict=True)) for row in found]
    return Feed(
        identified(entries),
        next=_next(Place(*found[-1][:2]) if found else after, oldest),
        complete_until=(
            _untold(recorded_until, oldest) if recorded_until and len(found) < limit else None
        ),
        sealed=None if block is None else (block, hash),
    )


def _next(place: Place, oldest: int) -> Place:
    """The place with its proof, if it has none yet and all before it is over."""
    return lives.proven(place) if place.proof is None and place.xact < oldest else place


def _untold(since: datetime, oldest: int) -> datetime:
    """The earliest instant of what the feed has not told; `oldest`: the first open transaction.

    Nothing that is still to be committed was recorded before `since`. One query.
    """
    waiting, params = price_changes().waiting_since()
    with connection.cursor() as cursor:
        cursor.execute(UNTOLD.format(waiting=waiting), [oldest, oldest, *params])
        (untold,) = cursor.fetchone()
    return since if untold is None else min(since, untold)
