"""The bridge between two instants: what took the total paid from one to the other, to the cent.

    total(since) + started + restarted + ended + each price change + … = total(until)

Both instants may lie in the past or the future; all is by what is known now. Each difference that a
subscription's paid amount makes at an instant belongs to one step:

- **started**: it begins to pay; **restarted**: again, after an end; **ended**: it ceases to pay, by
  its end or because it was deleted; each with the price of that moment;
- **moved**: to another service, plan or client; the whole difference;
- **corrected**: a correction begins, ends, or is followed by another one. A change within it moves
  nothing that is paid;
- **change**: the price change whose doing it was: a value of the catalogue that came into force for
  who follows (`last_move`), a set that gave it a price or a price state, or what took either back;
- **lock_ended**: a lock ended by its time;
- **negotiated**, **locked**: a person negotiated the price, or let it follow again; locked it or
  released it.

If several come at one instant, the first of this list that applies has all of the difference; after
`corrected`, the last word of the instant: that of a person or a set before a value of the
catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from pricebook.kit.read_timeout import long_read
from services.ledger.bridge_clients import can_rank
from services.ledger.bridge_sql import behind_sql, bridge_sql
from services.ledger.total_then import nearest
from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING, NOTHING, Total

KINDS = (
    "started",
    "restarted",
    "ended",
    "moved",
    "change",
    "lock_ended",
    "negotiated",
    "locked",
    "corrected",
)
GROUPS = {"service": "service_id", "plan": "plan_id", "client": "client_id"}
FILTERS = ("service", "plan", "client")
# The groups that have rows of their own: those that moved most.
MOST = {"service": 1_000, "plan": 1_000, "client": 50}
ONE = "0::bigint"
TRIES = 3


class BridgeBroken(AssertionError):
    """The steps do not add up to the difference of the totals: a fault of this program."""


@dataclass(frozen=True)
class Step:
    """A part of the difference: of a kind, and of a price change if it is one.

    `rows`: how many times it moved the amount of a subscription. `change_id` is None for a value of
    the catalogue from before edits were recorded as changes.
    """

    kind: str
    change_id: int | None
    amount: Decimal
    rows: int


@dataclass
class Group:
    """A service, plan or client (its `id`; None: all others together), with its own bridge."""

    id: int | None
    since: Total = NOTHING
    until: Total = NOTHING
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class Bridge:
    """The steps from the total at `since` to that at `until`, in the order of `KINDS` and changes.

    `groups`: the same for each group, those that moved most first; their steps add up to `steps`.
    """

    since: datetime
    until: datetime
    total_since: Total
    total_until: Total
    steps: list[Step]
    groups: list[Group]


def bridge(
    since: datetime, until: datetime, book_filter: BookFilter = EVERYTHING, by: str | None = None
) -> Bridge:
    """The bridge between two instants, for those of a service, plan or client, by one of these.

    ValueError if `until` is not after `since`, and for another filter or group. Three queries; one
    for a client, four by client. Without sums near both instants all rows at both are read; by
    client also while copies are late, and if very much has happened since. BridgeBroken if the
    steps don't add up, to the cent, in each group.
    """
    if until <= since:
        raise ValueError("A bridge goes from an instant to a later one.")
    if unknown := book_filter.given.keys() - set(FILTERS):
        raise ValueError(f"A bridge can't filter by {', '.join(sorted(unknown))}.")
    group, most = (ONE, 1) if by is None else (GROUPS[by], MOST[by])
    with long_read():
        for of_sums in (by != "client" or can_rank(since, until), False):
            sums = [nearest(at, book_filter) for at in (since, until)] if of_sums else [None]
            first, last = sums[0], sums[-1]
            points = (first, last) if first is not None and last is not None else None
            with connection.cursor() as cursor:
                cursor.execute(bridge_sql(since, until, book_filter, group, most, points))
                rows = cursor.fetchall()
            if points is None or all(row[-1] for row in rows):
                break
    return _built(since, until, rows, by)


def _built(since: datetime, until: datetime, rows: list[tuple[Any, ...]], by: str | None) -> Bridge:
    groups: dict[int | None, Group] = {}
    for of_group, kind, change_id, amount, number, amount_until, number_until, _ in rows:
        found = groups.setdefault(of_group, Group(of_group))
        if kind is None:
            found.since = Total(amount, number)
            found.until = Total(amount_until, number_until)
        else:
            found.steps.append(Step(kind, change_id, amount, number))
    for each in groups.values():
        each.steps = in_order(each.steps)
        moved = sum((step.amount for step in each.steps), Decimal(0))
        if each.since.amount + moved != each.until.amount:
            raise BridgeBroken(
                f"From {since} to {until}, group {each.id}: {each.since.amount} and steps of"
                f" {moved} are not {each.until.amount}."
            )
    built = list(groups.values())
    if by is not None:  # nobody may be left for all others together
        nobody = Group(None)
        built = [each for each in built if each != nobody]
    if by is None:
        one = built[0] if built else Group(None)
        return Bridge(since, until, one.since, one.until, one.steps, [])
    built.sort(key=_place)
    return Bridge(
        since,
        until,
        _sum(each.since for each in built),
        _sum(each.until for each in built),
        together(built),
        built,
    )


def _place(group: Group) -> tuple[bool, Decimal, Decimal, int]:
    moved = abs(group.until.amount - group.since.amount)
    return group.id is None, -moved, -group.until.amount, group.id or 0


def together(groups: Iterable[Group]) -> list[Step]:
    """The steps of all groups, added up. A move between two groups is a row of each."""
    found: dict[tuple[str, int | None], Step] = {}
    for group in groups:
        for step in group.steps:
            key = step.kind, step.change_id
            before = found.get(key, Step(*key, Decimal(0), 0))
            found[key] = Step(*key, before.amount + step.amount, before.rows + step.rows)
    return in_order(found.values())


def in_order(steps: Iterable[Step]) -> list[Step]:
    return sorted(steps, key=lambda step: (KINDS.index(step.kind), step.change_id or 0))


def _sum(totals: Iterable[Total]) -> Total:
    found = list(totals)
    return Total(
        sum((each.amount for each in found), Decimal(0)),
        sum(each.subscriptions for each in found),
    )


@dataclass(frozen=True)
class Behind:
    """A subscription behind a step, and what the step added to what it pays."""

    id: int
    amount: Decimal


def behind(
    since: datetime,
    until: datetime,
    kind: str,
    change_id: int | None = None,
    book_filter: BookFilter = EVERYTHING,
    after: int = 0,
    limit: int = 100,
) -> list[Behind]:
    """Up to `limit` subscriptions behind a step, those after an id, in the order of ids.

    The amounts of all of them add up to the step's. One query.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind} is no kind of step.")
    with long_read(), connection.cursor() as cursor:
        cursor.execute(behind_sql(since, until, book_filter, kind, change_id, after, limit))
        return [Behind(*row) for row in cursor.fetchall()]
