"""The outcome of a round: rows that are lost or too many, wrong prices, reads that went back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

from cluster import hosts
from cluster.clients import DONE, REFUSED, SOURCE, UNKNOWN, Api, Attempt
from cluster.topology import Cluster

CENT = Decimal("0.01")
ROWS = "SELECT external_id, id FROM services_subscription WHERE source = %s AND external_id LIKE %s"
PRICES = """
SELECT s.price, o.full_price, p.discount_percent
  FROM services_subscription s
  JOIN services_service o ON o.id = s.service_id
  JOIN services_plan p ON p.id = s.plan_id
"""


@dataclass(frozen=True)
class Verdict:
    """The counts of a round. The first ones must be 0."""

    lost: int  # acknowledged rows and prices that are not there
    wrong_prices: int  # by the rule, by the book check, or a total that is not their sum
    backward: int  # reads that were older than one before, or than an acknowledged write
    conflicts: int  # rows that were sent again with their key, and were refused
    refused_there: int  # rows and prices that are there, though the answer said that it failed
    unknown_there: int  # rows and prices that are there, and whose answer never came
    older_said: int  # reads that were older, and said that they may be
    done: int
    refused: int
    unknown: int
    edits: int
    reads: int
    by_replica: int  # of these
    replica_reads: int
    without_writes: float  # seconds, the longest
    without_reads: float
    without_replica_reads: float
    slowest_write: float  # of those that were acknowledged

    @property
    def must_be_zero(self) -> dict[str, int]:
        names = ("lost", "wrong_prices", "backward", "conflicts")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def longest(instants: Iterable[float], began: float, ended: float) -> float:
    """The longest time between two of these instants, or to the ends."""
    found = [began, *sorted(instant for instant in instants if instant < ended), ended]
    return max(later - earlier for earlier, later in pairwise(found))


def slowest(attempts: list[Attempt]) -> float:
    return max((each.ended - each.began for each in attempts), default=0.0)


def rows(attempts: list[Attempt], there: dict[str, int]) -> tuple[int, int, int]:
    """Rows that were acknowledged and are lost; that are there though refused, and unanswered.

    A row that was sent more than once has the best of its outcomes.
    """
    order = (UNKNOWN, REFUSED, DONE)
    best: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.kind == "row":
            known = best.get(attempt.name)
            # An answer that never came may be the one that wrote it, whatever came later.
            if known and known.outcome == UNKNOWN and attempt.outcome == REFUSED:
                continue
            if not known or order.index(attempt.outcome) >= order.index(known.outcome):
                best[attempt.name] = attempt
    lost = sum(
        there.get(name) != attempt.value
        for name, attempt in best.items()
        if attempt.outcome == DONE
    )
    there_though = [attempt.outcome for name, attempt in best.items() if name in there]
    return lost, there_though.count(REFUSED), there_though.count(UNKNOWN)


def prices(attempts: list[Attempt], there: dict[str, Decimal]) -> tuple[int, int, int]:
    """The same of list prices: each service has the last acknowledged one, or one that was sent
    and whose answer never came (it may have been written late) or was a refusal."""
    lost = refused = unknown = 0
    for service, price in there.items():
        edits = [each for each in attempts if each.kind == "price" and each.name == service]
        done = [each for each in edits if each.outcome == DONE]
        if not done or Decimal(done[-1].value) == price:
            refused += not done and any(
                Decimal(each.value) == price for each in edits if each.outcome == REFUSED
            )
            unknown += not done and any(
                Decimal(each.value) == price for each in edits if each.outcome == UNKNOWN
            )
            continue
        outcomes = {each.outcome for each in edits if Decimal(each.value) == price}
        if UNKNOWN in outcomes:
            unknown += 1
        elif REFUSED in outcomes:
            refused += 1
        else:
            lost += 1
    return lost, refused, unknown


def backward(attempts: list[Attempt]) -> tuple[int, int]:
    """Reads that were older than they may be, and those of them that said so."""
    older = [
        each
        for each in attempts
        if each.kind == "read" and each.outcome == DONE and each.value < each.expected
    ]
    said = sum(each.said_older for each in older)
    return len(older) - said, said


def examples(attempts: list[Attempt], began: float) -> list[dict[str, Any]]:
    """The first reads that were older, with their seconds of the round and what gave them; and by
    whom it was known first that there was more."""

    def about(each: Attempt) -> dict[str, Any]:
        return {
            "kind": each.kind,
            "at": [round(each.began - began, 3), round(each.ended - began, 3)],
            "found": each.value,
            "read_from": each.read_from,
        }

    told = [
        each
        for each in attempts
        if each.kind in ("read", "row") and each.outcome == DONE and not each.said_older
    ]
    told.sort(key=lambda each: each.ended)
    return [
        about(each)
        | {
            "expected": each.expected,
            "told_by": about(next(other for other in told if other.value >= each.expected)),
        }
        for each in told
        if each.kind == "read" and each.value < each.expected
    ][:5]


def wrong_prices(cluster: Cluster) -> tuple[int, dict[str, Any]]:
    """Prices that differ: by the rule, reckoned here from the facts; by the book check; and a
    total of the API that is not the sum of the rows."""
    with cluster.sql(hosts.PRIMARY) as session:
        found = session.execute(PRICES).fetchall()
    differing = sum(
        price != (full * (100 - percent) / 100).quantize(CENT, ROUND_HALF_UP)
        for price, full, percent in found
    )
    checked = json.loads(cluster.manage("check_book", "--json", direct=True))
    _, _, totals, _ = Api(cluster.places.key.read_text()).ask("GET", "/api/totals/?decimals=string")
    of_api = Decimal(str(totals["total_amount"])) if totals else None
    total_differs = of_api != sum((price for price, *_ in found), Decimal(0))
    return differing + bool(checked["differs"]) + total_differs, {
        "rows": len(found),
        "differing": differing,
        "book_check_differs": checked["differs"],
        "waiting": checked["waiting"],
        "total_differs": total_differs,
    }


def verdict(
    cluster: Cluster, attempts: list[Attempt], tag: str, began: float, ended: float
) -> tuple[Verdict, dict[str, Any]]:
    """Judge a round whose clients have stopped, and whose work is done."""
    with cluster.sql(hosts.PRIMARY) as session:
        there = dict(session.execute(ROWS, [SOURCE, f"{tag}-%"]).fetchall())
        listed = session.execute("SELECT id::text, full_price FROM services_service").fetchall()
    wrong, about = wrong_prices(cluster)
    found = [rows(attempts, there), prices(attempts, dict(listed))]
    lost, refused_there, unknown_there = (sum(each) for each in zip(*found, strict=True))
    older, said = backward(attempts)
    about["older_reads"] = examples(attempts, began)

    def of(outcome: str, *kinds: str) -> list[Attempt]:
        return [each for each in attempts if each.outcome == outcome and each.kind in kinds]

    def without(*kinds: str) -> float:
        return round(longest((each.ended for each in of(DONE, *kinds)), began, ended), 1)

    return Verdict(
        lost=lost,
        wrong_prices=wrong,
        backward=older,
        conflicts=sum(each.conflict for each in attempts),
        refused_there=refused_there,
        unknown_there=unknown_there,
        older_said=said,
        done=len(of(DONE, "row")),
        refused=len(of(REFUSED, "row", "price")),
        unknown=len(of(UNKNOWN, "row", "price")),
        edits=len(of(DONE, "price")),
        reads=len(of(DONE, "read")),
        by_replica=sum(each.by_replica for each in attempts),
        replica_reads=len(of(DONE, "replica")),
        without_writes=without("row", "price"),
        without_reads=without("read"),
        without_replica_reads=without("replica"),
        slowest_write=round(slowest(of(DONE, "row", "price")), 1),
    ), about
