"""Events are made of the lines of the feed, in their order: one deriver at a time numbers them.

Nothing has to call it: whoever comes reads on behind the last line that is an event. So a killed
deriver leaves nothing, and no fact is told twice or not at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from events import lines
from events.lines import LISTED, Fact, Key, Line
from events.models import Derived, Event, Happening
from pricebook.kit.currency import plain
from pricebook.kit.points import at_point
from services.ledger.changes_feed import Place

LINES = 10_000  # in a transaction

# Whoever holds it makes events, and nobody waits for it. A lock of the row would draw a number of a
# transaction each second, though there is nothing to write.
LOCK = "SELECT pg_try_advisory_xact_lock('events_derived'::regclass::oid::int, 0)"
# In a statement of its own: it sees what the last deriver has committed.
PLACE = """
SELECT xact, entry_id, number, loaded_id,
       xact >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
  FROM events_derived
"""
BEGIN = "INSERT INTO events_derived (id) VALUES (1)"
# A dump that was loaded into another server has places of the first one, which may count further.
LOADED = """
WITH server AS (SELECT pg_snapshot_xmin(now)::text::bigint AS oldest,
                       pg_snapshot_xmax(now)::text::bigint AS next
                  FROM pg_current_snapshot() now)
UPDATE events_derived
   SET xact = server.oldest, entry_id = 0,
       loaded_id = greatest(0,
           (SELECT max(id) FROM services_ledgerentry WHERE xact >= server.next),
           (SELECT max(id) FROM services_movedfollowers WHERE xact >= server.next),
           (SELECT max(id) FROM services_correctedentry WHERE xact >= server.next))
  FROM server
"""
TOLD = "DELETE FROM events_happening WHERE (xact, id) <= (%s, %s)"


@dataclass(frozen=True)
class Made:
    """An event without its number: what it says, and the places before and behind its lines."""

    type: str
    occurred_at: datetime
    recorded_at: datetime
    data: dict[str, Any]
    place: tuple[int, int]


class Group:
    """Lines of one or more transactions, with the facts that become one event each."""

    def __init__(self, line: Line) -> None:
        self.xact = line.xact
        self.after = (line.xact, line.first_id - 1)
        self.place = (line.xact, line.id)
        self.facts: dict[Key, list[Fact]] = {}
        self.subscriptions: set[int | None] = set()
        self.happened = line.happened

    def add(self, line: Line) -> None:
        self.after = min(self.after, (line.xact, line.first_id - 1))
        self.place = (line.xact, line.id)
        self.subscriptions.add(line.subscription_id)
        for key, fact in line.facts.items():
            self.facts.setdefault(key, []).append(fact)

    def join(self, other: Group) -> bool:
        """Take the next group in, if both tell of the same one thing."""
        if self.happened or other.happened or self.facts.keys() != other.facts.keys():
            return False
        if len(self.facts) != 1 or self.subscriptions & (other.subscriptions - {None}):
            return False
        self.xact, self.place = other.xact, other.place
        self.after = min(self.after, other.after)
        self.subscriptions |= other.subscriptions
        for key, facts in other.facts.items():
            self.facts[key] += facts
        return True


def derive() -> int:
    """Make events of all that is told and is none yet; returns how many.

    A transaction for every 10,000 lines: three queries if there is nothing, else about ten.
    """
    made = 0
    while (found := _derive_some(LINES)) is not None:
        made += found[1]
        if found[0] < LINES:
            break
    return made


def _derive_some(limit: int) -> tuple[int, int] | None:
    """Make events of up to so many lines; how many lines and events. None if another one does."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if cursor.fetchone() != (True,):
            return None
        cursor.execute(PLACE)
        if (place := cursor.fetchone()) is None:
            cursor.execute(BEGIN)
            place = 0, 0, 0, 0, False
        xact, entry_id, number, loaded, is_ahead = place
        if is_ahead:
            return _begin_anew(cursor)
        read = lines.read(xact, entry_id, loaded, limit)
        if not read:
            return 0, 0
        events = list(_made(read))
        at_point("events made")
        Event.objects.bulk_create(
            [
                Event(
                    number=number + nth,
                    webhook_id=f"evt_{secrets.token_hex(16)}",
                    type=event.type,
                    occurred_at=event.occurred_at,
                    recorded_at=event.recorded_at,
                    data=msgspec.json.encode(event.data).decode(),
                    xact=event.place[0],
                    entry_id=event.place[1],
                )
                for nth, event in enumerate(events, 1)
            ]
        )
        last = read[-1].xact, read[-1].id
        cursor.execute(TOLD, last)
        Derived.objects.update(xact=last[0], entry_id=last[1], number=number + len(events))
        at_point("events not committed")
    return len(read), len(events)


