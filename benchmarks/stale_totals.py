"""A total that is deleted and computed again stays wrong after some bursts; ours after none.

One price moves a few times in a burst while two readers read the total of all. After each burst,
when readers and writer have ended, the total is read once more and compared with the sum of the
rows: a wrong one would be served until the next write, or for an hour.

- the tutorial's way (chapter 11): the sum is kept under one key; the writer commits, then deletes
- Pricebook: `total.total_amount()`

Both run on copies of the same book, with the same moves; the readers are threads with their own
connections. The price that moves is a negotiated one, so that nothing puts it back.
"""

import random
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.models import F, Sum

from benchmarks import results
from benchmarks import tutorial_variants as tutorial
from benchmarks.scratch import copy_of_the_book, say, scratch_book
from services.models import Subscription
from services.reading import total

THEIRS, OURS = "the tutorial's way", "Pricebook"
WRITES = 5  # in a burst
READERS = 2


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[10_000, 100_000], quick=[10_000], rounds=100)
    chosen = results.parse(parser, arguments)
    bursts = max(chosen.rounds, 20)
    under = results.conditions(chosen) | {"rounds": bursts, "writes a burst": WRITES}
    figures = []
    for rows in chosen.rows:
        with scratch_book("stale_totals", rows):
            figures += measure(rows, bursts)
    results.table("Totals that are wrong when all is quiet again", figures)
    results.save("stale_totals", chosen, under, figures)


def measure(rows: int, bursts: int) -> list[dict[str, Any]]:
    figures = []
    for name, ask, forget in (
        (THEIRS, tutorial_total, lambda: cache.delete(settings.PRICE_CACHE_NAME)),
        (OURS, lambda: total.total_amount().amount, lambda: None),
    ):
        with copy_of_the_book():
            cache.delete(settings.PRICE_CACHE_NAME)
            wrong = sum(burst(number, ask, forget) for number in range(bursts))
        say(f"  {name}: wrong after {wrong} of {bursts} bursts")
        if name == OURS and wrong:
            raise AssertionError(f"Pricebook's total was wrong after {wrong} bursts")
        figures.append({"rows": rows, "total": name, "bursts": bursts, "wrong after": wrong})
    cache.delete(settings.PRICE_CACHE_NAME)
    return figures


def tutorial_total() -> Decimal:
    answer: dict[str, Any] = {}
    view = tutorial.TotalCached()
    view.add_total(answer, Subscription.objects.all())
    return Decimal(answer["total_amount"])


def burst(number: int, ask: Callable[[], Decimal], forget: Callable[[], object]) -> bool:
    """Run a burst; whether the total is wrong after it."""
    chance = random.Random(number)
    over = threading.Event()

    def read() -> None:
        try:
            while not over.is_set():
                ask()
        finally:
            connection.close()

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    moved = Subscription.objects.order_by("pk")[number : number + 1].get().pk
    for _ in range(WRITES):
        Subscription.objects.filter(pk=moved).update(price=F("price") + 1, price_state="negotiated")
        forget()
        time.sleep(chance.random() / 200)
    over.set()
    for reader in readers:
        reader.join()
    return bool(ask() != Subscription.objects.aggregate(total=Sum("price"))["total"])
