"""The past of a book comes in by a file and goes out by one, in constant memory.

Half as many subscriptions as lines: two intervals of each have other prices, a line for each. Then
the whole past is written, and read once more: that finds nothing to write. CPU is that of this
process and of its PostgreSQL session; memory is what the process grew by in the first round.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from benchmarks import results
from benchmarks.goals.transfer import a_file, resident_kilobytes
from benchmarks.scratch import copy_of_the_book, scratch_database
from benchmarks.stopwatch import once, one_session
from services.past.exporting import export_history
from services.past.importing import import_history
from services.transfer.importing import import_book

# They lie in the year in which the lines of `a_file` begin; no rule gives their prices.
INTERVALS = (("2024-02-01", "2024-06-01", "7.77"), ("2024-07-01", "2024-09-01", "8.88"))


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[100_000], quick=[2_000], rounds=2)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures: list[dict[str, Any]] = []
    with scratch_database("history_files"):
        for rows in chosen.rows:
            with copy_of_the_book():
                import_book(io.BytesIO(a_file(rows // 2)))
                figures += measure(rows, chosen.rounds)
    results.table("The past of a book", figures)
    results.save("history_files", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    took: dict[str, list[tuple[float, float, float, float]]] = {}

    def note(name: str, lines: int, call: Callable[[], Any]) -> Any:
        before = resident_kilobytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
        result, cpu, clock = once(call)
        grown = (resident_kilobytes("VmHWM") - before) / 1024
        took.setdefault(name, []).append((lines or result, cpu, clock, grown))
        return result

    for _ in range(rounds):
        with copy_of_the_book():
            one_session()
            lines = a_past(rows)
            brought = note("in", rows, partial(import_history, io.BytesIO(lines)))
            with TemporaryFile() as file:
                written = note("out", 0, partial(export_history, file))
                file.seek(0)
                again = note("in again", written, partial(import_history, file))
            if (brought.lines, brought.corrected, again.corrected) != (rows, rows, 0):
                raise AssertionError(f"not the past that was sent: {brought}, {again}")
    return [
        {
            "subscriptions": rows // 2,
            "file": name,
            "lines": each[0][0],
            "CPU, s": statistics.median(cpu for _, cpu, _, _ in each),
            "s": statistics.median(clock for _, _, clock, _ in each),
            "CPU, µs a line": statistics.median(1e6 * cpu / lines for lines, cpu, _, _ in each),
            "memory that it adds, MB": each[0][3],
        }
        for name, each in took.items()
    ]


def a_past(rows: int) -> bytes:
    lines = [
        f"crm,{n},{since},{until},{price}\n"
        for n in range(rows // 2)
        for since, until, price in INTERVALS
    ]
    return ("source,external_id,effective_at,until,price\n" + "".join(lines)).encode()
