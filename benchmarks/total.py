"""The exact total costs the same at ten thousand rows and at a million, without being stale.

Variants, each of which computes the same sum in the same database:

- SUM over the rows: the control (in one session, without parallel workers)
- shipped: `total_amount()`, from the subtotals that triggers keep, folded
- shipped, of a service: the same for one service, whose sum has a control of its own
- shipped, unfolded: the same after 5,000 writes that no task has folded yet
- shipped, any filter, cold and warm: for a comment's prefix that every row here has; summed when
  the book has a new version, else from the cache
- GET: one value from the cache and nothing else, the least that any cached total costs
"""

import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Sum

from benchmarks import results
from benchmarks.scratch import scratch_book
from benchmarks.stopwatch import one_session, timed
from services.models import Service, Subtotal
from services.reading import total
from services.reading.filters import BookFilter

ALL_BY_COMMENT = BookFilter(comment_prefix="row")
UNFOLDED = 5_000
UNFOLDED_TOTAL = "shipped, unfolded"


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[10_000, 1_000_000], quick=[10_000], rounds=7)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("total", rows):
            figures += measure(rows, chosen.rounds)
    results.table("The total of all subscriptions", figures)
    results.save("total", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    one_session()
    cache.set("bare", "1", 3600)
    variants: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "SUM over the rows": (sum_of_rows, nothing),
        "shipped": (total.total_amount, nothing),
        "shipped, of a service": (partial(total.total_amount, a_service()), nothing),
        "shipped, any filter, cold": (partial(total.total_amount, ALL_BY_COMMENT), new_version),
        "shipped, any filter, warm": (partial(total.total_amount, ALL_BY_COMMENT), nothing),
        "GET": (partial(cache.get, "bare"), nothing),
    }
    expected = sum_of_rows()
    for name, (ask, _) in variants.items():
        right = sum_of_rows(a_service()) if name == "shipped, of a service" else expected
        if name != "GET" and ask() != right:
            raise AssertionError(f"{name}: {ask()}, not {right}")

    total.fold()
    cpu: dict[str, list[float]] = defaultdict(list)

    def milliseconds(name: str) -> float:
        ask, before_each = variants[name]
        before_each()
        ask()
        cpu_taken, taken = timed(ask, before_each)
        cpu[name].append(1000 * cpu_taken)
        return 1000 * taken

    times = results.interleaved({name: partial(milliseconds, name) for name in variants}, rounds)
    # Separate from the others, which read the same table.
    Subtotal.objects.bulk_create(unfolded())
    if total.total_amount() != expected:
        raise AssertionError("unfolded subtotals have another sum")
    variants[UNFOLDED_TOTAL] = variants["shipped"]
    times[UNFOLDED_TOTAL] = [milliseconds(UNFOLDED_TOTAL) for _ in range(rounds)]
    return [
        {
            "rows": rows,
            "total": name,
            "CPU ms": statistics.median(cpu[name]),
            "ms": statistics.median(measured),
            "× GET": results.ratio_to(times["GET"], measured),
        }
        for name, measured in times.items()
    ]


def a_service() -> BookFilter:
    return BookFilter(service=Service.objects.earliest("pk").pk)


def sum_of_rows(book_filter: BookFilter = total.EVERYTHING) -> total.Total:
    found = book_filter.subscriptions().aggregate(amount=Sum("price"), rows=Count("pk"))
    return total.Total(found["amount"], found["rows"])


def unfolded() -> list[Subtotal]:
    """The subtotal rows of so many edits of comments, unfolded."""
    pairs = list(Subtotal.objects.exclude(service_id=None).values_list("service_id", "plan_id"))
    return [
        Subtotal(service_id=service, plan_id=plan)
        for service, plan in (pairs * (UNFOLDED // len(pairs) + 1))[:UNFOLDED]
    ]


def new_version() -> None:
    Subtotal.objects.create()
    total.fold()


def nothing() -> None:
    pass
