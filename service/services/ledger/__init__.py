"""Reading the ledger: what was paid at any instant, why, and what has been written since.

Triggers write it (migration `0005_ledger`); nothing here does. Three readers, three orders:

    history, explain   of one subscription, by id: its ids are in the order of its commits
    as_of              of an instant: for each subscription its newest entry, which has the
                       greatest (effective_at, id) of those not after the instant, and who pays by
                       the period that is known now
                       (as_of and explain also by what was known at another instant: `known_at`)
    feed               of all, by (xact, id), and only what no open transaction can precede

docs/decisions/0007-ledger.md has the reasons.
"""

from services.ledger.changes_feed import Feed, PlaceAhead, feed
from services.ledger.entries import Entry, history
from services.ledger.explanation import (
    Explanation,
    Rule,
    describe_change,
    explain,
    explain_each,
    pending_changes,
)
from services.ledger.page import one_as_of, page_as_of
from services.ledger.place import Place
from services.ledger.point_in_time import AS_OF_FILTERS, as_of
from services.ledger.recorded import Incomplete, refuse_incomplete
from services.ledger.total_then import total_as_of

__all__ = [
    "AS_OF_FILTERS",
    "Entry",
    "Explanation",
    "Feed",
    "Incomplete",
    "Place",
    "PlaceAhead",
    "Rule",
    "as_of",
    "describe_change",
    "explain",
    "explain_each",
    "feed",
    "history",
    "one_as_of",
    "page_as_of",
    "pending_changes",
    "refuse_incomplete",
    "total_as_of",
]
