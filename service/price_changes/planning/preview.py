"""The preview of a price change: counts, totals, groups and its fingerprint, in one pass.

The fingerprint stands for the definition of the change and for each of its rows: what it pays, what
it is to pay, or why it does not move. To approve the fingerprint is to approve these rows. It can't
be forged: the digest of the rows has a secret seed (docs/decisions/0011-seeded-fingerprint.md).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec
from django.db import connection, transaction
from django.db.models import Q

from clients.models import Client
from price_changes.errors import ChangeError
from price_changes.models import PriceChange
from price_changes.planning.catalogue_value import CATALOGUE, values_now
from price_changes.planning.relations import fetch
from price_changes.planning.rows_sql import few_rows_sql, rows_sql
from services.bounds import HIGHEST_PRICE
from services.models import Clock, Plan, Service, book_clock

EDGES = [-1000, -100, -10, -1, 0, 1, 10, 100, 1000]  # of the differences, in the currency
LARGEST = 10  # clients that are shown as the largest movers

# The database draws the seed from its cryptographic source of random bytes, so it is in no
# statement, and in no log of statements.
DRAW_SEED = """
UPDATE price_changes_pricechange
   SET preview_seed = hashtextextended(gen_random_uuid()::text, 0) WHERE id = %s
"""

# Hashes everything that an approval depends on in each row; by XOR, so that no order is needed. XOR
# is linear: somebody who knew the seed could solve for rows that leave the digest as it is.
HASH = (
    "bit_xor(hash_record_extended(ROW(id, service_id, plan_id, price, price_state, locked_until,"
    " new_price, new_state, new_until, reason), (SELECT coalesce(preview_seed, 0)"
    " FROM price_changes_pricechange WHERE id = {change})))"
)

# Two groupings in one statement, hence one snapshot. As GROUPING SETS they would be one scan, on
# one core and sorted twice; apart, both are aggregated in parallel.
PREVIEW = f"""
SELECT service_id, plan_id, reason, bucket, NULL AS client_id, rows, before, after, movement,
       stop_following, lowest, highest, hash
  FROM (SELECT service_id, plan_id, reason, bucket, count(*) AS rows, sum(price) AS before,
               sum(new_price) AS after, sum(abs(new_price - price)) AS movement,
               count(*) FILTER (
                   WHERE reason IS NULL AND price_state = 'follows' AND new_state <> 'follows'
               ) AS stop_following,
               min(new_price) AS lowest, max(new_price) AS highest, {HASH} AS hash
          FROM (SELECT *, CASE WHEN reason IS NULL THEN width_bucket(
                       new_price - price, ARRAY[{", ".join(map(str, EDGES))}]::numeric[]) END
                       AS bucket
                  FROM ({{rows}}) change_row) bucketed
         GROUP BY service_id, plan_id, reason, bucket) pair
 UNION ALL
SELECT NULL, NULL, NULL, NULL, client_id, rows, before, after, NULL, NULL, NULL, NULL, NULL
  FROM (SELECT client_id, count(*) AS rows, sum(price) AS before, sum(new_price) AS after
          FROM ({{rows}}) change_row WHERE reason IS NULL GROUP BY client_id
        HAVING sum(price) <> sum(new_price)
         ORDER BY abs(sum(new_price) - sum(price)) DESC, client_id LIMIT {LARGEST}) mover
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Counted:
    """The result of one pass over the rows."""

    rows: int
    moves: int
    fingerprint: str
    preview: dict[str, Any]


def instant_of(change: PriceChange) -> datetime | None:
    """The instant as of which a change is counted; None for now, as for a held one, whose instant
    has passed.
    """
    return None if change.status == PriceChange.Status.HELD else change.effective_at


