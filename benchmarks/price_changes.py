"""A price change with its history keeps up with the best single statement that does the same.

Work, each on a fresh copy of the same book:

- all services: every list price moves, a change each
- one service: one list price, of a book that has only this service
- set: +10 % on all subscriptions, which become negotiated

Ways of doing it:

- UPDATE: one statement for all rows; the triggers write the ledger and the totals
- UPDATE … RETURNING → INSERT: one statement that writes the ledger itself, with the trigger told
  so; the faster one of the two is the control
- Pricebook: one worker; and two

Then: the preview against a bare SELECT with the same groups and hash; HOT, WAL and file sizes after
ten changes in a row; and the time of a list page beside an apply.
"""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from benchmarks import results
from benchmarks.ledger import number_of_entries
from benchmarks.repricing import storage
from benchmarks.scratch import copy_of_the_book, say, scratch_book
from price_changes.models import PriceChange
from price_changes.planning import counting, definition, recount
from price_changes.running import lifecycle
from services import repricing
from services.models import Repricing, Service, Subscription
from services.reading import filters, pages
from services.repricing import chunks
from services.repricing.writes import ledger_origin

SET = {"kind": "set", "filter": {}, "adjustment": "percent", "operand": 10}

FOLLOW = """
UPDATE services_subscription subscription
   SET price = price_rule(service.full_price, plan.discount_percent::int)
  FROM services_service service, services_plan plan
 WHERE service.id = subscription.service_id AND plan.id = subscription.plan_id
   AND price_state = 'follows'
   AND (subscription.ended_at IS NULL OR subscription.ended_at > now())
   AND subscription.price <> price_rule(service.full_price, plan.discount_percent::int)
"""
RAISE = """
UPDATE services_subscription subscription
   SET price = round(price * 110 / 100, 2), price_state = 'negotiated'
 WHERE price_state <> 'locked' AND (ended_at IS NULL OR ended_at > now())
"""
WITH_LEDGER = """
WITH moved AS ({update} RETURNING subscription.*)
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until, author)
SELECT id, client_id, service_id, plan_id, price, price_state, locked_until, 'benchmark' FROM moved
"""


class Worked(NamedTuple):
    """The workers' longest transaction of a chunk in seconds, and the MB by which one grew."""

    longest_chunk: float
    memory: float


@dataclass
class Run:
    seconds: float
    hot: float
    longest_chunk: float
    memory: float
    wal_bytes_a_row: float
    heap_growth: float


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[1_000_000], quick=[30_000], rounds=3)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    for rows in chosen.rows:
        with scratch_book("price_changes_one", rows, (1, 8)):
            figures += measure("one service", rows, chosen.rounds, list_prices, FOLLOW)
            beside.append(approved(rows, chosen.rounds))
        with scratch_book("price_changes", rows):
            figures += measure("all services", rows, chosen.rounds, list_prices, FOLLOW)
            figures += measure("set +10 %", rows, chosen.rounds, a_set, RAISE)
            beside.append(previewed(rows, chosen.rounds))
            with copy_of_the_book():
                beside.append(read_beside_an_apply(rows))
            with copy_of_the_book():
                after_ten = ten_in_a_row(rows)
        results.table("Ten changes in a row, every list price in each", after_ten)
    results.table("Price changes applied with their history", figures)
    results.table("Beside it", beside)
    results.save("price_changes", chosen, under, [*figures, *beside, *after_ten])


# --- Applying ---------------------------------------------------------------------------------


def list_prices() -> None:
    """Plan and approve a change of each list price, due now."""
    for pk, price in Service.objects.values_list("pk", "full_price"):
        approve({"kind": "list_price", "service": pk, "new_value": price + 1})


def a_set() -> None:
    approve(SET)


def approve(values: dict[str, Any]) -> None:
    change = lifecycle.preview(definition.plan(values, "benchmark").pk)
    lifecycle.approve(
        change.pk,
        change.fingerprint,
        "benchmark",
        "current" if change.kind == PriceChange.Kind.SET else None,
    )


