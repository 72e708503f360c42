"""The clock of this host, beside the database's, which alone decides what is due.

A host's decides little: how long a log-in is idle, when a key ends, what a log says. One that is
off is a fault of the host all the same, and is said: in the log, on the home page, by `doctor`.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import NamedTuple

from django.core.cache import cache
from django.db import connection

logger = logging.getLogger(__name__)

FAR = 5.0  # seconds
EVERY = 60.0  # seconds between two comparisons of a process
KEPT = 600  # seconds for which a comparison is shown
NOTED = "host_clocks"
NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


class HostClock(NamedTuple):
    host: str
    ahead: float  # seconds that it is ahead of the database's clock; less than 0: behind

    @property
    def far(self) -> int:
        return round(abs(self.ahead))

    @property
    def said(self) -> str:
        where = "ahead of" if self.ahead > 0 else "behind"
        return (
            f"The clock of host {self.host} is {self.far} s {where} the database's. Fix: let the"
            " host take its time from a time server (NTP)."
        )


def compare() -> HostClock:
    """Compare this host's clock with the database's. One query; its duration does not count."""
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(NOW)
        (there,) = cursor.fetchone()
    here = time.time()  # noqa: TID251 - it is compared
    # The database read its clock between the two.
    earliest = here - there - (time.monotonic() - began)
    ahead = 0.0 if earliest <= 0 <= here - there else min(earliest, here - there, key=abs)
    return HostClock(socket.gethostname(), ahead)


_compared_at = -EVERY


def compare_now_and_then() -> None:
    """Compare, once a minute in a process: log an error if it is far off, and note it."""
    global _compared_at
    if time.monotonic() - _compared_at < EVERY:
        return
    _compared_at = time.monotonic()
    found = compare()
    noted = {host: each for host, each in _noted().items() if host != found.host}
    if found.far > FAR:
        logger.error("%s", found.said)
        noted[found.host] = found.ahead
    elif len(noted) == len(_noted()):  # it was not noted
        return
    cache.set(NOTED, noted, KEPT)


def far_off() -> list[HostClock]:
    """The hosts of workers whose clocks were far off in the last minutes. No query."""
    return [HostClock(host, ahead) for host, ahead in sorted(_noted().items())]


def _noted() -> dict[str, float]:
    return dict(cache.get(NOTED) or {})
