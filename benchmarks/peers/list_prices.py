"""One list price in Pricebook and in a peer, with its history; then what the past was, in both."""

import statistics
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import results, stopwatch
from benchmarks.ledger import clock, execute, number_of_entries
from benchmarks.peers.installed import Ask, files_of_the_book, started
from benchmarks.price_changes import position
from benchmarks.scratch import say, scratch_book
from benchmarks.stopwatch import cpu_seconds, one_session, timed
from price_changes.planning import definition
from price_changes.running import lifecycle
from services import ledger, repricing
from services.ledger import points
from services.models import Repricing, Service, Subscription
from services.reading.total import total_amount

OURS = "Pricebook, from the approval on"
WHOLE = "Pricebook, with plan and preview"
PLANS = 4


class Cost(NamedTuple):
    cpu: float  # seconds
    wal: int  # bytes
    whole_cpu: float  # with what comes before the approval; of a peer the same as `cpu`


class Reading(NamedTuple):
    name: str  # of the peer's method
    work: str
    here: Callable[[], Decimal]  # the same by Pricebook
    ids: list[int]  # that of the subscription, where it reads one


def measure(name: str, python: Path, rows: int, rounds: int) -> list[dict[str, Any]]:
    with scratch_book("peers", rows, (1, PLANS)), started(name, python) as ask:
        one_session()
        offered = ask("offered")
        ways: dict[str, Callable[[Decimal], Cost]] = {OURS: ours}
        for way, most in offered["ways"].items():
            if most is None or rows <= most:
                ways[way] = partial(theirs, ask, rows * offered["records"], way)
            else:
                say(f"  {way}: not measured at {rows:,} rows, it would take minutes a round")
        if len(ways) == 1:
            return []
        with files_of_the_book() as folder:
            ask("fill", folder=str(folder))
        prices = map(Decimal, count(200))
        instant = clock()
        for way in list(ways)[:2]:  # so that the past differs from today in both
            ways[way](next(prices))
        figures = read_the_past(ask, offered["reads"], instant, rounds)
        figures = [*moved(ask, ways, prices, rows, rounds), *figures]
    say(f"  {name}, {rows:,} rows: done")
    return [{"rows": rows, **figure} for figure in figures]


# --- Moving prices ------------------------------------------------------------------------------


def moved(
    ask: Ask,
    ways: dict[str, Callable[[Decimal], Cost]],
    prices: Any,
    rows: int,
    rounds: int,
) -> list[dict[str, Any]]:
    costs: dict[str, list[Cost]] = {way: [] for way in ways}

    def once(way: str) -> float:
        execute("VACUUM")
        ask("rest")
        costs[way].append(ways[way](next(prices)))
        return costs[way][-1].cpu

    taken = results.interleaved({way: partial(once, way) for way in ways}, rounds + 1)
    for each in (taken, costs):
        for way in ways:
            del each[way][0]  # the first one fills caches, and pages of the log
    taken[WHOLE] = [cost.whole_cpu for cost in costs[OURS]]
    costs[WHOLE] = costs[OURS]
    return [
        {
            "work": "list price",
            "way": way,
            "CPU, ms": 1000 * statistics.median(taken[way]),
            "× Pricebook": results.ratio_to(taken[OURS], taken[way]),
            "WAL bytes a row": statistics.median(cost.wal for cost in costs[way]) / rows,
        }
        for way in taken
    ]


def ours(price: Decimal) -> Cost:
    """Plan, preview, approve, and copy to the last row; every row must have its entry."""
    rows, entries, wal = Subscription.objects.count(), number_of_entries(), position()
    began = cpu_seconds()
    values = {"kind": "list_price", "service": Service.objects.get().pk, "new_value": price}
    change = lifecycle.preview(definition.plan(values, "benchmark").pk)
    approved = cpu_seconds()
    lifecycle.approve(change.pk, change.fingerprint, "benchmark", None)
    repricing.reprice(seconds=3600)
    ended = cpu_seconds()
    wal = position() - wal
    assert_right(price, rows, number_of_entries() - entries, total_amount().amount)
    if Repricing.objects.due().exists():
        raise AssertionError("a repricing is still due")
    return Cost(ended - approved, wal, ended - began)


def theirs(ask: Ask, records: int, way: str, price: Decimal) -> Cost:
    """The same in the peer; it must leave so many records, one a row if it has a history."""
    before, wal = ask("state"), position()
    cpu = ask("move", way=way, price=str(price))["cpu"]
    wal = position() - wal
    after = ask("state")
    assert_right(price, records, after["history"] - before["history"], Decimal(after["total"]))
    return Cost(cpu, wal, cpu)


def assert_right(price: Decimal, expected: int, records: int, total: Decimal) -> None:
    by_rule = total_at(price)
    if (records, total) != (expected, by_rule):
        raise AssertionError(f"{records} records, not {expected}; {total}, by the rule {by_rule}")


def total_at(price: Decimal) -> Decimal:
    """The total of the book if the list price is this one, by the rule."""
    ((total,),) = execute(
        "SELECT sum(price_rule(%s, discount_percent::int))"
        "  FROM services_subscription JOIN services_plan plan ON plan.id = plan_id",
        [price],
    )
    return Decimal(total)


# --- Reading the past ---------------------------------------------------------------------------


def read_the_past(
    ask: Ask, reads: list[str], instant: datetime, rounds: int
) -> list[dict[str, Any]]:
    """The total and one price as of an instant, here and there, with the same values."""
    points.make(600)  # as a worker does every few seconds
    execute("VACUUM ANALYZE")
    ask("rest")
    middle = Subscription.objects.order_by("pk")[Subscription.objects.count() // 2].pk
    readings = [
        Reading("whole_then", "whole book then", partial(total_then, instant), []),
        Reading("one_then", "one price then", partial(price_then, instant, middle), [middle]),
    ]
    figures = []
    for reading in readings:
        if reading.name not in reads:
            continue
        ways: dict[str, Callable[[], float]] = {
            "Pricebook": partial(read_here, reading),
            "the peer's history": partial(read_there, ask, reading, instant, reading.here()),
        }
        taken = results.interleaved(ways, rounds)
        figures += [
            {
                "work": reading.work,
                "way": way,
                "CPU, ms": 1000 * statistics.median(cpu),
                "× Pricebook": results.ratio_to(taken["Pricebook"], cpu),
                "WAL bytes a row": None,
            }
            for way, cpu in taken.items()
        ]
    return figures


def read_here(reading: Reading) -> float:
    return timed(reading.here)[0]


def read_there(ask: Ask, reading: Reading, at: datetime, expected: Decimal) -> float:
    seconds = stopwatch.SECONDS
    answer = ask("read", what=reading.name, at=at.isoformat(), ids=reading.ids, seconds=seconds)
    if Decimal(answer["value"]) != expected:
        raise AssertionError(f"{reading.work}: {answer['value']} is not {expected}")
    return float(answer["cpu"])


def total_then(instant: datetime) -> Decimal:
    return ledger.total_as_of(instant).amount


def price_then(instant: datetime, pk: int) -> Decimal:
    found, _ = ledger.one_as_of(instant, pk)
    if found is None:
        raise AssertionError(f"subscription {pk} was not there at {instant}")
    return Decimal(found["price"])
