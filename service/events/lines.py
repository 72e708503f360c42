"""The lines of the ledger's feed, and what has happened beside them, in order; what each tells.

A line is an entry of one subscription, a chunk of followers that a change has moved, an entry of a
correction, or a happening. All have places of one order, (transaction, id), and none is read before
every transaction that began earlier has ended (`services.ledger.changes_feed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from events.models import Happening
from pricebook.kit.currency import plain
from services.ledger.entries import identified

LISTED = 100  # subscriptions that an event names; of more it has sums, and the feed has the rest

PLACES = """
SELECT xact, id, first_id, source FROM (
    (SELECT xact, id, id AS first_id, 'happening' AS source FROM events_happening
      WHERE (xact, id) > (%(xact)s, %(id)s) AND id > %(loaded)s
        AND xact < ledger_oldest()
      ORDER BY xact, id LIMIT %(limit)s)
    UNION ALL
    (SELECT xact, id, id, 'entry' FROM services_ledgerentry
      WHERE (xact, id) > (%(xact)s, %(id)s) AND id > %(loaded)s
        AND xact < ledger_oldest()
      ORDER BY xact, id LIMIT %(limit)s)
    UNION ALL
    (SELECT xact, id, entry_ids[1], 'followers' FROM services_movedfollowers
      WHERE (xact, id) > (%(xact)s, %(id)s) AND id > %(loaded)s
        AND xact < ledger_oldest()
      ORDER BY xact, id LIMIT %(limit)s)
    UNION ALL
    (SELECT xact, id, id, 'correction' FROM services_correctedentry
      WHERE (xact, id) > (%(xact)s, %(id)s) AND id > %(loaded)s
        AND xact < ledger_oldest()
      ORDER BY xact, id LIMIT %(limit)s)) line
 ORDER BY xact, id LIMIT %(limit)s
"""
# How the subscription stood before: by its entry before this one; if it followed the catalogue
# then, its price is that of the last chunk of its pair that has moved it since.
ENTRIES = """
SELECT entry.id, entry.subscription_id, entry.client_id, entry.service_id, entry.plan_id,
       entry.price, entry.price_state, entry.started_at, entry.ended_at, entry.unpaid_since,
       entry.effective_at, entry.recorded_at, entry.change_id, entry.author,
       before.client_id, before.service_id, before.plan_id, coalesce(moved.price, before.price),
       before.started_at, before.ended_at
  FROM services_ledgerentry entry
  LEFT JOIN LATERAL (
       SELECT * FROM services_ledgerentry earlier
        WHERE earlier.subscription_id = entry.subscription_id AND earlier.id < entry.id
        ORDER BY earlier.id DESC LIMIT 1) before ON true
  LEFT JOIN LATERAL (
       SELECT chunk.price FROM services_movedfollowers chunk
        WHERE before.price_state = 'follows'
          AND chunk.service_id = before.service_id AND chunk.plan_id = before.plan_id
          AND chunk.effective_at BETWEEN before.effective_at AND entry.effective_at
          AND chunk.id > before.id AND chunk.id < entry.id
          AND entry.subscription_id BETWEEN chunk.first_id AND chunk.last_id
        ORDER BY chunk.effective_at DESC, chunk.id DESC LIMIT 1) moved ON true
 WHERE entry.id = ANY (%s)
"""
FOLLOWERS = """
SELECT id, change_id, number, price, old_price, effective_at, recorded_at, first_id, last_id,
       CASE WHEN number <= %s THEN subscription_ids END
  FROM services_movedfollowers WHERE id = ANY (%s)
"""
# A correction is told once, with the first of its entries.
CORRECTIONS = """
SELECT entry.id, entry.subscription_id, entry.correction_id, correction.since, correction.until,
       correction.price, correction.author, correction.recorded_at
  FROM services_correctedentry entry
  JOIN services_correction correction ON correction.id = entry.correction_id
 WHERE entry.id = ANY (%s)
   AND NOT EXISTS (SELECT FROM services_correctedentry earlier
                    WHERE earlier.subscription_id = entry.subscription_id
                      AND earlier.correction_id = entry.correction_id AND earlier.id < entry.id)
