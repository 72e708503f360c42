"""The total that a client has paid, at each instant at which it has changed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from itertools import accumulate
from typing import NamedTuple

from django.db import connection

from services.ledger.paid_since import INSTANTS
from services.ledger.point_in_time import OF_CLIENT, OF_THE_WALK, at_each

# All subscriptions that the client ever had; one that was another's then paid nothing for it.
WANTED = f"""
SELECT row_number() OVER (), id, %(since)s::timestamptz, %(upto)s::timestamptz
  FROM ({OF_CLIENT.replace("%s", "%(client)s")}) ever
"""  # noqa: S608 - constants
# By how much the total moved, at each instant at which it did. A subscription has no price once it
# is deleted; and one whose service or plan was deleted too is in no total of the past.
PAID = f"""
WITH moment AS MATERIALIZED ({INSTANTS.format(wanted=WANTED)}), told AS MATERIALIZED (
    SELECT moment_of.id, moment_of.at, told.price
      FROM {at_each("moment moment_of", more=OF_THE_WALK)}
     WHERE told.pays AND told.client_id = %(client)s
       AND EXISTS (SELECT FROM services_service WHERE id = told.service_id)
       AND EXISTS (SELECT FROM services_plan WHERE id = told.plan_id)
)
SELECT at, sum(differs)
  FROM (SELECT at, paid - lag(paid, 1, 0) OVER (PARTITION BY id ORDER BY at) AS differs
          FROM (SELECT id, at, coalesce(price, 0) AS paid
                  FROM moment LEFT JOIN told USING (id, at)) each) step
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