def measure(
    work: str, rows: int, rounds: int, decide: Callable[[], None], update: str
) -> list[dict[str, Any]]:
    ways: dict[str, Callable[[], Worked]] = {
        "UPDATE": partial(one_statement, update, update is FOLLOW, writes_entries=False),
        "UPDATE … RETURNING → INSERT": partial(
            one_statement, update, update is FOLLOW, writes_entries=True
        ),
        "Pricebook": partial(by_workers, decide, 1),
        "Pricebook, two workers": partial(by_workers, decide, 2),
    }
    runs: dict[str, list[Run]] = {way: [] for way in ways}

    def once(way: str) -> float:
        done = run(ways[way], rows)
        say(f"  {work}, {way}: {rows / done.seconds:,.0f} rows/s, {done.hot:.1f} % HOT")
        runs[way].append(done)
        return rows / done.seconds

    rates = results.interleaved({way: partial(once, way) for way in ways}, rounds)
    best = max(list(ways)[:2], key=lambda way: statistics.median(rates[way]))
    return [
        {
            "work": work,
            "rows": rows,
            "way": way,
            "rows/s": statistics.median(rates[way]),
            "× best statement": results.ratio_to(rates[best], rates[way]),
            "HOT %": statistics.median(run.hot for run in runs[way]),
            "longest chunk, ms": 1000 * max(run.longest_chunk for run in runs[way]),
            "worker +MB": max(run.memory for run in runs[way]),
            "WAL bytes a row": statistics.median(run.wal_bytes_a_row for run in runs[way]),
            "heap +%": statistics.median(run.heap_growth for run in runs[way]),
        }
        for way in ways
    ]


def run(way: Callable[[], Worked], rows: int) -> Run:
    with copy_of_the_book():
        heap, _, updates, hot = storage()
        entries, wal = number_of_entries(), position()
        started = time.perf_counter()
        worked = way()
        seconds = time.perf_counter() - started
        written = position() - wal
        heap_after, _, updates_after, hot_after = storage()
        moved = number_of_entries() - entries
        differ = Subscription.objects.mispriced().count()
        if moved != rows or differ:
            raise AssertionError(f"{moved} entries for {rows} rows; {differ} prices differ")
        return Run(
            seconds,
            100 * (hot_after - hot) / max(1, updates_after - updates),
            *worked,
            written / rows,
            100 * (heap_after / heap - 1),
        )


def position() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_lsn() - '0/0'")
        return int(cursor.fetchone()[0])


def one_statement(update: str, moves_the_catalogue: bool, writes_entries: bool) -> Worked:
    with (
        transaction.atomic(),
        ledger_origin(writes_entries=writes_entries),
        connection.cursor() as cursor,
    ):
        if moves_the_catalogue:
            Service.objects.update(full_price=F("full_price") + 1)
        cursor.execute(WITH_LEDGER.format(update=update) if writes_entries else update)
    return Worked(0, 0)


def by_workers(decide: Callable[[], None], workers: int) -> Worked:
    """Apply the changes by one or more workers. The decision is part of the time."""
    decide()
    if workers == 1:
        worked = [worker(0)]
    else:
        connection.close()  # a connection isn't shared with a child
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            worked = pool.map(worker, range(workers), chunksize=1)
            pool.close()
            pool.join()
    if Repricing.objects.due().exists():
        raise AssertionError("a repricing is still due")
    return Worked(*map(max, zip(*worked, strict=True)))


def worker(number: int) -> Worked:
    take, longest = chunks.take_chunk, 0.0
    before = peak_memory()

    def timed(*arguments: Any) -> int | None:
        nonlocal longest
        started = time.perf_counter()
        done = take(*arguments)
        longest = max(longest, time.perf_counter() - started)
        return done

    chunks.take_chunk = timed  # type: ignore[assignment]
    going = PriceChange.objects.filter(status__in=["scheduled", "applying"])
    try:
        # As the sweep does: a worker that finds nothing to do while another lists rows comes back.
        while going.exists() or Repricing.objects.due().exists():
            repricing.reprice(seconds=3600)
            time.sleep(0.01)
    finally:
        chunks.take_chunk = take
        connection.close()  # what it counted is reported with the end of its session
    return Worked(longest, peak_memory() - before)


def peak_memory() -> float:
    """The most memory that this process has ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- Beside it --------------------------------------------------------------------------------

# Written by hand for this one change, with the groups and the hash of the preview.
BARE = """
SELECT service_id, plan_id, client_id, reason, bucket, count(*),
       count(*) FILTER (WHERE reason IS NULL), sum(price), sum(new_price), min(new_price),
       max(new_price),
       bit_xor(hash_record_extended(ROW(id, service_id, plan_id, price, price_state, new_price,
               'negotiated'::text, NULL::timestamptz, reason), 0))
  FROM (SELECT *, width_bucket(new_price - price,
               '{-1000,-100,-10,-1,0,1,10,100,1000}'::numeric[]) AS bucket
          FROM (SELECT *, round(price * 110 / 100, 2) AS new_price,
                       CASE WHEN price_state = 'locked' THEN 'locked'
                            WHEN ended_at < now() THEN 'ended' END AS reason
                  FROM services_subscription) judged) row
 GROUP BY GROUPING SETS ((service_id, plan_id, reason), (client_id), (bucket))