"""


class Key(NamedTuple):
    """Facts of one key that stand beside each other become one event."""

    type: str
    change_id: int | None = None


@dataclass(frozen=True)
class Fact:
    """All that a line says of one or more subscriptions; `items` are None if they are too many."""

    effective_at: datetime
    recorded_at: datetime
    rows: int
    items: list[dict[str, Any]] | None
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)


@dataclass
class Line:
    """A line of the feed: its place, that of the first entry in it, and its facts."""

    xact: int
    id: int
    first_id: int
    happened: Happening | None = None
    facts: dict[Key, Fact] = field(default_factory=dict)
    subscription_id: int | None = None  # None: it may tell of many
    span: tuple[int, int] | None = None  # of a chunk: the first and the last of its subscriptions


class Stood(NamedTuple):
    """How a subscription stands by an entry, or stood before it."""

    client: int
    service: int
    plan: int
    price: Decimal | None
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def pair(self) -> tuple[int, int, int]:
        return self.client, self.service, self.plan


def read(xact: int, id: int, loaded: int, limit: int) -> list[Line]:
    """Up to `limit` lines behind a place, in order, but for those whose id is up to `loaded`.

    One query, and one to three for each kind.
    """
    with connection.cursor() as cursor:
        cursor.execute(PLACES, {"xact": xact, "id": id, "loaded": loaded, "limit": limit})
        places = cursor.fetchall()
    lines = [Line(xact, id, first_id) for xact, id, first_id, _ in places]
    by_id = {line.id: line for line in lines}
    for source, tell in SOURCES.items():
        if ids := [id for _, id, _, of in places if of == source]:
            tell(ids, by_id)
    return lines


def _rows(sql: str, params: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        yield from cursor.fetchall()


def _happened(ids: list[int], lines: dict[int, Line]) -> None:
    for id, happening in Happening.objects.in_bulk(ids).items():
        lines[id].happened = happening


def _moved_followers(ids: list[int], lines: dict[int, Line]) -> None:
    for id, change, number, price, old, effective, recorded, first, last, subscriptions in _rows(
        FOLLOWERS, [LISTED, ids]
    ):
        items = None
        if subscriptions is not None:
            items = [_move(subscription, old, price) for subscription in subscriptions]
        fact = Fact(effective, recorded, number, items, number * old, number * price)
        lines[id].facts[Key("prices.moved", change)] = fact
        lines[id].span = first, last


def _move(subscription: int, before: Decimal, after: Decimal) -> dict[str, Any]:
    return {"subscription": subscription, "before": plain(before), "after": plain(after)}


def _entries(ids: list[int], lines: dict[int, Line]) -> None:
    for id, subscription, client, service, plan, price, state, start, end, unpaid, *more in _rows(
        ENTRIES, [ids]
    ):
        effective, recorded, change, author, *stood = more
        now = Stood(client, service, plan, price, start, end)
        before = None if stood[3] is None else Stood(*stood)
        line, known = lines[id], {"id": id, "correction_id": None}
        line.subscription_id = subscription
        item = known | {
            "subscription": subscription,
            "subscription_id": subscription,
            "client": client,
            "service": service,
            "plan": plan,
            "price": None if price is None else plain(price),
            "price_state": state,
            "started_at": start,
            "ended_at": end,
            "effective_at": effective,
            "price_change": change,
            "author": author,
        }
        for type, about, instant in _tells(now, before, unpaid, effective):
            line.facts[Key(type)] = Fact(instant, recorded, 1, [item | about])
        if before and price is not None and before.pair == now.pair and before.price != price:
            assert before.price is not None
            items = [_move(subscription, before.price, price)]
            moved = Fact(effective, recorded, 1, items, before.price, price)
            line.facts[Key("prices.moved", change)] = moved


def _tells(
    now: Stood, before: Stood | None, unpaid: datetime | None, effective: datetime
) -> Iterator[tuple[str, dict[str, Any], datetime]]:
    """All that an entry tells of its subscription: type, what that adds, from when it counts."""
    if now.price is None:  # it was deleted
        yield "subscription.ended", {"deleted": True}, effective
        return
    # Entries from before there were periods have none.
    periods = before is None or before.started_at is not None
    restarted = unpaid is not None
    if before is None or restarted or (periods and before.started_at != now.started_at):
        start = effective if restarted else now.started_at or effective
        yield "subscription.started", {"unpaid_since": unpaid}, start
    if before and before.pair != now.pair:
        stood = dict(zip(("client", "service", "plan"), before.pair, strict=True))
        stood_at = {"before": stood | {"price": plain(before.price or Decimal(0))}}
        yield "subscription.moved", stood_at, effective
    was = before.ended_at if before else None
    if periods and not restarted and was != now.ended_at:
        about = {"deleted": False, "ended_at_before": was}
        yield "subscription.ended", about, now.ended_at or effective


def _corrections(ids: list[int], lines: dict[int, Line]) -> None:
    for id, subscription, correction, since, until, price, author, recorded in _rows(
        CORRECTIONS, [ids]
    ):
        item = {
            "id": id,
            "subscription": subscription,
            "subscription_id": subscription,
            "correction": correction,
            "correction_id": correction,
            "since": since,
            "until": until,
            "price": plain(price),
            "author": author,
        }
        lines[id].facts[Key("subscription.corrected")] = Fact(since, recorded, 1, [item])


SOURCES = {
    "happening": _happened,
    "entry": _entries,
    "followers": _moved_followers,
    "correction": _corrections,
}

# For `identified`, and not for receivers.
INNER = ("id", "subscription_id", "correction_id", "correction_reason", "request_id", "currency")


def known_elsewhere(facts: Sequence[Fact]) -> dict[int, dict[str, Any]]:
    """The items of facts about subscriptions as they are sent, by the id of their entry.

    They have the subscription's id in another system, the currency, and a correction's reason. Up
    to two queries.
    """
    items = [item for fact in facts for item in fact.items or () if "subscription_id" in item]
    return {item["id"]: item for item in identified(items)}


def sent(item: dict[str, Any], known: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """An item as it is sent: `known` has what `known_elsewhere` has found."""
    if "subscription_id" not in item:
        return item
    found = known[item["id"]]
    about = {"currency": settings.CURRENCY, "source": found["source"]}
    about["external_id"] = found["external_id"]
    if item["correction_id"] is not None:
        about["reason"] = found["correction_reason"]
    return {name: value for name, value in item.items() if name not in INNER} | about
