"""A page of the list costs the same however many rows there are, and less at every step.

The first hundred subscriptions and the total of all, as the tutorial writes it chapter by chapter
(benchmarks/tutorial_variants.py) and as it ships: the whole view, JSON included, without middleware
and authentication. CPU is this process and its PostgreSQL session together. Every step must give
the values of the shipped page, as far as it shows them.
"""

import json
import statistics
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.renderers import JSONRenderer
from rest_framework.test import APIRequestFactory

from benchmarks import results
from benchmarks import tutorial_variants as tutorial
from benchmarks.scratch import scratch_book
from benchmarks.stopwatch import one_session, timed
from services.models import Subtotal
from services.reading import total
from services.views import SubscriptionView

SHIPPED = "shipped"


def nothing() -> None:
    pass


def forget_total() -> None:
    cache.delete(settings.PRICE_CACHE_NAME)


def new_version() -> None:
    Subtotal.objects.create()
    total.fold()


# The name of each step, its view, its query string, and what makes it cold before each call.
STEPS: list[tuple[str, type, str, Callable[[], None]]] = [
    ("ch. 5 as first written", tutorial.Naive, "", nothing),
    ("ch. 6.3 prefetch_related", tutorial.PrefetchRelated, "", nothing),
    ("ch. 6.3 Prefetch, only", tutorial.PrefetchOnly, "", nothing),
    ("ch. 6.4 plan added", tutorial.PlanNaive, "", nothing),
    ("ch. 6.5 plan prefetched", tutorial.PlanPrefetched, "", nothing),
    ("ch. 7.1 price computed", tutorial.PriceComputed, "", nothing),
    ("ch. 7.2 price annotated", tutorial.PriceAnnotated, "", nothing),
    ("ch. 7.6 total aggregated", tutorial.TotalAggregated, "", nothing),
    ("ch. 9 price stored", tutorial.PriceStored, "", nothing),
    ("ch. 9 by select_related", tutorial.SelectRelated, "", nothing),
    ("ch. 11 total cached, cold", tutorial.TotalCached, "", forget_total),
    ("ch. 11 total cached, warm", tutorial.TotalCached, "", nothing),
    (SHIPPED, SubscriptionView, "", nothing),
    ("shipped, any filter, cold", SubscriptionView, "?comment_prefix=row", new_version),
    ("shipped, any filter, warm", SubscriptionView, "?comment_prefix=row", nothing),
]


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[300, 10_000, 100_000], quick=[300, 10_000], rounds=7)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("list_page", rows):
            figures += measure(rows, chosen.rounds)
    results.table("A page of 100 and the total of all", figures)
    results.save("list_page", chosen, under, figures)
    if chosen.plot:
        from benchmarks import plots  # matplotlib takes a second

        plots.list_page(figures, chosen.plot)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    one_session()
    calls = {name: call_of(view, query) for name, view, query, _ in STEPS}
    queries = {}
    expected = json.loads(calls[SHIPPED](), parse_float=Decimal, parse_int=Decimal)
    for name, _, _, cool in STEPS:
        calls[name]()  # warm
        cool()
        with CaptureQueriesContext(connection) as captured:
            answer = calls[name]()
        queries[name] = len(captured)
        check(name, answer, expected)

    walls: dict[str, list[float]] = {name: [] for name in calls}

    def run_once(name: str, cool: Callable[[], None]) -> float:
        calls[name]()
        cpu, wall = timed(calls[name], cool)
        walls[name].append(wall)
        return cpu

    cpu = results.interleaved(
        {name: partial(run_once, name, cool) for name, _, _, cool in STEPS}, rounds
    )
    return [
        {
            "rows": rows,
            "step": name,
            "queries": queries[name],
            "CPU ms": 1000 * statistics.median(cpu[name]),
            "× shipped": results.ratio_to(cpu[SHIPPED], cpu[name]),
            "ms": 1000 * statistics.median(walls[name]),
        }
        for name in calls
    ]


def call_of(view: type, query: str) -> Callable[[], bytes]:
    options: dict[str, Any] = {"authentication_classes": [], "permission_classes": []}
    if view is not SubscriptionView:
        options["renderer_classes"] = [JSONRenderer]  # DRF's own
    handler = view.as_view({"get": "list"}, **options)  # type: ignore[attr-defined]
    requests = APIRequestFactory(SERVER_NAME="localhost")

    def call() -> bytes:
        response = handler(requests.get(f"/api/subscriptions/{query}"))
        content: bytes = response.render().content
        if response.status_code != 200:
            raise AssertionError(content)
        return content

    return call


def check(name: str, answer: bytes, expected: dict[str, Any]) -> None:
    """Assert that every value that this step shows is that of the shipped page."""
    found = json.loads(answer, parse_float=Decimal, parse_int=Decimal)
    rows = found["result"]
    for row, full in zip(rows, expected["result"], strict=True):
        if "price" in row:
            row["price"] = Decimal(row["price"])  # DRF's own renderer writes a string
        if row != {key: full[key] for key in row}:
            raise AssertionError(f"{name}: {row}, not {full}")
    amount = found.get("total_amount")
    if amount is not None and Decimal(amount) != expected["total_amount"]:
        raise AssertionError(f"{name}: total {amount}, not {expected['total_amount']}")
