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

from events import lines
from events.lines import LISTED, Fact, Key, Line
from events.models import Derived, Event, Happening
from pricebook.kit.currency import plain
from pricebook.kit.points import at_point
from pricebook.kit.session_limits import may_pause
from services import lives
from services.ledger.place import Place
from services.models import Life

LINES = 10_000  # in a transaction

# Whoever holds it makes events, and nobody waits for it. A lock of the row would draw a number of a
# transaction each second, though there is nothing to write.
LOCK = "SELECT pg_try_advisory_xact_lock('events_derived'::regclass::oid::int, 0)"
# In a statement of its own: it sees what the last deriver has committed.
PLACE = """
SELECT xact, entry_id, number, loaded_id, life, this_life() FROM events_derived
"""
BEGIN = "INSERT INTO events_derived (id, life) VALUES (1, this_life())"
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


class Stretch:
    """Neighbours of one transaction that tell of subscriptions, in groups: the first line of each
    subscription is in the first group, the second one in the second, and so on.

    So two changes that move the same rows, row by row in turn, are two events and not two for each
    row; and applying events in order is still right.
    """

    def __init__(self, line: Line) -> None:
        self.xact, self.happened = line.xact, line.happened
        self.groups = [Group(line)]
        self.last: dict[int, int] = {}  # the group of a subscription's last line
        self.chunk: tuple[int, int, int] | None = None  # the span of all chunks, and the last group

    def takes(self, line: Line) -> bool:
        return line.xact == self.xact and self.happened is None and line.happened is None

    def add(self, line: Line) -> None:
        nth = self._of_one(line.subscription_id) if line.subscription_id else self._of_many(line)
        if nth == len(self.groups):
            self.groups.append(Group(line))
        self.groups[nth].add(line)

    def _of_one(self, subscription: int) -> int:
        nth = self.last.get(subscription, -1) + 1
        if self.chunk is not None:
            first, last, of_chunk = self.chunk
            if first <= subscription <= last:  # it may be in there
                nth = max(nth, of_chunk + 1)
        self.last[subscription] = nth
        return nth

    def _of_many(self, line: Line) -> int:
        nth = len(self.groups) - 1
        if line.span is not None:
            first, last = line.span
            if any(first <= each <= last for each in self.groups[-1].subscriptions if each):
                nth += 1
            if self.chunk is not None:
                first, last = min(first, self.chunk[0]), max(last, self.chunk[1])
            self.chunk = first, last, nth
        return nth


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
            place = 0, 0, 0, 0, 0, 0
        xact, entry_id, number, loaded, life, this_life = place
        if life != this_life:
            _begin_life(life, this_life)
        read = lines.read(xact, entry_id, loaded, limit)
        if not read:
            return 0, 0
        may_pause()  # on a busy host it computes for longer than a transaction may idle
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


def _begin_life(before: int, life: int) -> None:
    """Go on in another life of the database: what is recorded in it is told, and that it began.

    A promotion alone is not told: receivers lose nothing by it as a rule, and the place of the feed
    tells the one that does.
    """
    Derived.objects.update(life=life)
    begun = Life.objects.filter(number__gt=before, number__lte=life)
    if begun.exclude(why=Life.Why.PROMOTED).exists():
        Happening.objects.note("book.loaded")


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
    all_lives = lives.lives()
    for group in groups:
        if group.happened is not None:
            yield _happened(group.happened, group.place)
        for key, facts in group.facts.items():
            yield _told(key, facts, group, known, all_lives)


def _grouped(read: list[Line]) -> list[Group]:
    """The lines by transaction, cut where something has happened or an order counts; then those
    that tell the same one thing, joined."""
    stretches: list[Stretch] = []
    for line in read:
        if not stretches or not stretches[-1].takes(line):
            stretches.append(Stretch(line))
        stretches[-1].add(line)
    joined: list[Group] = []
    for stretch in stretches:
        for group in stretch.groups:
            if not group.facts and group.happened is None:
                continue
            if joined:
                # Its lines may end before those of the group ahead of it do.
                group.place = max(group.place, joined[-1].place)
            if not joined or not joined[-1].join(group):
                joined.append(group)
    return joined


def _happened(happening: Happening, place: tuple[int, int]) -> Made:
    data = dict(happening.data)
    if happening.type.startswith("price_change."):
        data["currency"] = settings.CURRENCY
    return Made(happening.type, happening.occurred_at, happening.recorded_at, data, place)


def _told(
    key: Key,
    facts: list[Fact],
    group: Group,
    known: dict[int, dict[str, Any]],
    all_lives: list[Life],
) -> Made:
    rows = sum(fact.rows for fact in facts)
    items = None
    if rows <= LISTED:
        items = [lines.sent(item, known) for fact in facts for item in fact.items or ()]
    data: dict[str, Any] = {
        "count": rows,
        "subscriptions": items,
        "effective_at": min(fact.effective_at for fact in facts),
        "feed_after": str(lives.of_its_life(Place(*group.after), all_lives)),
        "feed_until": str(lives.of_its_life(Place(*group.place), all_lives)),
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
