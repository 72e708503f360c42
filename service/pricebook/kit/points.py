"""Named points of a change, at which the kill rounds kill the process that reaches them."""

from __future__ import annotations

from collections.abc import Callable


def at_point(name: str) -> None:
    """A named point of a change. It does nothing, but kill rounds make it wait, to be killed."""
    if POINT is not None:
        POINT(name)


POINT: Callable[[str], None] | None = None
