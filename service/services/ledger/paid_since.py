"""The prices that subscriptions have paid since an instant, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import connection

from services.ledger.point_in_time import at_each


class Told(NamedTuple):
    """The price that was paid from an instant on, if any was."""

    at: datetime
    pays: bool
    service: int
    plan: int
    price: Decimal
    price_state: str
    locked_until: datetime | None


# Everything that may change what is paid has its instant among these. The period that is known now
# says who pays.
INSTANTS = """
SELECT DISTINCT wanted.number, wanted.id, instant.at
  FROM ({wanted}) wanted (number, id, since, upto)
 CROSS JOIN LATERAL (
       SELECT wanted.since AS at UNION ALL SELECT wanted.upto
        UNION ALL
       SELECT unnest(ARRAY[effective_at, locked_until, unpaid_since])
         FROM services_ledgerentry WHERE subscription_id = wanted.id
        UNION ALL
       SELECT unnest(ARRAY[started_at, ended_at])
         FROM services_subscription WHERE id = wanted.id
        UNION ALL
       SELECT unnest(ARRAY[started_at, ended_at])  -- of one that was deleted
         FROM services_ledgerentry WHERE subscription_id = wanted.id AND price IS NULL
        UNION ALL
       SELECT unnest(ARRAY[correction.since, correction.until])
         FROM services_correction correction WHERE subscription_id = wanted.id
        UNION ALL
       SELECT unnest(ARRAY[value.effective_at, value.locked_until])
         FROM services_cataloguevalue value
        WHERE service_id IN (SELECT service_id FROM services_ledgerentry
                              WHERE subscription_id = wanted.id)
           OR plan_id IN (SELECT plan_id FROM services_ledgerentry
                           WHERE subscription_id = wanted.id)) instant
 WHERE instant.at >= wanted.since AND instant.at <= wanted.upto
"""
PAYS = """one.started_at <= moment_of.at AND (one.ended_at IS NULL OR one.ended_at > moment_of.at)
       AND NOT EXISTS (
           SELECT FROM services_ledgerentry gap
            WHERE gap.subscription_id = moment_of.id AND unpaid_since <= moment_of.at
              AND effective_at > moment_of.at)"""


def told_by(wanted: str) -> str:
    """A statement of what subscriptions have paid: (number, instant, pays, service, plan, price,
    price state, lock's end), in the order of numbers and instants.

    `wanted` is one of (number, id, since, upto). The instants are those from `since` up to `upto`
    at which there may be another price than before.
    """
    return f"""
SELECT moment_of.number, moment_of.at, {PAYS}, told.service_id, told.plan_id, told.price,
       told.price_state, told.locked_until
  FROM {at_each(f"({INSTANTS.format(wanted=wanted)}) moment_of")}
  JOIN services_subscription one ON one.id = moment_of.id
 ORDER BY moment_of.number, moment_of.at
"""  # noqa: S608 - constants


TOLD = told_by(
    "SELECT * FROM unnest(%(numbers)s::int[], %(ids)s::bigint[], %(since)s::timestamptz[],"
    " %(upto)s::timestamptz[])"
)


def paid_since(asked: Sequence[tuple[int, datetime]], now: datetime) -> list[list[Told]]:
    """For each subscription and instant what it has paid from then up to `now`, in order.

    There is one at each instant at which there may be another price; before a subscription came
    there is none. One query.
    """
    told: list[list[Told]] = [[] for _ in asked]
    with connection.cursor() as cursor:
        cursor.execute(
            TOLD,
            {
                "numbers": list(range(len(asked))),
                "ids": [id for id, _ in asked],
                "since": [since for _, since in asked],
                "upto": [now] * len(asked),
            },
        )
        for number, *row in cursor.fetchall():
            told[number].append(Told(*row))
    return told
