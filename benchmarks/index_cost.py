"""The cost of each index in size, in inserts and in updates; an index on `price` would end HOT.

Variants, each on a fresh copy of the same book: as shipped, without one of the indexes, and with
one more, on `price`. Each inserts the same rows, comments on one row of ten, then moves one list
price and reprices. CPU is that of the PostgreSQL session, triggers included; HOT is the part of the
repricing's updates that touched no index. All variants must end with the same book.
"""

import statistics
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connection

from benchmarks import results
from benchmarks.scratch import copy_of_the_book, say, scratch_book
from benchmarks.stopwatch import session_seconds
from services import repricing
from services.models import Service
from services.reading import total

SHIPPED = "as shipped"
ON_PRICE = "one more, on price"

INSERT = """
INSERT INTO services_subscription
       (client_id, service_id, plan_id, price, comment, source, external_id)
SELECT client_id, service_id, plan_id, price, 'new ' || id, 'new', id
  FROM services_subscription ORDER BY id LIMIT %s
"""
COMMENT = "UPDATE services_subscription SET comment = 'commented ' || id WHERE id % 10 = 0"

# Indexes with the constraints that they implement, if any; without the primary key.
INDEXES = """
SELECT relname, conname, pg_relation_size(indexrelid)
  FROM pg_index
  JOIN pg_class ON pg_class.oid = indexrelid
  LEFT JOIN pg_constraint ON conindid = indexrelid AND contype = 'u'
 WHERE indrelid = 'services_subscription'::regclass AND NOT indisprimary
 ORDER BY relname
"""
UPDATES = """
SELECT pg_stat_get_tuples_updated(oid), pg_stat_get_tuples_hot_updated(oid)
  FROM pg_class WHERE oid = 'services_subscription'::regclass
"""


@dataclass
class Runs:
    """The cost of one variant in each round: microseconds of CPU a row; its index in bytes."""

    insert: list[float] = field(default_factory=list)
    comment: list[float] = field(default_factory=list)
    reprice: list[float] = field(default_factory=list)
    hot: list[float] = field(default_factory=list)
    size: int = 0


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[200_000], quick=[29_202], rounds=5)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("index_cost", rows):
            figures += measure(rows, chosen.rounds)
    results.table("The cost of each index", figures)
    results.save("index_cost", chosen, under, figures)


def measure(rows: int, rounds: int, without: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Figures of the book as shipped, without each of these indexes (None: of any), and with one
    more."""
    changes = {SHIPPED: ""}
    runs = {SHIPPED: Runs()}
    for index, constraint, size in execute(INDEXES):
        if without is not None and index not in without:
            continue
        name = f"without {index}"
        changes[name] = (
            f"ALTER TABLE services_subscription DROP CONSTRAINT {constraint}"
            if constraint
            else f"DROP INDEX {index}"
        )
        runs[name] = Runs(size=size)
    changes[ON_PRICE] = "CREATE INDEX on_price ON services_subscription (price)"
    runs[ON_PRICE] = Runs()
    ends = set()

    def run_once(name: str) -> float:
        say(f"  {name}")
        with copy_of_the_book():
            if changes[name]:
                execute(changes[name])
            if name == ON_PRICE:
                ((runs[name].size,),) = execute("SELECT pg_relation_size('on_price')")
            run(runs[name], inserted=rows // 10)
            ends.add(total.total_amount())
        return 0.0

    results.interleaved({name: partial(run_once, name) for name in changes}, rounds)
    if len(ends) != 1:
        raise AssertionError(f"The variants ended with different books: {ends}")
    control = runs[SHIPPED]
    return [
        {
            "rows": rows,
            "variant": name,
            "index MB": run.size / 1e6,
            "insert µs": statistics.median(run.insert),
            "insert ×": results.ratio_to(control.insert, run.insert),
            "comment µs": statistics.median(run.comment),
            "comment ×": results.ratio_to(control.comment, run.comment),
            "reprice µs": statistics.median(run.reprice),
            "reprice ×": results.ratio_to(control.reprice, run.reprice),
            "HOT %": 100 * statistics.median(run.hot),
        }
        for name, run in runs.items()
    ]


def run(runs: Runs, inserted: int) -> None:
    runs.reprice.append(cpu_of(reprice_one_service, runs.hot))
    runs.insert.append(cpu_of(lambda: rows_of(INSERT, [inserted])))
    runs.comment.append(cpu_of(lambda: rows_of(COMMENT)))


def cpu_of(work: Callable[[], int], hot: list[float] | None = None) -> float:
    """The session's CPU in microseconds for each row that `work` says it wrote."""
    ((updated, hot_updated),) = statistics_of_updates()
    before = session_seconds()
    rows = work()
    seconds = session_seconds() - before
    if hot is not None:
        ((updated_after, hot_after),) = statistics_of_updates()
        hot.append((hot_after - hot_updated) / (updated_after - updated))
    return 1e6 * seconds / rows


def reprice_one_service() -> int:
    service = Service.objects.order_by("id")[0]
    service.full_price += 1
    service.save()
    return repricing.reprice()


def rows_of(sql: str, parameters: list[Any] | None = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def execute(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def statistics_of_updates() -> list[tuple[Any, ...]]:
    execute("SELECT pg_stat_force_next_flush()")
    return execute(UPDATES)
