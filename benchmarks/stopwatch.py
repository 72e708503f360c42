"""Time and CPU of this process together with its PostgreSQL session, which must be on this machine.

A process that waits uses no CPU, so neighbours disturb CPU less than the clock.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from django.db import connection

Result = TypeVar("Result")
SECONDS = 0.3  # of one variant in one round, three calls at least; with --quick a third


def session_seconds() -> float:
    """The CPU of this connection's PostgreSQL session, in seconds."""
    connection.ensure_connection()
    session = connection.connection.info.backend_pid
    return int(Path(f"/proc/{session}/schedstat").read_text().split()[0]) / 1e9


def one_session() -> None:
    """Allow this connection no parallel workers: their CPU would not be counted."""
    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")


def cpu_seconds() -> float:
    """The CPU of this process and of its session, in seconds."""
    return time.process_time() + session_seconds()


def once(call: Callable[[], Result]) -> tuple[Result, float, float]:
    """The call's result, and its seconds of CPU and of the clock."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = call()
    wall = time.perf_counter() - wall
    return result, cpu_seconds() - cpu, wall


def timed(
    call: Callable[[], object],
    before_each: Callable[[], object] | None = None,
    seconds: float | None = None,
) -> tuple[float, float]:
    """The median seconds of CPU and of the clock that one call takes."""
    cpu: list[float] = []
    wall: list[float] = []
    seconds = SECONDS if seconds is None else seconds
    while sum(wall) < seconds or len(wall) < 3:
        if before_each is not None:
            before_each()
        _, cpu_taken, wall_taken = once(call)
        cpu.append(cpu_taken)
        wall.append(wall_taken)
    return statistics.median(cpu), statistics.median(wall)
