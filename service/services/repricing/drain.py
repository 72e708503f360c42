"""Do all work that is due, chunk by chunk, until nothing is left to take."""

from __future__ import annotations

import random
import time
from datetime import datetime

from django.db import connection

from pricebook.kit.points import at_point
from services.hooks import price_changes
from services.repricing import chunks, lock_ends
from services.repricing.movers import COMMENT, PRICE
from services.repricing.planning import plan_due
from services.sql import SQL

# How often one run tries steps again that are held up. The sweep tries them anyway; runs that wait
# would occupy all workers, and nothing else would be done.
TRIES = 3
# Whether a price change has come or a lock has ended, and whether a repricing has to be planned or
# closed. The answer is nearly always no, and is asked for each chunk: so it is one statement. It
# asks for the earliest, by the index: for whether there is one, all that is to come would be read.
FALLEN_DUE = """
SELECT ({changes}) IS NOT NULL
       OR (SELECT min(until) FROM services_lockend WHERE until <= (SELECT book_now())) IS NOT NULL,
       EXISTS (SELECT FROM services_repricing work
                WHERE finished_at IS NULL AND (planned_at IS NULL OR paused_at IS NULL)
                  AND NOT EXISTS (
                      SELECT FROM services_repricingstep WHERE repricing_id = work.id))
"""


def reprice(seconds: float = 60.0) -> int:
    """Move the prices that are due until nothing is left to take; return how many moved.

    Stops after `seconds` (what is left stays due). Three queries when nothing is due.
    """
    return _drain(PRICE, seconds)


def stamp(seconds: float = 60.0) -> int:
    """Stamp the comments that are due, as `reprice` moves prices; return how many were stamped."""
    return _drain(COMMENT, seconds)


def fallen_due_sql() -> SQL:
    changes, params = price_changes().waiting_since()
    return FALLEN_DUE.format(changes=changes), params


def start_due() -> tuple[bool, datetime | None]:
    """Start all that has fallen due by the clock; False if a part of it gave way to a lock.

    Also the instant of a set that waits to be listed: work of later instants has to wait.
    """
    started = price_changes().start_due()
    up_to = None if started else price_changes().set_waits_since()
    released = lock_ends.release_ended(up_to)
    return started and released, up_to


def _start_and_plan() -> tuple[bool, datetime | None]:
    """As `start_due`, and plan what has fallen due. One query if nothing has."""
    with connection.cursor() as cursor:
        cursor.execute(*fallen_due_sql())
        starts, plans = cursor.fetchone()
    done, up_to = start_due() if starts else (True, None)
    if starts or plans:
        done = done and plan_due()
    return done, up_to


def pause() -> None:
    time.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - so that workers don't march in step


def _drain(lane: str, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    moved = tries = 0
    blocked: set[int] = set()  # steps that somebody's open transaction holds up: others go first
    sizes: dict[int, int] = {}  # of the next chunk of each step with a row that can't be written
    while time.monotonic() < deadline:
        planned, up_to = _start_and_plan()
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
