"""Sealing and verifying the ledger, beside COPY of the same columns; and a repricing beside sealing.

A book with entries of its own (each price negotiated, the ledger's widest rows), sealed in blocks of
10,000. Each round reads all entries by `COPY … TO STDOUT`, through psycopg, in the order of the
feed; seals them anew; and verifies the chain. Then a list price moves over and over, with nothing
beside it and with a sealer in another process, sixty times as often as beat's. The chain must fit at
the end.
"""

import statistics
import subprocess
import sys
import time
from typing import Any

from django.db import connection

from benchmarks import results
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
    rows = 2 * subscriptions
    found = results.interleaved(
        {
            "COPY … TO of the same columns": lambda: rate(rows, copy),
            "seal": lambda: rate(rows, seal),
            "verify": lambda: rate(rows, verify),
        },
        rounds,
    )
    copied = found["COPY … TO of the same columns"]
    figures = [
        {
            "rows": rows,
            "what": name,
            "rows/s": statistics.median(rates),
            "× COPY, median of rounds": statistics.median(
                rate / of_copy for rate, of_copy in zip(rates, copied, strict=True)
            ),
        }
        for name, rates in found.items()
    ]
    execute("UPDATE services_subscription SET price_state = 'follows'")
    repricing.reprice(600)
    service = Service.objects.order_by("pk")[0]
    moved = service.subscriptions.count()
    beside = results.interleaved(
        {
            "list price moves": lambda: rate(moved, lambda: move(service)),
            "list price moves beside a sealer": lambda: beside_a_sealer(moved, service),
        },
        rounds,
    )
    alone = beside["list price moves"]
    figures += [
        {
            "rows": moved,
            "what": name,
            "rows/s": statistics.median(rates),
            "× COPY, median of rounds": None
            if rates is alone
            else statistics.median(rate / by for rate, by in zip(rates, alone, strict=True)),
        }
        for name, rates in beside.items()
    ]
    seals.seal(600)
    report = seals.verify()
    assert report.is_sound
    assert report.unsealed is not None
    say(f"  {report.blocks:,} blocks of {report.rows:,} rows fit")
    return figures


def rate(rows: int, call: Any) -> float:
    began = time.perf_counter()
    call()
    return rows / (time.perf_counter() - began)


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


def beside_a_sealer(rows: int, service: Service) -> float:
    environment = environment_of_the_book() | {"DJANGO_SETTINGS_MODULE": "pricebook.settings"}
    sealer = subprocess.Popen([sys.executable, "-c", SEALER], cwd=SERVICE, env=environment)
    try:
        time.sleep(1.5)  # it begins
        return rate(rows, lambda: move(service))
    finally:
        sealer.kill()
        sealer.wait()


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