def count(change: PriceChange, at: datetime | None = None) -> Counted:
    """Compute the preview of a change; nothing is stored. Five to seven queries.

    It is counted as of the change's instant, or as of `at`. ChangeError if it would make a price
    negative or too high.
    """
    at = at or instant_of(change) or book_clock()
    sql, params = rows_sql(change, at)
    pairs: dict[tuple[int, int], dict[str, Any]] = {}
    stays: dict[str, int] = defaultdict(int)
    buckets: dict[int, int] = defaultdict(int)
    movers = []
    rows = moves = stop_following = digest = 0
    before = after = movement = Decimal(0)
    found = fetch(PREVIEW.format(rows=sql, change=int(change.pk)), [*params, *params])
    for (
        service_id,
        plan_id,
        reason,
        bucket,
        client_id,
        n,
        was,
        becomes,
        moved_by,
        stop,
        low,
        high,
        hash,
    ) in found:
        if client_id is not None:
            movers.append((client_id, n, was, becomes))
            continue
        pair = pairs.setdefault(
            (service_id, plan_id),
            {
                "service": service_id,
                "plan": plan_id,
                "rows": 0,
                "moves": 0,
                "before": Decimal(0),
                "after": Decimal(0),
            },
        )
        moving = n if reason is None else 0
        for name, value in (("rows", n), ("moves", moving), ("before", was), ("after", becomes)):
            pair[name] += value
        rows, moves, digest = rows + n, moves + moving, digest ^ hash
        before, after, movement = before + was, after + becomes, movement + moved_by
        stop_following += stop
        if reason is not None:
            stays[reason] += n
        elif low < 0 or high > HIGHEST_PRICE:
            raise _out_of_range(change, at)
        else:
            buckets[bucket] += n
    preview = {
        "as_of": at.isoformat(),
        "rows": rows,
        "moves": moves,
        "stays": dict(sorted(stays.items())),
        "stop_following": stop_following,
        "total_before": before,
        "total_after": after,
        "movement": movement,
        "by_service_and_plan": _named_pairs(list(pairs.values())),
        "largest_movers": _named_clients(movers),
        "distribution": [
            {
                "from": EDGES[bucket - 1] if bucket else None,
                "to": EDGES[bucket] if bucket < len(EDGES) else None,
                "rows": n,
            }
            for bucket, n in sorted(buckets.items())
        ],
        "scheduled_before": scheduled_before(change, instant_of(change)),
        "scheduled_after": scheduled_after(change, instant_of(change)),
    }
    return Counted(rows, moves, fingerprint(change, digest, rows, moves, before, after), preview)


def scheduled_before(change: PriceChange, at: datetime | None) -> list[int]:
    """The scheduled changes that may move its rows before it, if it came at `at` (None: now). One
    query.
    """
    others = PriceChange.objects.filter(
        status=PriceChange.Status.SCHEDULED, effective_at__lte=at or Clock()
    ).exclude(pk=change.pk)
    about = _about(change)
    return [
        other.pk
        for other in others.only("service", "plan", "filter").order_by("effective_at", "approval")
        if all(about.get(name, value) == value for name, value in _about(other).items())
    ]


def scheduled_after(change: PriceChange, at: datetime | None) -> list[int]:
    """The scheduled changes that will overrule a change of the catalogue, if it came at `at` (None:
    now). One query; none for a set.
    """
    if change.kind not in CATALOGUE:
        return []
    of: dict[str, Any] = (
        {"service_id": change.service_id} if change.service_id else {"plan_id": change.plan_id}
    )
    later = PriceChange.objects.filter(
        status=PriceChange.Status.SCHEDULED, kind=change.kind, **of
    ).exclude(pk=change.pk)
    after = Q(effective_at__gt=at or Clock())
    if change.approval is not None:
        after |= Q(effective_at=at, approval__gt=change.approval)
    found = later.filter(after).order_by("effective_at", "approval")
    return list(found.values_list("pk", flat=True))


def _about(change: PriceChange) -> dict[str, Any]:
    """The service, plan, client and subscription that it names: two changes that name different
    ones share no rows.
    """
    kept = change.filter or {}
    said = {name: kept.get(name) for name in ("service", "plan", "client", "subscription")}
    said["service"] = change.service_id or said["service"]
    said["plan"] = change.plan_id or said["plan"]
    return {name: value for name, value in said.items() if value is not None}


def fingerprint(
    change: PriceChange,
    digest: int,
    rows: int,
    moves: int,
    total_before: Decimal,
    total_after: Decimal,
) -> str:
    """32 hexadecimal digits for the definition, the rows and their totals.

    A preview from before there were seeds has the old formula, without the totals: a change that
    was approved by it is still compared by it.
    """
    definition = [
        change.kind,
        change.service_id,
        change.plan_id,
        change.new_value,
        change.for_new_only,
        change.filter,
        change.adjustment,
        change.operand,
        change.floor,
        change.ceiling,
        change.rounding_step,
        change.locked_until,
        change.comment,
        change.reverts_id,
        digest,
        rows,
        moves,
    ]
    if change.preview_seed is not None:
        definition += [total_before, total_after]
    plain = [str(each.normalize()) if isinstance(each, Decimal) else each for each in definition]
    return blake2b(msgspec.json.encode(plain), digest_size=16).hexdigest()


