"""A workbook is read into an empty book in at most twice the time of the CSV with the same lines.

The same lines come as our own CSV, as the CSV of a spreadsheet (semicolons, decimal commas, days
first) and as a workbook whose prices, percentages and dates are numbers with a format. The last
line is what none of them can be faster than: the statements alone that insert logins, clients and
subscriptions, with the triggers and indexes of their tables, and the commit with its foreign keys.

CPU is that of this process and of its PostgreSQL session.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from unittest.mock import patch

from django.db.models import Sum
from xlsxwriter import Workbook

from benchmarks import results
from benchmarks.goals.line import goal
from benchmarks.goals.transfer import a_file
from benchmarks.scratch import copy_of_the_book, scratch_database
from benchmarks.stopwatch import cpu_seconds, once, one_session
from services.models import Subscription
from services.transfer import importing
from services.transfer.importing import import_book

NUMBERS = ("full_price", "discount_percent")
STARTED = datetime(2024, 1, 31)
HEADS = ("rows", "work", "measured", "goal", "met")
WRITTEN = ("auth_user", "clients_client", "services_subscription")
Line = dict[str, str]
Taken = tuple[float, float]  # seconds of CPU and of the clock


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[100_000], quick=[2_000], rounds=3)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures: list[dict[str, Any]] = []
    with scratch_database("import_files"):
        for rows in chosen.rows:
            figures += measure(rows, chosen.rounds)
    results.table("Files into an empty book", figures)
    goals = [
        {"rows": figure["rows"], **goal(f"workbook, × CSV: {by}", figure[by], at_most=2)}
        for figure in figures
        if figure["file"] == "workbook"
        for by in ("× CPU of CSV", "× time of CSV")
    ]
    results.table("Goals", [{key: line[key] for key in HEADS} for line in goals])
    results.save("import_files", chosen, under, figures + goals)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    lines = list(csv.DictReader(io.StringIO(a_file(rows).decode())))
    for line in lines:
        line["started_at"] = f"{STARTED:%Y-%m-%d}"
    files = {
        "CSV": as_csv(lines),
        "CSV of a spreadsheet": as_csv_of_a_spreadsheet(lines),
        "workbook": as_workbook(lines),
    }
    took: dict[str, list[Taken]] = {name: [] for name in files}
    sums = set()
    bare: list[Taken] = []

    def load(name: str) -> float:
        with copy_of_the_book():
            one_session()
            _, cpu, clock = once(partial(import_book, io.BytesIO(files[name])))
            sums.add(Subscription.objects.aggregate(total=Sum("price"))["total"])
        took[name].append((cpu, clock))
        return cpu

    def insert_alone() -> float:
        with copy_of_the_book():
            one_session()
            bare.append(of_the_inserts(files["CSV"]))
        return bare[-1][0]

    ways: dict[str, Callable[[], float]] = {name: partial(load, name) for name in files}
    results.interleaved(ways | {"the inserts alone": insert_alone}, rounds)
    if len(sums) != 1:
        raise AssertionError(f"not the same book: {sums}")
    took["the inserts alone"] = bare
    control = took["CSV"]
    return [
        {
            "rows": rows,
            "file": name,
            "CPU, s": statistics.median(cpu for cpu, _ in each),
            "s": statistics.median(clock for _, clock in each),
            "× CPU of CSV": results.ratio_to([c for c, _ in control], [c for c, _ in each]),
            "× time of CSV": results.ratio_to([s for _, s in control], [s for _, s in each]),
        }
        for name, each in took.items()
    ]


def of_the_inserts(content: bytes) -> Taken:
    """The seconds of CPU and of the clock of an import's inserts, and of its commit."""
    parts: list[Taken] = []
    at_commit: list[Taken] = []

    def now(*_: object) -> None:
        at_commit.append((cpu_seconds(), time.perf_counter()))

    def execute(run: Any, query: str, parameters: Any = None) -> None:
        _, *taken = once(partial(run.cursor.execute, query, parameters))
        if any(f"INSERT INTO {table}" in query for table in WRITTEN):
            parts.append((taken[0], taken[1]))

    with (
        patch.object(importing._Import, "_execute", execute),
        patch.object(importing, "analyse", now),  # comes after the commit
    ):
        import_book(io.BytesIO(content), record=now)  # comes before it
    before, after = at_commit
    parts.append((after[0] - before[0], after[1] - before[1]))
    return sum(cpu for cpu, _ in parts), sum(clock for _, clock in parts)


def as_csv(lines: list[Line], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def as_csv_of_a_spreadsheet(lines: list[Line]) -> bytes:
    return as_csv(
        [
            line | {"full_price": f"{line['full_price']},00", "started_at": "31.01.2024"}
            for line in lines
        ],
        ";",
    )


def as_workbook(lines: list[Line]) -> bytes:
    file = io.BytesIO()
    with Workbook(file, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, list(lines[0]))
        for row, line in enumerate(lines, 1):
            for column, (name, text) in enumerate(line.items()):
                if name == "started_at":
                    sheet.write_datetime(row, column, STARTED, day)
                elif name in NUMBERS:
                    sheet.write_number(row, column, float(text))
                else:
                    sheet.write_string(row, column, text)
    return file.getvalue()
