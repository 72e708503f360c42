"""Named points of a change, at which the kill rounds kill whoever comes by."""

from __future__ import annotations

from collections.abc import Callable


def at_point(name: str) -> None:
    """A named point of a change. Does nothing; the kill rounds have it wait here, to be killed."""
    if POINT is not None:
        POINT(name)


POINT: Callable[[str], None] | None = None