def preview(change_id: int) -> PriceChange:
    """Count what a change would do, and store it with its fingerprint; raises ChangeError."""
    with transaction.atomic():
        change = PriceChange.objects.select_for_update().filter(pk=change_id).first()
        if change is None:
            raise ChangeError("not_found", f"There is no price change {change_id}.", 404)
        if change.status not in ("planned", "held"):
            raise ChangeError(
                "wrong_state",
                f"Price change {change_id} is {change.status}; only one that is planned or held"
                " can be previewed.",
                409,
                state=change.status,
                allowed=["planned", "held"],
            )
        # Taken before the count, so that every write which the count does not see is drift later. A
        # write that is committed between the two is counted, and is drift too.
        [(snapshot,)] = fetch("SELECT pg_current_snapshot()::text", [])
        with connection.cursor() as cursor:
            cursor.execute(DRAW_SEED, [change.pk])
        change.refresh_from_db(fields=["preview_seed"])
        change.old_value, change.new_value = values_now(change)
        counted = count(change)
        if change.kind == PriceChange.Kind.SET and not counted.rows:
            raise ChangeError(
                "empty_set",
                "No subscription matches the filter: there is nothing to change.",
                parameter="filter",
            )
        change.preview = msgspec.to_builtins(counted.preview)
        change.fingerprint = counted.fingerprint
        change.previewed_at = book_clock()
        change.preview_snapshot = snapshot
        change.save(
            update_fields=[
                "old_value",
                "new_value",
                "preview",
                "fingerprint",
                "previewed_at",
                "preview_snapshot",
            ]
        )
    return change


# The names of a row's values where it is listed, and the columns of `rows_sql` that have them.
COLUMNS = {
    "subscription": "id",
    "client": "client_id",
    "service": "service_id",
    "plan": "plan_id",
    "old_price": "price",
    "price_state": "price_state",
    "new_price": "new_price",
    "new_state": "new_state",
    "locked_until": "new_until",
    "reason": "reason",
}


def listed(
    change: PriceChange, after: int = 0, limit: int = 100, reason: str | None = None
) -> list[dict[str, Any]]:
    """The rows old → new in the order of their ids, after `after`; of one reason if given.

    `reason` "moves" means those that move. They are computed anew, from the book as it is now. One
    page is read wherever it is; for a rare reason, as much as it takes to fill a page.
    """
    [(sql, params)] = few_rows_sql([change])
    where = {None: "true", "moves": "reason IS NULL"}.get(reason, "reason = %s")
    more = [reason] if where.endswith("%s") else []
    # OFFSET 0 keeps the condition on the reason out of the walk along the ids. The planner assumes
    # that hardly any row meets a condition on an expression, and would judge and sort all rows
    # first. The outer query has no ORDER BY for the same reason; the rows come in the walk's order.
    walk = f"SELECT * FROM ({sql}) change_row WHERE id > %s ORDER BY id OFFSET 0"  # noqa: S608
    found = fetch(
        f"SELECT {', '.join(COLUMNS.values())} FROM ({walk}) change_row"  # noqa: S608
        f" WHERE {where} LIMIT %s",
        [*params, after, *more, limit],
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def _out_of_range(change: PriceChange, at: datetime) -> ChangeError:
    sql, params = rows_sql(change, at)
    [(pk, price, new_price)] = fetch(
        f"SELECT id, price, new_price FROM ({sql}) change_row WHERE reason IS NULL"  # noqa: S608
        " AND (new_price < 0 OR new_price > %s) ORDER BY id LIMIT 1",
        [*params, HIGHEST_PRICE],
    )
    return ChangeError(
        "price_out_of_range",
        f"Subscription {pk} would move from {price} to {new_price}; a price must be from 0 to"
        f" {HIGHEST_PRICE}. Set a floor or a ceiling, or take it out of the filter.",
        409,
        parameter="operand",
        value=str(new_price),
        subscription=pk,
    )


def _named_pairs(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    services = dict(Service.objects.values_list("pk", "name"))
    plans = {plan.pk: str(plan) for plan in Plan.objects.all()}
    for pair in pairs:
        pair["service_name"] = services.get(pair["service"], "")
        pair["plan_name"] = plans.get(pair["plan"], "")
    return sorted(pairs, key=lambda pair: -abs(pair["after"] - pair["before"]))


def _named_clients(movers: list[tuple[int, int, Decimal, Decimal]]) -> list[dict[str, Any]]:
    ids = [client_id for client_id, *_ in movers]
    names = dict(Client.objects.filter(pk__in=ids).values_list("pk", "company_name"))
    return [
        {
            "client": client_id,
            "client_name": names.get(client_id, ""),
            "rows": rows,
            "before": before,
            "after": after,
        }
        for client_id, rows, before, after in movers
    ]
