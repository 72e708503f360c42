"""Reading the ledger: what was paid at any instant, why, and what has been written since.

Triggers write it (migration `0005_ledger`); nothing here does. Three readers, three orders:

    history, explain   of one subscription, by id: its ids stand in the order of its commits
    as_of              of an instant: of each subscription the last recorded word on it, that is
                       the greatest id of those with effective_at not after the instant
    feed               of all, by (xact, id), and only what no open transaction can precede

docs/decisions/0007-ledger.md has the reasons.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Self

from django.db import connection

from services.models import LedgerEntry, Repricing
from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING, Total
from services.sql import SQL

# What readers are shown of an entry. `price` is None in the entry of a deletion.
COLUMNS = (
    "id",
    "subscription_id",
    "client_id",
    "service_id",
    "plan_id",
    "price",
    "price_state",
    "locked_until",
    "effective_at",
    "recorded_at",
    "change_id",
    "author",
)

Entry = dict[str, Any]


def history(subscription_id: int, after: int = 0, limit: int | None = None) -> list[Entry]:
    """Every price that a subscription ever had, in the order of their writing, newest last.

    Of one that was deleted too; empty for one that never was. From entry `after` on, up to
    `limit`. One query.
    """
    entries = LedgerEntry.objects.filter(subscription_id=subscription_id, id__gt=after)
    return list(entries.order_by("id").values(*COLUMNS)[:limit])


# --- As of an instant -------------------------------------------------------------------------

AS_OF_FILTERS = ("service", "plan", "client")

# The last word counts: a worker that came late, or a revert, says of an instant in the past what
# was to be paid then, and says it later than the entry that it corrects. So first the newest entry
# of each, whatever it says, and only then the conditions: who has moved to another service since
# is not found among those of this one, and who was deleted is not there.
AS_OF = """
SELECT subscription_id, client_id, service_id, plan_id, price, price_state, locked_until, entry_id
  FROM (SELECT DISTINCT ON (subscription_id)
               subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
               id AS entry_id
          FROM services_ledgerentry
         WHERE effective_at <= %s {candidates}
         ORDER BY subscription_id, id DESC) newest
 WHERE price IS NOT NULL {conditions}
"""

# Who was ever this client's. A subscription comes to a client by somebody's own write and never by
# a price change, so the partial index `ledger_client` knows all, and no repricing has to feed it.
OF_CLIENT = """
           AND subscription_id IN (SELECT subscription_id FROM services_ledgerentry
                                    WHERE client_id = %s AND change_id IS NULL)
