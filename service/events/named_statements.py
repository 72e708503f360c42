"""The statements of events: what makes them, and what finds and moves the cursor of an endpoint."""

from __future__ import annotations

from django.db import connection

from events import delivering, deriving, lines
from pricebook.kit.named_statements import NamedStatement

DERIVER = "worker of events: tell_events"
DELIVERY = "worker of events: deliver_events"
# The newest lines of each kind, as examples.
NEWEST = """
SELECT ARRAY(SELECT id FROM services_ledgerentry ORDER BY id DESC LIMIT 3),
       ARRAY(SELECT id FROM services_movedfollowers ORDER BY id DESC LIMIT 3),
       ARRAY(SELECT id FROM services_correctedentry ORDER BY id DESC LIMIT 3)
"""


def named_statements() -> list[NamedStatement]:
    """All named statements of events (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(NEWEST)
        entries, followers, corrections = cursor.fetchone()
    end = {"xact": 2**62, "id": 0, "loaded": 0, "limit": deriving.LINES}
    attempt = {
        "endpoint": 0,
        "claim": "2027-01-01T00:00:00Z",
        "lease": str(delivering.LEASE),
        "number": 1,
        "webhook_id": "evt_example",
        "type": "prices.moved",
        "status": 200,
        "duration": 20,
        "answer": "",
    }
    return [
        NamedStatement(
            "place of the deriver",
            "reads the one row that says how far it is",
            DERIVER,
            deriving.PLACE,
        ),
        NamedStatement(
            "lines behind a place",
            "finds what is told and is no event yet: a look at the end of each index",
            DERIVER,
            lines.PLACES,
            end,
            why="by the indexes happening_feed, ledger_feed, moved_feed and corrected_feed",
        ),
        NamedStatement(
            "entries and how it stood before",
            "compares entries with those before them, by their ids",
            DERIVER,
            lines.ENTRIES,
            [entries],
        ),
        NamedStatement(
            "followers that were moved",
            "reads chunks by their ids",
            DERIVER,
            lines.FOLLOWERS,
            [lines.LISTED, followers],
        ),
        NamedStatement(
            "corrections that are told first",
            "reads corrections by the ids of their entries",
            DERIVER,
            lines.CORRECTIONS,
            [corrections],
        ),
        NamedStatement(
            "endpoints that wait",
            "counts those that are due; there are few",
            DERIVER,
            delivering.DUE,
        ),
        NamedStatement(
            "claim of an endpoint",
            "takes the one that has waited longest, and none that another worker has",
            DELIVERY,
            delivering.CLAIM,
            {"lease": str(delivering.LEASE), "failing": True},
            writes=True,
        ),
        NamedStatement(
            "event delivered",
            "moves the cursor of an endpoint, and logs the attempt",
            DELIVERY,
            delivering.DELIVERED,
            attempt,
            writes=True,
        ),
    ]
