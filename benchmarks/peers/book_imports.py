"""The rows of a file into an empty book: Pricebook's `import_book` beside a peer's import.

Both are in processes that run already: their start is in no figure.
"""

import csv
import io
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from django.db.models import Sum

from benchmarks import goals, results
from benchmarks.peers.installed import Ask, files_of_the_book, started
from benchmarks.scratch import copy_of_the_book, say, scratch_database
from benchmarks.stopwatch import once, one_session
from services.models import Subscription
from services.transfer.importing import import_book

MOST = 10_000  # rows
MOST_SINGLE = 5_000  # of a way that asks or saves row by row
GOAL = "use_bulk, no diff, cached keys"  # the quickest way, which has a goal


def measure(name: str, python: Path, rows: int, rounds: int) -> list[dict[str, Any]]:
    if rows > MOST:
        say(f"  {name}: with {MOST:,} rows instead of {rows:,}: more would take minutes a round")
        rows = MOST
    content = with_prices(goals.transfer.a_file(rows))
    with (
        scratch_database("peers"),
        tempfile.NamedTemporaryFile(suffix=".csv") as file,
        started(name, python) as ask,
    ):
        file.write(content)
        file.flush()
        totals: set[tuple[int, Decimal]] = set()
        with copy_of_the_book():
            import_book(io.BytesIO(content))
            with files_of_the_book(rows=False) as folder:
                ask("fill", folder=str(folder))
        clock: dict[str, list[float]] = defaultdict(list)
        ways: dict[str, Callable[[], float]] = {
            "Pricebook": partial(ours, content, totals, clock["Pricebook"])
        }
        for way in ask("ways"):
            if rows <= MOST_SINGLE or way == GOAL:
                ways[way] = partial(theirs, ask, way, file.name, totals, clock[way])
        taken = results.interleaved(ways, rounds)
        if len(totals) != 1:
            raise AssertionError(f"not the same books: {totals}")
    return [
        {
            "rows": rows,
            "work": "import",
            "way": way,
            "CPU, ms": 1000 * statistics.median(cpu),
            "× Pricebook": results.ratio_to(taken["Pricebook"], cpu),
            "× by the clock": (faster := results.ratio_to(clock["Pricebook"], clock[way])),
            "goal": f"at least 8 ×: {'met' if faster >= 8 else 'NO'}" if way == GOAL else "",
        }
        for way, cpu in taken.items()
    ]


def with_prices(content: bytes) -> bytes:
    """The file with a column of the rule's prices, which the peer can't work out."""
    lines = list(csv.DictReader(io.StringIO(content.decode())))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*lines[0], "price"])
    writer.writeheader()
    for line in lines:
        price = Decimal(line["full_price"]) * (100 - int(line["discount_percent"])) / 100
        writer.writerow(line | {"price": f"{price:.2f}"})
    return text.getvalue().encode()


def ours(content: bytes, totals: set[tuple[int, Decimal]], clock: list[float]) -> float:
    with copy_of_the_book():
        one_session()
        _, cpu, seconds = once(partial(import_book, io.BytesIO(content)))
        clock.append(seconds)
        amount = Subscription.objects.aggregate(total=Sum("price"))["total"]
        totals.add((Subscription.objects.count(), amount))
    return cpu


def theirs(
    ask: Ask, way: str, file: str, totals: set[tuple[int, Decimal]], clock: list[float]
) -> float:
    answer = ask("import", way=way, file=file)
    clock.append(answer["seconds"])
    totals.add((answer["rows"], Decimal(answer["total"])))
    return float(answer["cpu"])
