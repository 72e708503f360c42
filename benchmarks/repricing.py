"""A repricing keeps up with one UPDATE of the whole table, passes it, and grows no file.

Variants, each on a fresh copy of the same book, with the same tables, indexes and triggers:

- one UPDATE: `UPDATE … FROM service, plan` of the whole table, in one transaction
- Pricebook: `services.repricing.reprice()`, one worker
- Pricebook, two workers: two processes of it
- one task a row: the body of the tutorial's task, called row by row on a sample and extrapolated;
  its queue, which costs more than the body, is left out

Every list price moves before each. Afterwards no price may differ from the rule, and all variants
must have moved every row and come to the same total.
"""

import multiprocessing
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import connection
from django.db.models import F, Sum

from benchmarks import results, tutorial_variants
from benchmarks.scratch import copy_of_the_book, say, scratch_book
from benchmarks.stopwatch import once
from services import repricing
from services.models import Repricing, Service, Subscription

ONE_UPDATE = """
UPDATE services_subscription subscription
   SET price = price_rule(service.full_price, plan.discount_percent)
  FROM services_service service, services_plan plan
 WHERE service.id = subscription.service_id AND plan.id = subscription.plan_id
   AND (subscription.ended_at IS NULL OR subscription.ended_at > now())
   AND subscription.price <> price_rule(service.full_price, plan.discount_percent)
"""
SAMPLE = 200


@dataclass
class Run:
    seconds: float
    cpu: float
    moved: int
    hot: float
    heap_growth: float
    index_growth: float
    total: Decimal | None

    @property
    def rate(self) -> float:
        return self.moved / self.seconds


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[29_202, 1_000_000], quick=[29_202], rounds=3)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("repricing", rows):
            figures += measure(rows, chosen.rounds)
    results.table("Subscriptions repriced a second", figures)
    results.save("repricing", chosen, under, figures)
    if chosen.plot:
        from benchmarks import plots  # matplotlib takes a second

        plots.repricing(figures, chosen.plot)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    ways: dict[str, Callable[[], int]] = {
        "one task a row": one_task_a_row,
        "one UPDATE": one_update,
        "Pricebook": one_worker,
        "Pricebook, two workers": two_workers,
    }
    runs: dict[str, list[Run]] = {way: [] for way in ways}

    def run_once(way: str) -> float:
        done = run(ways[way], whole=ways[way] is not one_task_a_row)
        say(f"  {way}: {done.rate:,.0f} rows/s, {done.hot:.1f} % HOT")
        runs[way].append(done)
        return done.rate

    rates = results.interleaved({way: partial(run_once, way) for way in ways}, rounds)
    whole = [run for way in ways if ways[way] is not one_task_a_row for run in runs[way]]
    if {run.moved for run in whole} != {rows} or len({run.total for run in whole}) != 1:
        raise AssertionError(f"not the same work: {whole}")
    return [
        {
            "rows": rows,
            "way": way,
            "rows/s": statistics.median(rates[way]),
            "× one UPDATE": results.ratio_to(rates["one UPDATE"], rates[way]),
            "whole book, s": rows / statistics.median(rates[way]),
            # Of two workers it is spent in four other processes.
            "CPU µs a row": None
            if ways[way] is two_workers
            else 1e6 * statistics.median(run.cpu / run.moved for run in runs[way]),
            "HOT %": statistics.median(run.hot for run in runs[way]),
            "heap +%": statistics.median(run.heap_growth for run in runs[way]),
            "indexes +%": statistics.median(run.index_growth for run in runs[way]),
        }
        for way in ways
    ]


def run(way: Callable[[], int], whole: bool) -> Run:
    with copy_of_the_book():
        Service.objects.update(full_price=F("full_price") + 1)
        heap, indexes, updates, hot = storage()
        moved, cpu, seconds = once(way)
        heap_after, indexes_after, updates_after, hot_after = storage()
        total = None
        if whole:
            differ = Subscription.objects.mispriced().count()
            if differ:
                raise AssertionError(f"{differ} prices differ from the rule")
            total = Subscription.objects.aggregate(total=Sum("price"))["total"]
        return Run(
            seconds=seconds,
            cpu=cpu,
            moved=moved,
            hot=100 * (hot_after - hot) / (updates_after - updates),
            heap_growth=100 * (heap_after / heap - 1),
            index_growth=100 * (indexes_after / indexes - 1),
            total=total,
        )


def storage() -> tuple[int, int, int, int]:
    """Bytes of heap and of indexes, updates and HOT updates so far."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            """
            SELECT pg_relation_size(relid), pg_indexes_size(relid), n_tup_upd, n_tup_hot_upd
              FROM pg_stat_user_tables WHERE relname = 'services_subscription'
            """
        )
        found: tuple[int, int, int, int] = cursor.fetchone()
        return found


def one_update() -> int:
    with connection.cursor() as cursor:
        cursor.execute(ONE_UPDATE)
        return int(cursor.rowcount)


def one_worker() -> int:
    moved = repricing.reprice(seconds=3600)
    if Repricing.objects.due().exists():
        raise AssertionError("a repricing is still due")
    return moved


def two_workers() -> int:
    connection.close()  # a connection isn't shared with a child
    processes = multiprocessing.get_context("fork")
    with processes.Pool(2) as workers:
        moved = sum(workers.map(worker, range(2), chunksize=1))
        workers.close()
        workers.join()
    return moved


def worker(number: int) -> int:
    moved = repricing.reprice(seconds=3600)
    connection.close()  # what it counted is reported with the end of its session
    return moved


def one_task_a_row() -> int:
    ids = list(Subscription.objects.order_by("?").values_list("pk", flat=True)[:SAMPLE])
    for subscription_id in ids:
        tutorial_variants.set_price(subscription_id)
    return len(ids)