def _begin_anew(cursor: CursorWrapper) -> tuple[int, int]:
    """Go on in a server that has not come to the place: what is recorded here is told, and that."""
    cursor.execute(LOADED)
    Happening.objects.note("book.loaded")
    return 0, 0


def _made(read: list[Line]) -> Iterator[Made]:
    groups = _grouped(read)
    shown = [
        fact
        for group in groups
        for facts in group.facts.values()
        if sum(fact.rows for fact in facts) <= LISTED
        for fact in facts
    ]
    known = lines.known_elsewhere(shown)
    for group in groups:
        if group.happened is not None:
            yield _happened(group.happened, group.place)
        for key, facts in group.facts.items():
            yield _told(key, facts, group, known)


def _grouped(read: list[Line]) -> list[Group]:
    """The lines by transaction, cut where something has happened; then those that tell the same one
    thing, joined.

    The second line of a subscription stands in the second group of its transaction, and so on. So
    two changes that a late worker has entered row by row, one after the other, are two events.
    """
    groups: list[Group] = []
    begin = first = 0  # where the transaction's groups begin, and the first that may take a line
    behind: dict[int, int] = {}  # by subscription: the group behind the one with its last line
    for line in read:
        if groups and (line.xact != groups[-1].xact or line.happened or groups[-1].happened):
            _have_one_place(groups[begin:])
            begin, first, behind = len(groups), len(groups), {}
        if line.subscription_id is None:  # of many, which are not known here
            nth = first = max(first, len(groups) - 1)
        else:
            nth = max(first, behind.get(line.subscription_id, first))
            behind[line.subscription_id] = nth + 1
        if nth == len(groups):
            groups.append(Group(line))
        groups[nth].add(line)
    _have_one_place(groups[begin:])
    joined: list[Group] = []
    for group in groups:
        if not group.facts and group.happened is None:
            continue
        if not joined or not joined[-1].join(group):
            joined.append(group)
    return joined


def _have_one_place(groups: list[Group]) -> None:
    """Groups whose lines stand among each other's begin and end together in the feed."""
    after = min((group.after for group in groups), default=None)
    place = max((group.place for group in groups), default=None)
    for group in groups:
        group.after, group.place = after or group.after, place or group.place


def _happened(happening: Happening, place: tuple[int, int]) -> Made:
    data = dict(happening.data)
    if happening.type.startswith("price_change."):
        data["currency"] = settings.CURRENCY
    return Made(happening.type, happening.occurred_at, happening.recorded_at, data, place)


def _told(key: Key, facts: list[Fact], group: Group, known: dict[int, dict[str, Any]]) -> Made:
    rows = sum(fact.rows for fact in facts)
    items = None
    if rows <= LISTED:
        items = [lines.sent(item, known) for fact in facts for item in fact.items or ()]
    data: dict[str, Any] = {
        "count": rows,
        "subscriptions": items,
        "effective_at": min(fact.effective_at for fact in facts),
        "feed_after": str(Place(*group.after)),
        "feed_until": str(Place(*group.place)),
    }
    if key.type == "prices.moved":
        before = sum((fact.before for fact in facts), Decimal(0))
        after = sum((fact.after for fact in facts), Decimal(0))
        data |= {
            "price_change": key.change_id,
            "before": plain(before),
            "after": plain(after),
            "currency": settings.CURRENCY,
        }
    recorded = max(fact.recorded_at for fact in facts)
    return Made(key.type, data["effective_at"], recorded, data, group.place)
