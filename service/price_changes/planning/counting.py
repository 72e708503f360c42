"""The count of a price change: rows, totals, groups and the fingerprint, in one pass."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, NotRequired, TypedDict

from django.conf import settings
from django.utils.translation import gettext as _

from clients.models import Client
from price_changes.errors import ChangeError
from price_changes.kinds.relations import fetch
from price_changes.models import PriceChange
from price_changes.planning.around import counted_at, scheduled_after, scheduled_before
from price_changes.planning.behind import rows_behind
from price_changes.planning.fingerprint import HASH, fingerprint
from services.bounds import HIGHEST_PRICE
from services.models import Plan, Service, Skip, book_clock

EDGES = [-1000, -100, -10, -1, 0, 1, 10, 100, 1000]  # of the differences, in the currency
PERCENTS = [-50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50]  # of the same, in per cent of the price
UNPAID = {Skip.Reason.ENDED.value, Skip.Reason.DELETED.value}  # reasons of rows that pay no more
LARGEST = 10  # clients that are shown as the largest movers

# One row for each pair and part: `part` is the reason of rows that stay, and the number of the
# bucket of those that move. OFFSET 0 has it computed once, and not wherever it is used.
COUNT = f"""
SELECT NULL AS client_id, rows, before, after, service_id, plan_id, part, movement, stop_following,
       lowest, highest, hash, percent, percents, upcoming_before, upcoming_after, boundary
  FROM (SELECT service_id, plan_id, part, count(*) AS rows, sum(price) AS before,
               sum(new_price) AS after, sum(abs(new_price - price)) AS movement,
               count(*) FILTER (
                   WHERE reason IS NULL AND price_state = 'follows' AND new_state <> 'follows'
               ) AS stop_following,
               min(new_price) AS lowest, max(new_price) AS highest, {HASH} AS hash,
               {{percent}} AS percent, percents,
               coalesce(sum(price) FILTER (WHERE upcoming), 0) AS upcoming_before,
               coalesce(sum(new_price) FILTER (WHERE upcoming), 0) AS upcoming_after,
               min(boundary) FILTER (WHERE reason IS NULL) AS boundary
          FROM (SELECT *, {{percents}} AS percents, coalesce(reason, width_bucket(
                       new_price - price, ARRAY[{", ".join(map(str, EDGES))}]::numeric[])::text)
                       AS part
                  FROM ({{rows}}) change_row OFFSET 0) parted
         GROUP BY service_id, plan_id, part, percents) pair
"""  # noqa: S608 - constants
# With the largest movers, in one statement, hence one snapshot. As GROUPING SETS both would be one
# scan, on one core and sorted twice; apart, both are aggregated in parallel.
PREVIEW = f"""{COUNT} UNION ALL
SELECT client_id, rows, before, after, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL
  FROM (SELECT client_id, count(*) AS rows, sum(price) AS before, sum(new_price) AS after
          FROM ({{rows}}) change_row WHERE reason IS NULL GROUP BY client_id
        HAVING sum(price) <> sum(new_price)
         ORDER BY abs(sum(new_price) - sum(price)) DESC, client_id LIMIT {LARGEST}) mover
