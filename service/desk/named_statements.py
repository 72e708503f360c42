"""The named statements of the home page, and of the desk's pages of price changes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings

from desk.changes.figures import MOVED_MONEY, PAID_BY_SKIPPED
from desk.home import coming
from desk.then import evidence
from pricebook.kit.named_statements import NamedStatement
from services.audit.book_examples import examples
from services.ledger import course
from services.ledger.total_then import Nearest


def named_statements() -> list[NamedStatement]:
    """All statements of this app (a few queries)."""
    at = examples().middle.started_at
    nearest, of_nearest = course.nearest_of([at])

    def statement(point: Nearest) -> tuple[str, list[Any]]:
        sql, params = course.statement_of([(0, at, point)], "service")
        return sql, list(params)

    ahead = {"now": at, "until": at, "zone": settings.TIME_ZONE, "limit": coming.SHOWN}
    return [
        NamedStatement(
            "home: sums near a month's beginning",
            "the stored sums from which the total of an instant can be computed",
            "/",
            nearest,
            list(of_nearest),
        ),
        *(
            NamedStatement(
                f"home: total by service, from {name}",
                f"what was paid at an instant, computed from {name}",
                "/",
                *statement(point),
            )
            for name, point in (
                ("today's sums", Nearest(None)),
                ("a point of just then", Nearest(at)),
                ("a point before", Nearest(at - timedelta(days=1))),
            )
        ),
        NamedStatement(
            "home: ends of locks", "those to come, by day", "/", coming.ENDS_OF_LOCKS, ahead
        ),
        NamedStatement(
            "home: starts and ends", "those to come, by day", "/", coming.STARTS_AND_ENDS, ahead
        ),
        NamedStatement(
            "money of followers moved",
            "the total before and after of the followers that each change has moved",
            "/desk/changes/, /desk/changes/ID/",
            MOVED_MONEY,
            [[0]],
        ),
        NamedStatement(
            "money of rows skipped",
            "what those pay that a change has skipped by name, by the reason",
            "/desk/changes/ID/",
            PAID_BY_SKIPPED,
            [0],
        ),
        NamedStatement(
            "evidence: decisions",
            "those about one subscription in a month, in the order of recording",
            "/desk/then/evidence/",
            evidence.DECISIONS,
            [0, at, at, 100],
        ),
        NamedStatement(
            "evidence: first entry",
            "the number before which all entries were recorded earlier",
            "/desk/then/evidence/",
            evidence.FIRST_OF_THEN,
            [at],
        ),
        NamedStatement(
            "evidence: place in the feed",
            "the last entry that was recorded before an instant",
            "/desk/then/evidence/",
            evidence.PLACE,
            {"at": at},
        ),
    ]
