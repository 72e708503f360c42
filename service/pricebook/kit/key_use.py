"""When API keys were last used, to the minute.

A request of a program notes the minute in the cache, once a minute for each key and process; a task
writes what was noted (`keys.tasks`). So a read writes nothing in PostgreSQL, neither in its own
transaction nor beside it. A lost cache loses a few minutes of it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from django.core.cache import cache

NOTED = "key-used:{}"
KEPT_FOR = 24 * 60 * 60  # seconds: as long as workers may be away
REMEMBERED = 10_000
_noted: dict[int, int] = {}  # the minute that this process has noted last, by the key's number


def note(number: int, now: datetime) -> None:
    """Note that a key is used now. At most one round trip to the cache, none to the database."""
    minute = int(now.timestamp()) // 60
    if _noted.get(number) == minute:
        return
    if len(_noted) >= REMEMBERED:
        _noted.clear()
    _noted[number] = minute
    cache.set(NOTED.format(number), minute, KEPT_FOR)


def noted(numbers: Iterable[int]) -> dict[int, datetime]:
    """The minutes that were noted for these keys and are not forgotten yet. One round trip."""
    by_name = {NOTED.format(number): number for number in numbers}
    found = cache.get_many(by_name)
    return {
        by_name[name]: datetime.fromtimestamp(minute * 60, UTC) for name, minute in found.items()
    }
