"""The progress of `./pricebook bench --quick`, and about how long it still takes."""

import os
import time

from benchmarks.scratch import say

BEGAN = "PRICEBOOK_BENCH_BEGAN"  # when the run did, on the clock that all processes share

# Its steps in their order, with their seconds on two quiet cores. Elsewhere they are shares.
QUICK = {
    "ladder, 300: list": 6,
    "ladder, 300: total": 2,
    "ladder, 300: indexes": 1,
    "ladder, 300: cachalot": 2,
    "ladder, 300: pairs": 1,
    "ladder, 10,000: list": 5,
    "ladder, 10,000: repricing": 27,
    "ladder, 10,000: total": 3,
    "ladder, 10,000: indexes": 1,
    "ladder, 10,000: updates": 8,
    "ladder, 10,000: cachalot": 4,
    "ladder, 10,000: pairs": 1,
    "ladder: what stays wrong": 35,
    "goals, 10,000: page": 7,
    "goals, 10,000: size": 8,
    "goals, 10,000: inserts": 3,
    "goals, 10,000: list price": 2,
    "goals, 10,000: import": 14,
    "goals, 10,000: stream": 5,
    "goals, 10,000: requests": 14,
}


def step(name: str) -> None:
    """Print the step that begins ("ladder, 300: list"), and in the quick proof the time left."""
    began = float(os.environ.get(BEGAN, 0))
    if not began or name not in QUICK:
        say(name)
        return
    names = list(QUICK)
    done, left = (
        sum(QUICK[each] for each in part)
        for part in (names[: names.index(name)], names[names.index(name) :])
    )
    elapsed = time.monotonic() - began
    slower = max(1, elapsed / done) if done > 10 else 1
    say(f"[{elapsed:.0f} s, about {left * slower:.0f} s left] {name}")
