"""Sealing and verifying the ledger beside COPY of its columns; and a repricing beside a sealer.

All prices are negotiated, so each has an entry of its own. Each round reads all entries by
`COPY … TO STDOUT`, through psycopg, in the order of the feed; seals them anew, in blocks of 10,000
rows; and verifies the chain. Then a list price moves over and over, with nothing beside it and with
a sealer in another process, which comes each second. The chain must fit at the end.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db import connection

from benchmarks import results, stopwatch
from benchmarks.scratch import environment_of_the_book, say, scratch_book
from pricebook.local.paths import SERVICE
from services import repricing
from services.ledger import seals
from services.ledger.seals.rows import TABLES
from services.models import Service

SEALER = """
import django; django.setup()
import time
from services.ledger import seals
seals.seal()
print("begins", flush=True)
while True:
    seals.seal()
    time.sleep(1)
"""


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[250_000], quick=[20_000], rounds=5)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures: list[dict[str, Any]] = []
    for rows in chosen.rows:
        with scratch_book("seal", rows):
            figures += measure(rows, chosen.rounds)
    results.table("Seals of the ledger", figures)
    results.save("seal", chosen, under, figures)


def measure(subscriptions: int, rounds: int) -> list[dict[str, Any]]:
    execute("UPDATE services_subscription SET price_state = 'negotiated', price = price + 1")
    execute("VACUUM ANALYZE services_ledgerentry")
    execute("ALTER TABLE services_sealedblock DISABLE TRIGGER sealed_not_truncated")
    figures = compared(
        2 * subscriptions,
        rounds,
        {"COPY … TO of the same columns": copy, "seal": seal, "verify": verify},
    )
    execute("UPDATE services_subscription SET price_state = 'follows'")
    repricing.reprice(600)
    service = Service.objects.order_by("pk")[0]
    move(service)
    figures += compared(
        service.subscriptions.count(),
        rounds,
        {
            "a list price moves": lambda: move(service),
            "it moves beside a sealer": lambda: move(service),
        },
        beside={"it moves beside a sealer"},
    )
    seals.seal(600)
    report = seals.verify()
    assert report.is_sound
    say(f"  {report.blocks:,} blocks of {report.rows:,} rows fit")
    return figures


def compared(
    rows: int,
    rounds: int,
    variants: dict[str, Callable[[], None]],
    beside: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Rows a second, and µs of CPU of this process and its session, beside the first variant."""
    cpu: dict[str, list[float]] = {name: [] for name in variants}

    def once(name: str) -> float:
        with a_sealer() if name in beside else nullcontext():
            _, seconds, wall = stopwatch.once(variants[name])
        cpu[name].append(seconds / rows * 1e6)
        return rows / wall

    def call(name: str) -> Callable[[], float]:
        return lambda: once(name)

    rates = results.interleaved({name: call(name) for name in variants}, rounds)
    (first, *_) = rates.values()
    return [
        {
            "rows": rows,
            "what": name,
            "rows/s": statistics.median(found),
            "× the first": statistics.median(
                rate / of_first for rate, of_first in zip(found, first, strict=True)
            ),
            "µs of CPU a row": statistics.median(cpu[name]),
        }
        for name, found in rates.items()
    ]


@contextmanager
def a_sealer() -> Iterator[None]:
    environment = environment_of_the_book() | {"DJANGO_SETTINGS_MODULE": "pricebook.settings"}
    command = [sys.executable, "-c", SEALER]
    with subprocess.Popen(command, cwd=SERVICE, env=environment, stdout=subprocess.PIPE) as sealer:
        assert sealer.stdout is not None
        sealer.stdout.readline()
        try:
            yield
        finally:
            sealer.kill()


def copy() -> None:
    (entries,) = (table for table in TABLES if table.name == "entry")
    everything = {"after_xact": 0, "after_id": 0, "last_xact": 2**62, "last_id": 0}
    with connection.cursor() as cursor:
        sql = f"COPY ({entries.sql}) TO STDOUT"
        with cursor.copy(sql, everything) as rows:
            for _ in rows:
                pass


def seal() -> None:
    execute("TRUNCATE services_sealedblock")
    seals.seal(600)


def verify() -> None:
    assert seals.verify().is_sound


def move(service: Service) -> None:
    service.full_price += 1
    Service.objects.filter(pk=service.pk).update(full_price=service.full_price)
    repricing.reprice(600)


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
