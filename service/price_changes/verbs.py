"""The verbs of a price change. The admin, the API and the command call these; so may Python code.

    plan → preview → approve → (keep_instant, pause, resume, cancel) → revert

Each is one transaction, records who did it, and raises ChangeError (code, detail, status) if it
can't be done. docs/price-changes.md shows them on a book.
"""

from typing import Any

from price_changes import second_person
from price_changes.models import PriceChange
from price_changes.planning.definition import plan
from price_changes.running import lifecycle
from price_changes.running.allowing import allowed
from price_changes.running.lifecycle import (
    cancel,
    keep_instant,
    pause,
    preview,
    resume,
    revert,
)
from price_changes.running.outcomes import outcome

__all__ = [
    "allowed",
    "approve",
    "cancel",
    "keep_instant",
    "outcome",
    "pause",
    "plan",
    "preview",
    "resume",
    "revert",
]


def approve(
    change_id: int,
    fingerprint: str,
    author: str,
    when_moved: str | None = None,
    effective_at: Any = None,
    time_zone: Any = None,
) -> PriceChange:
    """Approve a change as its latest preview shows it, by a second person if one is needed.

    Otherwise as `lifecycle.approve`.
    """
    second_person.refuse(change_id, author)
    return lifecycle.approve(change_id, fingerprint, author, when_moved, effective_at, time_zone)
