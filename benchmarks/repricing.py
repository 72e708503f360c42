"""A repricing keeps up with one UPDATE of the whole table, passes it, and grows no file.

Variants, each on a fresh copy of the same book, with the same tables, indexes and triggers:

- one UPDATE: `UPDATE … FROM service, plan` of the whole table, in one transaction
- Pricebook: `services.repricing.reprice()`, one worker
- Pricebook, two workers: two processes of it
- one task a row, the tutorial's way: a task for each subscription in the queue, and a Celery worker
  with as many processes as there are cores; on a sample, and extrapolated
- its body alone: the code of that task, called row by row, without a queue

Every list price moves before each. Afterwards no price may differ from the rule, and all variants
must have moved every row and have the same total.
"""

import multiprocessing
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import connection
from django.db.models import F, Sum

from benchmarks import results, tutorial_queue, tutorial_variants
from benchmarks.scratch import copy_of_the_book, say, scratch_book
from benchmarks.stopwatch import once
from services import repricing
from services.models import Repricing, Service, Subscription

ONE_UPDATE = """
UPDATE services_subscription subscription
   SET price = price_rule(service.full_price, plan.discount_percent::int)
  FROM services_service service, services_plan plan
 WHERE service.id = subscription.service_id AND plan.id = subscription.plan_id
   AND (subscription.ended_at IS NULL OR subscription.ended_at > now())
   AND subscription.price <> price_rule(service.full_price, plan.discount_percent::int)
"""


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
    runs: dict[Way, list[Run]] = {way: [] for way in WAYS}

    def run_once(way: "Way") -> float:
        done = run(way)
        say(f"  {way.name}: {done.rate:,.0f} rows/s, {done.hot:.1f} % HOT")
        runs[way].append(done)
        return done.rate

    rates = results.interleaved({way: partial(run_once, way) for way in WAYS}, rounds)
    whole = [run for way in WAYS if way.whole for run in runs[way]]
    if {run.moved for run in whole} != {rows} or len({run.total for run in whole}) != 1:
        raise AssertionError(f"not the same work: {whole}")
    one_update = next(rates[way] for way in WAYS if way.name == "one UPDATE")
    return [
        {
            "rows": rows,
            "way": way.name,
            "rows/s": statistics.median(rates[way]),
            "× one UPDATE": results.ratio_to(one_update, rates[way]),
            "whole book, s": rows / statistics.median(rates[way]),
            "CPU µs a row": 1e6 * statistics.median(run.cpu / run.moved for run in runs[way])
            if way.here
            else None,
            "HOT %": statistics.median(run.hot for run in runs[way]),
            "heap +%": statistics.median(run.heap_growth for run in runs[way]),
            "indexes +%": statistics.median(run.index_growth for run in runs[way]),
        }
        for way in WAYS
    ]


def run(way: "Way") -> Run:
    with copy_of_the_book():
        Service.objects.update(full_price=F("full_price") + 1)
        with way.beside():
            heap, indexes, updates, hot = storage()
            moved, cpu, seconds = once(way.work)
        heap_after, indexes_after, updates_after, hot_after = storage()
        total = None
        if way.whole:
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
    """The bytes of heap and indexes, and the updates and HOT updates so far."""
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
    ids = a_sample(300)
    tutorial_queue.reprice(ids)
    if Subscription.objects.filter(pk__in=ids).mispriced().exists():
        raise AssertionError("a price of the sample differs from the rule")
    return len(ids)


def its_body() -> int:
    ids = a_sample(200)
    for subscription_id in ids:
        tutorial_variants.set_price(subscription_id)
    return len(ids)


def a_sample(size: int) -> list[int]:
    return list(Subscription.objects.order_by("?").values_list("pk", flat=True)[:size])


@dataclass(frozen=True)
class Way:
    name: str
    work: Callable[[], int]  # gives the rows that it has moved
    whole: bool = True  # all that is due; the others take a sample
    here: bool = True  # in this process and its session, where the CPU is counted
    beside: Callable[[], AbstractContextManager[None]] = nullcontext  # what has to run meanwhile


WAYS = (
    Way(
        "one task a row",
        one_task_a_row,
        whole=False,
        here=False,
        beside=tutorial_queue.a_worker,
    ),
    Way("its body alone", its_body, whole=False),
    Way("one UPDATE", one_update),
    Way("Pricebook", one_worker),
    Way("Pricebook, two workers", two_workers, here=False),
)