"""


def previewed(rows: int, rounds: int) -> dict[str, Any]:
    change = definition.plan(SET, "benchmark")
    times = results.interleaved(
        {
            "SELECT": partial(seconds_of, bare_select),
            "preview": partial(seconds_of, lambda: counting.count(change)),
        },
        max(rounds, 3),
    )
    return {
        "rows": rows,
        "what": "preview against a bare SELECT, s",
        "control": statistics.median(times["SELECT"]),
        "Pricebook": statistics.median(times["preview"]),
        "×": results.ratio_to(times["SELECT"], times["preview"]),
    }


def approved(rows: int, rounds: int) -> dict[str, Any]:
    """The cost of an approval's recount; a preview takes a little longer."""
    control, counted = (partial(approval, counts=counts) for counts in (False, True))
    times = results.interleaved({"without": control, "approval": counted}, max(rounds, 3))
    return {
        "rows": rows,
        "what": "approval of a list price against one that doesn't count again, s",
        "control": statistics.median(times["without"]),
        "Pricebook": statistics.median(times["approval"]),
        "×": results.ratio_to(times["without"], times["approval"]),
    }


def approval(counts: bool) -> float:
    service = Service.objects.latest("pk")
    values = {"kind": "list_price", "service": service.pk, "new_value": service.full_price + 1}
    later = {"effective_at": timezone.now() + timedelta(days=30)}
    change = lifecycle.preview(definition.plan(values | later, "benchmark").pk)
    with ExitStack() as stack:
        if not counts:
            stack.enter_context(patch.object(recount, "refuse_if_moved"))
        took = seconds_of(lambda: lifecycle.approve(change.pk, change.fingerprint, "benchmark"))
    lifecycle.cancel(change.pk, "benchmark")
    return took


def bare_select() -> None:
    with connection.cursor() as cursor:
        cursor.execute(BARE)
        cursor.fetchall()


def seconds_of(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def read_beside_an_apply(rows: int, seconds: float = 5.0) -> dict[str, Any]:
    idle = pages_until(lambda: None, seconds)
    list_prices()
    connection.close()  # a connection isn't shared with a child
    # A process: a thread would make the reader wait for Python's lock, as no web server does.
    applying = multiprocessing.get_context("fork").Process(target=worker, args=(0,))
    applying.start()
    beside = pages_until(applying.is_alive, 3600)
    applying.join()
    if applying.exitcode:
        raise AssertionError(f"the worker ended with {applying.exitcode}")
    return {
        "rows": rows,
        "what": "list page beside an apply, p99 ms",
        "control": 1000 * idle[int(len(idle) * 0.99)],
        "Pricebook": 1000 * beside[int(len(beside) * 0.99)],
        "×": beside[int(len(beside) * 0.99)] / idle[int(len(idle) * 0.99)],
    }


def pages_until(goes_on: Callable[[], bool | None], seconds: float) -> list[float]:
    """The times of list pages, sorted; pages are read until `goes_on()` is False."""
    times, ends = [], time.perf_counter() + seconds
    while goes_on() is not False and time.perf_counter() < ends:
        times.append(seconds_of(lambda: pages.page(filters.BookFilter(), None, 100)))
    return sorted(times)


def ten_in_a_row(rows: int) -> list[dict[str, Any]]:
    figures = []
    heap, indexes, *_ = storage()
    for number in range(1, 11):
        _, _, updates, hot = storage()
        wal = position()
        by_workers(list_prices, 1)
        heap_after, indexes_after, updates_after, hot_after = storage()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_total_relation_size('services_ledgerentry')"
                " + pg_total_relation_size('services_movedfollowers')"
            )
            (ledger,) = cursor.fetchone()
        figures.append(
            {
                "change": number,
                "rows": rows,
                "HOT %": 100 * (hot_after - hot) / max(1, updates_after - updates),
                "WAL, MB": (position() - wal) / 1e6,
                "heap +%": 100 * (heap_after / heap - 1),
                "indexes +%": 100 * (indexes_after / indexes - 1),
                "ledger, MB": ledger / 1e6,
            }
        )
    return figures
