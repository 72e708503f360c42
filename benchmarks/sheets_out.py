"""A book is written for spreadsheets in constant memory: CSV, the CSV of Excel, a workbook.

All rows of a book, as `export_book` writes them. Each file is written by a process of its own: what
its memory grows by is told. CPU is that of the process and of its PostgreSQL session.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import patch

from django.db import connection

from benchmarks import results
from benchmarks.goals.transfer import resident_kilobytes
from benchmarks.scratch import environment_of_the_book, scratch_book
from benchmarks.stopwatch import once, one_session
from services.transfer.exporting import SheetWriter, export_book
from services.transfer.sheets import workbook
from services.transfer.sheets.excel_csv import ExcelCSV

FORMS = ("CSV", "CSV of Excel (de)", "workbook")


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[100_000], quick=[2_000], rounds=3)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures: list[dict[str, Any]] = []
    for rows in chosen.rows:
        with scratch_book("sheets_out", rows):
            figures += measure(rows, chosen.rounds)
    results.table("A book as a file", figures)
    results.save("sheets_out", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    took: dict[str, list[tuple[float, ...]]] = {form: [] for form in FORMS}

    def elsewhere(form: str) -> float:
        with multiprocessing.get_context("spawn").Pool(1) as processes:
            written, *taken = processes.apply(write, [form])
        if written != rows:
            raise AssertionError(f"{form}: {written} rows")
        took[form].append(tuple(taken))
        return float(taken[0])

    with patch.dict(os.environ, environment_of_the_book(), clear=True):
        results.interleaved({form: partial(elsewhere, form) for form in FORMS}, rounds)
    heads = ("CPU, s", "s", "memory that it adds, MB", "MB of the file")
    return [
        {"rows": rows, "file": form}
        | {
            head: statistics.median(numbers)
            for head, numbers in zip(heads, zip(*each, strict=True), strict=True)
        }
        for form, each in took.items()
    ]


def write(form: str) -> tuple[float, ...]:
    """Rows, seconds of CPU and of the clock, MB that the process grew by, MB of the file."""
    sheet: SheetWriter | None = None
    if form != "CSV":
        sheet = workbook.write if form == "workbook" else ExcelCSV.of("de").write
    connection.ensure_connection()
    one_session()
    before = resident_kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    with TemporaryFile() as file:
        exported, cpu, clock = once(partial(export_book, file, sheet=sheet))
        size = file.seek(0, os.SEEK_END)
    grown = (resident_kilobytes("VmHWM") - before) / 1024
    return exported.subscriptions, cpu, clock, grown, size / 1e6
