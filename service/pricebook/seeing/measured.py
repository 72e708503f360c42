"""Times of requests and tasks, as histograms of this process, or of all processes of this host.

With PROMETHEUS_MULTIPROC_DIR (a directory that is empty when the first of them starts) processes
write their counts into files there, and each answer has the sum, those of ended processes among
them. That is right for counts. Gauges are not kept so, because files outlive their processes: all
that is a state is read from the database at the scrape (`collector`).

Without it an answer has the counts of the process that gives it, so there should be only one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

DIRECTORY = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
if DIRECTORY:  # the library needs it at its import
    Path(DIRECTORY).mkdir(parents=True, exist_ok=True)

from prometheus_client import (  # noqa: E402
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    mmap_dict,
    values,
)
from prometheus_client.exposition import generate_latest  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402
from prometheus_client.registry import Collector  # noqa: E402

TEXT = "text/plain; version=0.0.4; charset=utf-8"

FIRST = 1 << 16  # bytes of a new file, as the library begins


class WholeFile(mmap_dict.MmapedDict):
    """The library's file of counts, with all of its blocks on the disk before they are written.

    The library's has holes. On a full disk the kernel ends a process that writes into one, by
    SIGBUS: with the request that it counts. Here the file does not grow then (OSError).
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            with open(filename, "ab") as file:
                os.posix_fallocate(file.fileno(), 0, FIRST)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        # A line takes its key, up to 8 bytes behind it, and 20 for its length and its numbers.
        if self._used + len(key.encode()) + 28 > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


values.MmapedDict = WholeFile  # type: ignore[attr-defined]
# They would be a series more for each histogram, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]
# Not the library's own registry, in which Flower, too, keeps its metrics.
_own = CollectorRegistry()
REQUESTS = Histogram(
    "pricebook_request_seconds",
    "Seconds until the answer to a request, or the beginning of a stream",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=_own,
)
REPLICA_READS = Counter(
    "pricebook_replica_reads",
    "Reads that may come from the replica, by what answered them, or why it was the primary",
    ["outcome"],
    registry=_own,
)
TASKS = Histogram(
    "pricebook_task_seconds",
    "Seconds of a task of a worker",
    ["task", "outcome"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300),
    registry=_own,
)


def count(histogram: Histogram, labels: tuple[str, ...], seconds: float) -> None:
    """Count it, or leave it out where the disk has no room: no request fails by it."""
    with contextlib.suppress(OSError):
        histogram.labels(*labels).observe(seconds)


def count_read(outcome: str) -> None:
    """The same of a read that may come from the replica."""
    with contextlib.suppress(OSError):
        REPLICA_READS.labels(outcome).inc()


def exposed(*others: Collector) -> bytes:
    """The text for Prometheus: these histograms, and what other collectors find now."""
    registry = CollectorRegistry()
    if DIRECTORY:
        MultiProcessCollector(registry, DIRECTORY)  # type: ignore[no-untyped-call]
    else:
        registry.register(_Own())
    for other in others:
        registry.register(other)
    return generate_latest(registry)


class _Own(Collector):
    def collect(self) -> Iterable:
        return _own.collect()