"""


def as_of(
    instant: datetime, book_filter: BookFilter = EVERYTHING, subscription_id: int | None = None
) -> SQL:
    """A statement for what was paid at `instant`: a row a subscription that was there then.

    Its columns: subscription_id, client_id, service_id, plan_id, price, price_state,
    locked_until, entry_id. Of one subscription, one client, or the whole book; filters for
    anything but service, plan and client, which the ledger doesn't know, are a ValueError.
    Reads the entries of all subscriptions unless there is one or a client. No query.
    """
    given = book_filter.given
    if unknown := given.keys() - set(AS_OF_FILTERS):
        raise ValueError(f"The ledger can't tell by {', '.join(sorted(unknown))}.")
    candidates = ""
    params: list[Any] = [instant]
    if subscription_id is not None:
        candidates += "AND subscription_id = %s"
        params.append(subscription_id)
    if "client" in given:
        candidates += OF_CLIENT
        params.append(given["client"])
    conditions = "".join(f" AND {name}_id = %s" for name in given)
    sql = AS_OF.format(candidates=candidates, conditions=conditions)
    return sql, (*params, *given.values())


def total_as_of(instant: datetime, book_filter: BookFilter = EVERYTHING) -> Total:
    """What all that match paid together at `instant`, and how many they were. One query."""
    sql, params = as_of(instant, book_filter)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT coalesce(sum(price), 0), count(*) FROM ({sql}) entry",  # noqa: S608 - ours
            params,
        )
        return Total(*cursor.fetchone())


# --- Why --------------------------------------------------------------------------------------

RULE = "price = round(full_price * (100 - discount_percent) / 100, 2), half up"


@dataclass(frozen=True)
class Change:
    """What a price change says of itself to whoever asks why."""

    id: int
    author: str
    title: str = ""
    reason: str = ""


# Who knows a price change by its id; the first that answers counts. `price_changes` adds its own:
# it stands on top of this. Without it the author is the one that the repricing carries.
DESCRIBE_CHANGE: list[Callable[[int], Change | None]] = []


@dataclass(frozen=True)
class PendingChange:
    """A price change that is scheduled and will move a subscription."""

    id: int
    title: str
    effective_at: datetime
    new_price: Decimal


# Who knows what is scheduled for a subscription, by its id; `price_changes` adds its own.
PENDING_CHANGES: list[Callable[[int], list[PendingChange]]] = []


@dataclass(frozen=True)
class Edit:
    """An edit of the catalogue: a list price, or a discount in per cent, and from when."""

    old: Decimal | None
    new: Decimal
    effective_at: datetime
    author: str
    change_id: int | None


@dataclass(frozen=True)
class Rule:
    """What the rule said at an instant, from what, and who made it so.

    An edit is None where the value was never edited.
    """

    list_price: Decimal
    discount_percent: int
    price: Decimal
    arithmetic: str
    list_price_edit: Edit | None
    discount_edit: Edit | None
    text: str = RULE


@dataclass(frozen=True)
class Explanation:
    """Why a subscription pays what it pays at an instant; `text` is the same in a sentence.

    `price` is None if it was deleted by then. `rule` is None where the service or the plan of
    then is gone. `price_reason` is of a locked or negotiated price, and known for the newest
    entry only. `in_line`: whether the price is the rule's.
    """

    subscription_id: int
    at: datetime
    client_id: int
    service_id: int
    plan_id: int
    price: Decimal | None
    price_state: str
    locked_until: datetime | None
    price_reason: str
    since: datetime
    recorded_at: datetime
    entry_id: int
    author: str
    change: Change | None
    rule: Rule | None
    in_line: bool
    text: str


EXPLAIN = """
SELECT moment.at, entry.*, coalesce(subscription.price_reason, '') AS price_reason,
       list_price_at(entry.service_id, moment.at) AS list_price,
       discount_at(entry.plan_id, moment.at) AS discount_percent,
       price_rule_at(entry.service_id, entry.plan_id, moment.at) AS rule_price,
       subscription.ended_at <= moment.at AS ended
  FROM (SELECT coalesce(%s::timestamptz, clock_timestamp()) AS at OFFSET 0) moment
 CROSS JOIN LATERAL (
       SELECT {columns} FROM services_ledgerentry
        WHERE subscription_id = %s AND effective_at <= moment.at
        ORDER BY id DESC LIMIT 1) entry
  LEFT JOIN services_subscription subscription
    ON subscription.id = entry.subscription_id
   AND NOT EXISTS (SELECT FROM services_ledgerentry later
                    WHERE later.subscription_id = entry.subscription_id AND later.id > entry.id)
