"""The task and the price change that records of the log are about, beside their request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_about: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)
# Others that know something of this thread are asked for each record: the id of its trace.
asked: list[Callable[[], dict[str, Any]]] = []


def current() -> dict[str, Any]:
    """The names and values that records of this thread have now."""
    found = dict(_about.get() or {})
    for ask in asked:
        found |= ask()
    return found


def set(**named: Any) -> None:
    """Give these to each record of this thread, in the place of all before, until `clear`."""
    _about.set(named)


def clear() -> None:
    _about.set(None)


@contextmanager
def about(**named: Any) -> Iterator[None]:
    """Give these, too, to each record within."""
    before = _about.get()
    _about.set({**(before or {}), **named})
    try:
        yield
    finally:
        _about.set(before)
