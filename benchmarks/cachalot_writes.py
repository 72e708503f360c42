"""Caching every query (django-cachalot) pays while nobody writes; the shipped page costs the same.

Chapter 13 of the tutorial over the page of its chapter 11: all tables cached, with cachalot's own
key and timeout. CPU of a GET is the mean of twenty, with a comment written once in the twenty
(read-heavy) or before each (write-heavy). The control is the same page without cachalot. Every
answer must have the shipped page's values. Then a company is renamed in SQL, as psql would do, and
each page is read once more: does it show the old name?
"""

import json
import statistics
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from functools import partial
from typing import Any

from cachalot.settings import cachalot_settings
from cachalot.utils import get_query_cache_key
from django.conf import settings
from django.core.cache import caches

from benchmarks import results
from benchmarks import tutorial_variants as tutorial
from benchmarks.list_page import call_of, check
from benchmarks.scratch import outside, say, scratch_book
from benchmarks.stopwatch import once
from clients.models import Client
from services.models import Subscription
from services.views import SubscriptionView

GETS = 20
WRITES = {"read-heavy": 1, "write-heavy": GETS}
OURS, THEIRS, CONTROL = "shipped", "cachalot", "without cachalot"


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[10_000, 1_000_000], quick=[10_000], rounds=5)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen) | {"GETs": GETS}
    figures = []
    for rows in chosen.rows:
        with scratch_book("cachalot_writes", rows):
            figures += measure(rows, chosen.rounds)
    results.table("A page of 100 and the total, beside writes", figures)
    results.save("cachalot_writes", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    theirs, ours = call_of(tutorial.PriceStored, ""), call_of(SubscriptionView, "")
    ways = {CONTROL: theirs, THEIRS: theirs, OURS: ours}
    stale = {way: renamed_outside(way, call) for way, call in ways.items()}
    say(f"  stale after a write in SQL: {[way for way, is_stale in stale.items() if is_stale]}")
    expected = json.loads(ours(), parse_float=Decimal, parse_int=Decimal)
    cpu = results.interleaved(
        {
            (way, load): partial(a_get, way, call, writes, expected)
            for load, writes in WRITES.items()
            for way, call in ways.items()
        },
        rounds,
    )
    return [
        {
            "rows": rows,
            "load": load,
            "page": way,
            "writes a GET": WRITES[load] / GETS,
            "CPU ms": 1000 * statistics.median(measured),
            "× without": results.ratio_to(cpu[CONTROL, load], measured),
            "stale after SQL": "yes" if stale[way] else "no",
        }
        for (way, load), measured in cpu.items()
    ]


def a_get(way: str, call: Callable[[], bytes], writes: int, expected: dict[str, Any]) -> float:
    """The mean CPU of a GET in seconds, after one that fills the cache."""
    first = Subscription.objects.order_by("pk")[0]
    taken = []
    with all_of_cachalot() if way == THEIRS else nullcontext():
        call()
        for number in range(GETS):
            if number % (GETS // writes) == 0:
                Subscription.objects.filter(pk=first.pk).update(comment=first.comment)
            answer, cpu, _ = once(call)
            check(way, answer, expected)
            taken.append(cpu)
    return statistics.mean(taken)


def renamed_outside(way: str, call: Callable[[], bytes]) -> bool:
    """Whether the page shows the old name after a commit that Django knows nothing of."""
    client = Client.objects.get(pk=Subscription.objects.order_by("pk")[0].client_id)
    with all_of_cachalot() if way == THEIRS else nullcontext(), outside() as psql:
        rename = "UPDATE clients_client SET company_name = %s WHERE id = %s"
        call()
        psql.execute(rename, ["Renamed", client.pk])
        shown = json.loads(call())["result"][0]["client_name"]
        psql.execute(rename, [client.company_name, client.pk])
    return bool(shown != "Renamed")


@contextmanager
def all_of_cachalot() -> Iterator[None]:
    """Cachalot with its defaults, over all tables, in a part of the cache of its own."""
    caches.settings["cachalot"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": settings.CACHES["default"]["LOCATION"],
        "KEY_PREFIX": f"benchmarks-{uuid.uuid4()}",
        "TIMEOUT": 600,
    }
    cachalot_settings.load()
    given = dict(vars(cachalot_settings))
    cachalot_settings.CACHALOT_CACHE = "cachalot"
    cachalot_settings.CACHALOT_ONLY_CACHABLE_TABLES = frozenset()
    cachalot_settings.CACHALOT_QUERY_KEYGEN = get_query_cache_key
    cachalot_settings.CACHALOT_TIMEOUT = 600
    try:
        yield
    finally:
        vars(cachalot_settings).update(given)
        cachalot_settings.unload()
        # Only for this thread; the next one has another prefix.
        del caches["cachalot"]
