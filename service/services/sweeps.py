"""When a worker last looked for work that is due: the sweep, which beat sends every two seconds.

It is kept in the cache: a figure for people, on which no work depends.
"""

from __future__ import annotations

from django.core.cache import cache

from services.models import book_clock

LAST = "last_sweep"
KEPT_FOR = 7 * 24 * 60 * 60  # seconds


def note() -> None:
    """Note that a worker looks for work now, by the book's clock. One query."""
    cache.set(LAST, book_clock().timestamp(), KEPT_FOR)


def last() -> float | None:
    """The last sweep of this week, in seconds since 1970; None if the cache has none. No query."""
    found = cache.get(LAST)
    return float(found) if isinstance(found, int | float) else None
