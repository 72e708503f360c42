"""One price for each (service, plan), the design not taken, moves at once and allows no other.

Subscriptions have no price; a small table has one for each service and plan, and the list and the
total join it. A catalogue change then writes only that table. The control writes the stored prices
in one UPDATE, triggers included. Both are rolled back, after the sum over the subscriptions was
found to be the same. We did not take this design because the small table can't have a negotiated
price, a locked one, or one that a change of a chosen set moved: each of these belongs to a row.
"""

import statistics
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import connection, transaction

from benchmarks import results
from benchmarks.repricing import ONE_UPDATE
from benchmarks.scratch import say, scratch_book
from benchmarks.stopwatch import once

PAIRS, STORED = "one price a (service, plan)", "one UPDATE of the stored prices"

MAKE = """
CREATE TABLE pair_price AS
SELECT service.id AS service_id, plan.id AS plan_id,
       price_rule(full_price, discount_percent::int) AS price
  FROM services_service service, services_plan plan
"""
MOVE_PAIRS = """
UPDATE pair_price pair SET price = price_rule(service.full_price, plan.discount_percent::int)
  FROM services_service service, services_plan plan
 WHERE service.id = pair.service_id AND plan.id = pair.plan_id
"""
SUM_OF_PAIRS = """
SELECT sum(pair.price) FROM services_subscription JOIN pair_price pair USING (service_id, plan_id)
"""
SUM_OF_ROWS = "SELECT sum(price) FROM services_subscription"


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[10_000, 1_000_000], quick=[300, 10_000], rounds=3)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("pair_prices", rows):
            figures += measure(rows, chosen.rounds)
    results.table("Every list price moves", figures)
    results.save("pair_prices", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    ways = {STORED: (ONE_UPDATE, SUM_OF_ROWS), PAIRS: (MOVE_PAIRS, SUM_OF_PAIRS)}
    runs: dict[str, list[tuple[float, float, int]]] = {way: [] for way in ways}
    sums: set[Decimal] = set()

    def run_once(way: str) -> float:
        statement, of_all = ways[way]
        with transaction.atomic():
            rows_of(MAKE)
            # The catalogue's own triggers would record a repricing, which is not measured here.
            rows_of("UPDATE services_service SET full_price = full_price + 1")
            written, cpu, wall = once(partial(rows_of, statement))
            sums.add(number(of_all))
            transaction.set_rollback(True)
        say(f"  {way}: {1000 * wall:,.1f} ms")
        runs[way].append((cpu, wall, written))
        return wall

    times = results.interleaved({way: partial(run_once, way) for way in ways}, rounds)
    if len(sums) != 1:
        raise AssertionError(f"not the same prices: {sums}")
    return [
        {
            "rows": rows,
            "way": way,
            "rows written": runs[way][0][2],
            "CPU ms": 1000 * statistics.median(cpu for cpu, _, _ in runs[way]),
            "ms": 1000 * statistics.median(times[way]),
            "subscriptions/s": rows / statistics.median(times[way]),
        }
        for way in ways
    ]


def rows_of(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.rowcount)


def number(statement: str) -> Decimal:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return Decimal(cursor.fetchone()[0])
