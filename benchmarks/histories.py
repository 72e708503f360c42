"""Whenever workers come, all readers give the answers of the facts: random histories, for hours.

Each history is drawn so that two kinds of events meet in it, and played under each schedule of the
workers. The answers are compared with those of a fold of the facts in plain Python that knows no
worker. A difference is shown by the shortest history that has it.

`--seed S` draws the same histories again; `--from N` begins with the N-th.
"""

import argparse
import os
import time
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import transaction

from benchmarks import results
from benchmarks.scratch import say, scratch_database
from price_changes.tests.asking import Book
from price_changes.tests.drawing import histories_in_which_two_meet
from price_changes.tests.plays import Play, shortest
from price_changes.tests.schedules import FOR_ANY
from price_changes.tests.timeline import Timeline

EVERY = 20  # seconds between two lines of progress


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, help="begin no history later (default: 60)")
    parser.add_argument("--quick", action="store_true", help="half a minute")
    parser.add_argument("--seed", help="that of all histories (default: a new one)")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first one (1)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: HOME/bench)")
    chosen = parser.parse_args(arguments)
    chosen.rows, chosen.rounds = ["three subscriptions"], 1
    chosen.seed = chosen.seed or os.urandom(4).hex()
    under = results.conditions(chosen) | {"seed": chosen.seed, "first": chosen.first}
    minutes = chosen.minutes or (0.5 if chosen.quick else 60)
    with scratch_database("histories"), transaction.atomic():
        figures = play(chosen.seed, chosen.first, 60 * minutes)
        transaction.set_rollback(True)
    results.table("Histories against a fold of their facts", [figures])
    results.save("histories", chosen, under, [figures])
    return int(figures["that differ"] > 0)


def play(seed: str, first: int, seconds: float) -> dict[str, Any]:
    timeline, book = Timeline(), Book()
    say(f"  seed {seed}, from {first}")
    began = said = time.monotonic()
    number = first - 1
    differ = []
    for history in islice(histories_in_which_two_meet(seed), first - 1, None):
        if time.monotonic() - began > seconds:
            break
        number += 1
        for schedule in FOR_ANY:
            if Play(book, timeline, history, schedule).differences():
                differ.append(number)
                say(f"  {number}: {shortest(book, timeline, history, schedule)}")
                break
        if time.monotonic() - said > EVERY:
            said = time.monotonic()
            say(f"  {number - first + 1:,} histories, {len(differ)} differ")
    return {
        "seed": seed,
        "histories": number - first + 1,
        "schedules": len(FOR_ANY),
        "that differ": len(differ),
    }
