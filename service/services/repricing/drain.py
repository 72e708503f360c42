"""Do all work that is due, chunk by chunk, until nothing is left to take."""

from __future__ import annotations

import random
import time
from datetime import datetime

from pricebook.kit.points import at_point
from services.hooks import price_changes
from services.repricing import chunks, lock_ends
from services.repricing.movers import COMMENT, PRICE
from services.repricing.planning import plan_due

# How often one run tries steps again that are held up. The sweep tries them anyway; runs that wait
# would occupy all workers, and nothing else would be done.
TRIES = 3


def reprice(seconds: float = 60.0) -> int:
    """Move the prices that are due until nothing is left to take; return how many moved.

    Stops after `seconds` (what is left stays due). One query when nothing is due.
    """
    return _drain(PRICE, seconds)


def stamp(seconds: float = 60.0) -> int:
    """Stamp the comments that are due, as `reprice` moves prices; return how many were stamped."""
    return _drain(COMMENT, seconds)


def start_due() -> tuple[bool, datetime | None]:
    """Start all that has fallen due by the clock; False if a part of it gave way to a lock.

    Also the instant of a set that waits to be listed: work of later instants has to wait.
    """
    started = price_changes().start_due()
    up_to = None if started else price_changes().set_waits_since()
    released = lock_ends.release_ended(up_to)
    return started and released, up_to


def pause() -> None:
    time.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - so that workers don't march in step


def _drain(lane: str, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    moved = tries = 0
    blocked: set[int] = set()  # steps that somebody's open transaction holds up: others go first
    sizes: dict[int, int] = {}  # of the next chunk of each step with a row that can't be written
    while time.monotonic() < deadline:
        planned, up_to = start_due()
        planned = planned and plan_due()
        chunk = chunks.take_chunk(lane, blocked, sizes, up_to)
        if chunk is not None:
            moved += chunk
            at_point("chunk committed")
        elif (blocked or not planned) and tries < TRIES:
            tries += 1
            blocked.clear()
            pause()
        else:
            break
    return moved
