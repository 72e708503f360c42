"""The total that a client has paid, at each instant at which it has changed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from itertools import accumulate
from typing import NamedTuple

from django.db import connection

from services.ledger.paid_since import INSTANTS, PAYS
from services.ledger.point_in_time import OF_CLIENT, at_each

# All subscriptions that the client ever had; one that was another's then paid nothing for it.
WANTED = f"""
SELECT row_number() OVER (), id, %(since)s::timestamptz, %(upto)s::timestamptz
  FROM ({OF_CLIENT.replace("%s", "%(client)s")}) ever
"""  # noqa: S608 - constants
# By how much the total moved, at each instant at which it did.
# OFFSET 0: each one is looked up by its id. The planner expects many instants, and would read all
# subscriptions for a join.
PAID = f"""
SELECT at, sum(differs)
  FROM (SELECT at, paid - lag(paid, 1, 0) OVER (PARTITION BY id ORDER BY at) AS differs
          FROM (
SELECT moment_of.id, moment_of.at,
       CASE WHEN {PAYS} AND told.client_id = %(client)s THEN told.price ELSE 0 END AS paid
  FROM {at_each(f"({INSTANTS.format(wanted=WANTED)}) moment_of")}
 CROSS JOIN LATERAL (
       SELECT started_at, ended_at FROM services_subscription
        WHERE id = moment_of.id OFFSET 0) one) told) step
 GROUP BY at HAVING sum(differs) <> 0 ORDER BY at
"""  # noqa: S608 - constants


class Paid(NamedTuple):
    """The total that a client has paid from an instant on."""

    at: datetime
    amount: Decimal


def paid_by_client(client_id: int, since: datetime, upto: datetime) -> list[Paid]:
    """The total at `since`, and at each instant up to `upto` at which it was another one.

    One query, which reads each of the client's subscriptions at each instant at which its price
    may have changed.
    """
    with connection.cursor() as cursor:
        cursor.execute(PAID, {"client": client_id, "since": since, "upto": upto})
        moves = cursor.fetchall()
    if not moves or moves[0][0] != since:
        moves.insert(0, (since, Decimal(0)))
    totals = accumulate(moved for _, moved in moves)
    return [Paid(at, total) for (at, _), total in zip(moves, totals, strict=True)]