"""  # noqa: S608 - constants

# The largest rise or fall of a price in per cent of it: Infinity for one from 0. Only where a limit
# asks for it, because it divides in each row.
PERCENT = """max(CASE WHEN price = new_price THEN 0 WHEN price = 0 THEN 'Infinity'
                    ELSE abs(new_price - price) * 100 / price END)"""
NO_PERCENT = "NULL::numeric"
# The bucket of a price that moves, by its difference in per cent of it: the last one for a rise
# from 0. A preview divides for it in each row; a recount does not.
BUCKET_OF_PERCENT = f"""CASE WHEN reason IS NOT NULL THEN NULL WHEN price = new_price
    THEN {PERCENTS.index(0) + 1} WHEN price = 0 THEN {len(PERCENTS)}
    ELSE width_bucket((new_price - price) * 100 / price,
                      ARRAY[{", ".join(map(str, PERCENTS))}]::numeric[]) END"""
NO_BUCKETS = "NULL::integer"


class Group(NamedTuple):
    """A row of `COUNT` without its client: the rows of one pair, of one reason or bucket; in a
    preview also of one bucket of per cent.

    `PREVIEW` has rows with a client too, which end with `after`: those are movers.
    """

    rows: int
    before: Decimal
    after: Decimal
    service_id: int
    plan_id: int
    part: str
    movement: Decimal
    stop_following: int
    lowest: Decimal
    highest: Decimal
    hash: int
    percent: Decimal | None
    percents: int | None
    upcoming_before: Decimal  # the part of `before` that starts later
    upcoming_after: Decimal
    boundary: datetime | None  # the first start or end of those that move

    @property
    def reason(self) -> str | None:
        """Why its rows stay; None if they move."""
        return None if self.part.isdecimal() else self.part


class Pair(TypedDict):
    """The effect on the subscriptions of one service and plan; amounts are decimals as text."""

    service: int
    service_name: str
    plan: int
    plan_name: str
    rows: int
    moves: int
    before: str
    after: str


class Mover(TypedDict):
    """The effect on one of the clients whom the change moves most."""

    client: int
    client_name: str
    rows: int
    before: str
    after: str


# The number of prices that move by an amount in [from, to): of a class, "from" can't be a name.
Bucket = TypedDict("Bucket", {"from": int | None, "to": int | None, "rows": int})


class Paid(TypedDict):
    """The part of the rows of a change that is paid as of its count; amounts are decimals as text.

    `until`: the first instant after it at which a row that moves starts or ends; None for never.
    """

    total_before: str
    total_after: str
    until: str | None


class Preview(TypedDict):
    """A preview as it is stored, and as the API shows it; amounts are decimals as text."""

    as_of: str
    rows: int
    moves: int
    stays: dict[str, int]  # by the reason
    stays_total: NotRequired[dict[str, str]]  # what they pay; not in previews of before
    stop_following: int
    total_before: str
    total_after: str
    paid: NotRequired[Paid]  # not in previews of before
    movement: str
    # Only where a limit asks for it, and not if nothing moves; Infinity for a rise from 0.
    largest_percent: NotRequired[str]
    by_service_and_plan: list[Pair]
    largest_movers: list[Mover]
    distribution: list[Bucket]
    percents: NotRequired[list[Bucket]]  # not in previews of before
    scheduled_before: list[int]
    scheduled_after: list[int]


@dataclass
class _Sums:
    """The sums over a pair, a client, or all rows."""

    rows: int = 0
    moves: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)

    def add(self, rows: int, moves: int, before: Decimal, after: Decimal) -> None:
        self.rows, self.moves = self.rows + rows, self.moves + moves
        self.before, self.after = self.before + before, self.after + after


class Counted(_Sums):
    """The result of one pass over the rows of a change, as of `at`."""

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self.at = at
        self.pairs: dict[tuple[int, int], _Sums] = defaultdict(_Sums)
        self.movers: dict[int, _Sums] = {}
        self.stays: dict[str, int] = defaultdict(int)
        self.stays_total: dict[str, Decimal] = defaultdict(Decimal)
        self.buckets: dict[int, int] = defaultdict(int)
        self.percents: dict[int, int] = defaultdict(int)
        self.stop_following = 0
        self.movement = Decimal(0)  # the sum of all rises and falls
        self.upcoming = _Sums()
        self.until: datetime | None = None  # the first start or end of a row that moves
        self.fingerprint = ""
        self.percent: Decimal | None = None  # the largest rise or fall of one price


def percent_sql() -> str:
    """The expression of the column `percent`."""
    return NO_PERCENT if settings.APPROVAL_LIMIT_PERCENT is None else PERCENT


def count(change: PriceChange, at: datetime | None = None, movers: bool = False) -> Counted:
    """Count the rows of a change in one pass; nothing is stored. One query, up to three more for a
    set.

    They are judged as of the change's instant, or as of `at`. `movers`: with the clients whom it
    moves most, by a second grouping of the same rows, and with the differences in per cent.
    ChangeError if it would make a price negative or too high.
    """
    at = at or counted_at(change) or book_clock()
    sql, params = rows_behind(change, at)
    counted, digest = Counted(at), 0
    statement, params = (PREVIEW, params * 2) if movers else (COUNT, params)
    percents = BUCKET_OF_PERCENT if movers else NO_BUCKETS
    statement = statement.format(
        rows=sql, change=int(change.pk), percent=percent_sql(), percents=percents
    )
    for client, *row in fetch(statement, params):
        if client is not None:
            rows, before, after = row[:3]
            counted.movers[client] = _Sums(rows, 0, before, after)
            continue
        group = Group._make(row)
        sums = (group.rows, 0 if group.reason else group.rows, group.before, group.after)
        counted.add(*sums)
        counted.pairs[group.service_id, group.plan_id].add(*sums)
        digest ^= group.hash
        counted.movement += group.movement
        counted.stop_following += group.stop_following
        counted.upcoming.add(0, 0, group.upcoming_before, group.upcoming_after)
        if group.boundary is not None:
            counted.until = min(counted.until or group.boundary, group.boundary)
        if group.reason is not None:
            counted.stays[group.reason] += group.rows
            counted.stays_total[group.reason] += group.before
        elif group.lowest < 0 or group.highest > HIGHEST_PRICE:
            raise _out_of_range(change, at)
        else:
            counted.buckets[int(group.part)] += group.rows
            if group.percents is not None:
                counted.percents[group.percents] += group.rows
            if group.percent is not None:
                counted.percent = max(counted.percent or group.percent, group.percent)
    counted.fingerprint = fingerprint(
        change, digest, counted.rows, counted.moves, counted.before, counted.after
    )
    return counted


def preview_of(change: PriceChange, counted: Counted) -> Preview:
    """A count as it is stored and shown, with names. Five queries."""
    preview = Preview(
        as_of=counted.at.isoformat(),
        rows=counted.rows,
        moves=counted.moves,
        stays=dict(sorted(counted.stays.items())),
        stays_total={reason: str(sum) for reason, sum in sorted(counted.stays_total.items())},
        stop_following=counted.stop_following,
        total_before=str(counted.before),
        total_after=str(counted.after),
        paid=_paid(counted),
        movement=str(counted.movement),
        by_service_and_plan=_pairs(counted.pairs),
        largest_movers=_movers(counted.movers),
        distribution=_buckets(counted.buckets, EDGES),
        percents=_buckets(counted.percents, PERCENTS),
        scheduled_before=scheduled_before(change, counted_at(change)),
        scheduled_after=scheduled_after(change, counted_at(change)),
    )
    if counted.percent is not None:
        preview["largest_percent"] = str(counted.percent)
    return preview


def _paid(counted: Counted) -> Paid:
    stay = sum(map(counted.stays_total.__getitem__, UNPAID & counted.stays_total.keys()))
    return Paid(
        total_before=str(counted.before - counted.upcoming.before - stay),
        total_after=str(counted.after - counted.upcoming.after - stay),
        until=None if counted.until is None else counted.until.isoformat(),
    )


def _buckets(found: dict[int, int], edges: list[int]) -> list[Bucket]:
    return [
        {
            "from": edges[bucket - 1] if bucket else None,
            "to": edges[bucket] if bucket < len(edges) else None,
            "rows": rows,
        }
        for bucket, rows in sorted(found.items())
    ]


def _out_of_range(change: PriceChange, at: datetime) -> ChangeError:
    sql, params = rows_behind(change, at)
    [(pk, price, new_price)] = fetch(
        f"SELECT id, price, new_price FROM ({sql}) change_row WHERE reason IS NULL"  # noqa: S608
        " AND (new_price < 0 OR new_price > %s) ORDER BY id LIMIT 1",
        [*params, HIGHEST_PRICE],
    )
    of_set = bool(change.adjustment)
    return ChangeError(
        "price_out_of_range",
        (
            _(
                "Subscription %(id)s would move from %(price)s to %(new_price)s; a price must be"
                " from 0 to %(highest)s. Set a floor or a ceiling, or take it out of the filter."
            )
            if of_set
            else _(
                "Subscription %(id)s would move from %(price)s to %(new_price)s; a price must be"
                " from 0 to %(highest)s."
            )
        )
        % {"id": pk, "price": price, "new_price": new_price, "highest": HIGHEST_PRICE},
        409,
        parameter="operand" if of_set else "new_value",
        value=str(new_price),
        subscription=pk,
    )


def _pairs(found: dict[tuple[int, int], _Sums]) -> list[Pair]:
    """The pairs with their names, the one that moves most first. Two queries."""
    services = dict(Service.objects.values_list("pk", "name"))
    plans = {plan.pk: plan.stored_name for plan in Plan.objects.all()}
    by_difference = sorted(found.items(), key=lambda pair: -abs(pair[1].after - pair[1].before))
    return [
        Pair(
            service=service,
            service_name=services.get(service, ""),
            plan=plan,
            plan_name=plans.get(plan, ""),
            rows=sums.rows,
            moves=sums.moves,
            before=str(sums.before),
            after=str(sums.after),
        )
        for (service, plan), sums in by_difference
    ]


def _movers(found: dict[int, _Sums]) -> list[Mover]:
    """The clients with their names, in the given order. One query."""
    names = dict(Client.objects.filter(pk__in=found).values_list("pk", "company_name"))
    return [
        Mover(
            client=client,
            client_name=names.get(client, ""),
            rows=sums.rows,
            before=str(sums.before),
            after=str(sums.after),
        )
        for client, sums in found.items()
    ]
