"""What was paid at an instant: of each subscription the last recorded word on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection

from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING, Total
from services.sql import SQL

AS_OF_FILTERS = ("service", "plan", "client")
# The last word counts: a worker that came late, or a revert, says of an instant in the past what
# was to be paid then, and says it later than the entry that it corrects. So first the newest entry
# of each, whatever it says, and only then the conditions: who has moved to another service since
# is not found among those of this one, and who was deleted is not there.
AS_OF = """
SELECT subscription_id, client_id, service_id, plan_id, price, price_state, locked_until, entry_id
  FROM (SELECT DISTINCT ON (subscription_id)
               subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
               id AS entry_id
          FROM services_ledgerentry
         WHERE effective_at <= %s {candidates}
         ORDER BY subscription_id, id DESC) newest
 WHERE price IS NOT NULL {conditions}
"""
# Who was ever this client's. A subscription comes to a client by somebody's own write and never by
# a price change, so the partial index `ledger_client` knows all, and no repricing has to feed it.
OF_CLIENT = """
           AND subscription_id IN (SELECT subscription_id FROM services_ledgerentry
                                    WHERE client_id = %s AND change_id IS NULL)
"""


def as_of(
    instant: datetime, book_filter: BookFilter = EVERYTHING, subscription_id: int | None = None
) -> SQL:
    """A statement for what was paid at `instant`: a row a subscription that was there then.

    Its columns: subscription_id, client_id, service_id, plan_id, price, price_state,
    locked_until, entry_id. Of one subscription, one client, or the whole book; filters for
    anything but service, plan and client, which the ledger doesn't know, are a ValueError.
    Reads the entries of all subscriptions unless there is one or a client. No query.
    """
    given = book_filter.given
    if unknown := given.keys() - set(AS_OF_FILTERS):
        raise ValueError(f"The ledger can't tell by {', '.join(sorted(unknown))}.")
    candidates = ""
    params: list[Any] = [instant]
    if subscription_id is not None:
        candidates += "AND subscription_id = %s"
        params.append(subscription_id)
    if "client" in given:
        candidates += OF_CLIENT
        params.append(given["client"])
    conditions = "".join(f" AND {name}_id = %s" for name in given)
    sql = AS_OF.format(candidates=candidates, conditions=conditions)
    return sql, (*params, *given.values())


def total_as_of(instant: datetime, book_filter: BookFilter = EVERYTHING) -> Total:
    """What all that match paid together at `instant`, and how many they were. One query."""
    sql, params = as_of(instant, book_filter)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT coalesce(sum(price), 0), count(*) FROM ({sql}) entry",  # noqa: S608 - ours
            params,
        )
        return Total(*cursor.fetchone())