"""


def explain(subscription_id: int, at: datetime | None = None) -> Explanation | None:
    """Why the subscription pays what it pays at an instant (now); None if it was not there yet.

    One that was deleted by then has the price None. Three queries, and those of
    `DESCRIBE_CHANGE` or one more if a price change decided the price.
    """
    with connection.cursor() as cursor:
        cursor.execute(EXPLAIN.format(columns=", ".join(COLUMNS)), [at, subscription_id])
        row = cursor.fetchone()
        if row is None:
            return None
        found = dict(zip([column.name for column in cursor.description], row, strict=True))

    instant = found["at"]
    rule = None
    if found["rule_price"] is not None:
        of_catalogue = Repricing.objects.exclude(new_value=None).filter(effective_at__lte=instant)
        rule = Rule(
            list_price=found["list_price"],
            discount_percent=found["discount_percent"],
            price=found["rule_price"],
            arithmetic=arithmetic(
                found["list_price"], found["discount_percent"], found["rule_price"]
            ),
            list_price_edit=_edit(of_catalogue.filter(service=found["service_id"], plan=None)),
            discount_edit=_edit(of_catalogue.filter(plan=found["plan_id"], service=None)),
        )
    change = None if found["change_id"] is None else describe_change(found["change_id"])
    price = found["price"]
    author = found["author"] or (change.author if change else "")
    in_line = rule is not None and price == rule.price
    return Explanation(
        subscription_id=subscription_id,
        at=instant,
        client_id=found["client_id"],
        service_id=found["service_id"],
        plan_id=found["plan_id"],
        price=price,
        price_state=found["price_state"],
        locked_until=found["locked_until"],
        price_reason=found["price_reason"],
        since=found["effective_at"],
        recorded_at=found["recorded_at"],
        entry_id=found["id"],
        author=author,
        change=change,
        rule=rule,
        in_line=in_line,
        text=f"{_why(found, rule, in_line)} {_decided(found, change, author)}",
    )


def describe_change(change_id: int) -> Change:
    """A price change as whoever knows it describes it, or as its repricings do (one query)."""
    for describe in DESCRIBE_CHANGE:
        if change := describe(change_id):
            return change
    authors = Repricing.objects.filter(change_id=change_id).exclude(author="").order_by("id")
    return Change(change_id, authors.values_list("author", flat=True).first() or "")


def pending_changes(subscription_id: int) -> list[PendingChange]:
    """What is scheduled for a subscription, in the order of its coming. Queries: see the hooks."""
    return [change for pending in PENDING_CHANGES for change in pending(subscription_id)]


def arithmetic(list_price: Decimal, discount_percent: int, price: Decimal) -> str:
    """The rule with its numbers, as people write it."""
    exact = list_price * (100 - discount_percent) / 100
    sides = f"{list_price} × (100 − {discount_percent}) / 100"
    if exact == price:
        return f"{sides} = {price}"
    return f"{sides} = {exact.normalize():f}, rounded half up to {price}"


def _edit(of_value: Any) -> Edit | None:
    """The last of these edits: the one in force, as `list_price_at` and `discount_at` have it."""
    names = ("old_value", "new_value", "effective_at", "author", "change_id")
    row = of_value.order_by("-effective_at", "-id").values_list(*names).first()
    return Edit(*row) if row else None


def _why(found: Entry, rule: Rule | None, in_line: bool) -> str:
    price, state = found["price"], found["price_state"]
    reason = f" ({found['price_reason']})" if found["price_reason"] else ""
    if price is None:
        return "It was deleted and pays nothing."
    if state == "locked":
        until = found["locked_until"]
        end = f"until {_said(until)}" if until else "until it is released"
        return f"Its price of {price} is locked {end}{reason}."
    if state == "negotiated":
        return f"Its price of {price} was negotiated{reason}."
    if rule is None:
        return f"It followed the catalogue, at {price}; its service or plan is gone since."
    if in_line:
        return f"It follows the catalogue: {rule.arithmetic}."
    if found["ended"]:
        return f"It has ended, at its last price of {price}; the catalogue moves it no more."
    return f"It follows the catalogue and waits to be repriced from {price}: {rule.arithmetic}."


def _decided(found: Entry, change: Change | None, author: str) -> str:
    by = f" by {author}" if author else ""
    since = f"So since {_said(found['effective_at'])}"
    if change is None:
        return f"{since}, written{by}."
    title = f" “{change.title}”" if change.title else ""
    return f"{since}, by price change {change.id}{title}{by and f', decided{by}'}."


def _said(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


# --- The feed ---------------------------------------------------------------------------------


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
