"""The clients who are to be told of a price change, and the facts of who was told when.

    to_tell(change)      the list: each client, what it pays before and after, whether it was told
    tell(change, marks)  record who was told on which day, or was not told after all
    standing(change)     the numbers of those who were told in time, late, or not at all

A change with `notice_days` is held by its notice, unless all were told in time: `planning.noticed`.
"""

from price_changes.notices.lists import (
    ANY,
    EARLY,
    LATE,
    NOT_TOLD,
    TOLD,
    Standing,
    Which,
    has_notices,
    standing,
    standings,
    to_tell,
)
from price_changes.notices.telling import Mark, Outcome, tell

__all__ = [
    "ANY",
    "EARLY",
    "LATE",
    "NOT_TOLD",
    "TOLD",
    "Mark",
    "Outcome",
    "Standing",
    "Which",
    "has_notices",
    "standing",
    "standings",
    "tell",
    "to_tell",
]
