"""Wrong API keys are counted by the address that sends them, and slowed down and logged.

A right key passes, whatever others send from its address, which may be a proxy's. Each process
counts for itself and for a minute: a guess has 190 bits to find, so nothing more exact is needed.
"""

from __future__ import annotations

import logging
from datetime import datetime

logger = logging.getLogger(__name__)

MOST = 20  # a minute, from an address
ADDRESSES = 10_000  # that are remembered
_counts: dict[str, int] = {}
_minute = 0


def seconds_to_wait(address: str, now: datetime) -> int:
    """Count a wrong key from this address; the seconds for which it has to wait, or 0."""
    global _minute
    minute, seconds = divmod(int(now.timestamp()), 60)
    if minute != _minute or len(_counts) >= ADDRESSES:
        forget()
        _minute = minute
    _counts[address] = count = _counts.get(address, 0) + 1
    if count == 1:
        logger.warning("A wrong API key from %s.", address)
    if count == MOST + 1:
        logger.warning("%s wrong API keys from %s within a minute.", count, address)
    return 60 - seconds if count > MOST else 0


def forget() -> None:
    _counts.clear()
