"""The total paid at an instant, for each service and plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from pricebook.kit.read_timeout import long_read
from services.ledger.bridge_sql import totals_sql
from services.ledger.total_then import nearest
from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING


@dataclass(frozen=True)
class PairTotal:
    """The total paid for a service and a plan; `followers`: those that follow."""

    service_id: int
    plan_id: int
    amount: Decimal
    subscriptions: int
    followers: int


def totals_then(instant: datetime, book_filter: BookFilter = EVERYTHING) -> list[PairTotal]:
    """The totals that `total_as_of` has at an instant, by service and plan, in their order.

    Two queries; more only where the sums of another instant cease to hold meanwhile.
    """
    with long_read():
        for of_sums in (True, False):
            point = nearest(instant, book_filter) if of_sums else None
            with connection.cursor() as cursor:
                cursor.execute(totals_sql(instant, book_filter, point))
                rows = cursor.fetchall()
            if all(row[-1] for row in rows):
                break
    return [PairTotal(*row[:-1]) for row in rows]
