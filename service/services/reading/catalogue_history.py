"""The course of a list price or a discount, and what the subscriptions of a service or a plan pay.

From the values of the catalogue and the subtotals, of which there are few. Only `by_state` reads
subscriptions, all of this service or plan, along an index.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import connection

from services.catalogue_subject import CatalogueSubject
from services.models import Plan, Subscription
from services.reading.total import PAYS, Total

State = Subscription.PriceState


class Step(NamedTuple):
    """A value in force from an instant on, and the fact that has brought it: a value, or the
    undoing of one."""

    at: datetime
    value: Decimal
    change_id: int | None
    author: str
    recorded_at: datetime


# The last fact of an instant that counts has its way.
COURSE = """
SELECT moment.at, {value_at}(%(id)s, moment.at) AS value, fact.change_id, fact.author,
       fact.recorded_at
  FROM (SELECT DISTINCT effective_at AS at FROM services_cataloguevalue WHERE {column} = %(id)s
         ORDER BY at DESC LIMIT %(most)s) moment
 CROSS JOIN LATERAL (
       SELECT change_id, author, recorded_at FROM services_cataloguevalue
        WHERE {column} = %(id)s AND effective_at = moment.at
        ORDER BY value IS NOT NULL AND undone @> effective_at, id DESC LIMIT 1) fact
 ORDER BY moment.at
"""


def course_of(subject: CatalogueSubject) -> str:
    return COURSE.format(value_at=subject.value_at, column=subject.column)


def course(subject: CatalogueSubject, most: int) -> list[Step]:
    """The last values of a list price or a discount, past and to come, oldest first.

    Up to `most` instants; one that has left the value as it was is left out. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(course_of(subject), {"id": subject.id, "most": most})
        steps = [Step(at, Decimal(value), *fact) for at, value, *fact in cursor.fetchall()]
    return [
        step
        for number, step in enumerate(steps)
        if number == 0 or steps[number - 1].value != step.value
    ]


@dataclass(frozen=True)
class Pair:
    """The subscriptions of a service and a plan: those that follow, at one price, and others.

    `of_rule` are those that pay the rule's price because they follow; `others` are locked or
    negotiated. `idle`: the number of those that have ended or not begun.
    """

    service_id: int
    service: str
    plan_id: int
    plan: str
    rule_price: Decimal
    of_rule: Total
    others: Total
    idle: int


# Followers are counted as rows are stored. While a worker is on the way to them, the subtotals'
# amount in force has what they pay already, so the others' part is the rest.
PAIRS = """
SELECT pair.service_id, service.name, pair.plan_id, plan.plan_type, plan.discount_percent::smallint,
       price_rule(service.full_price, plan.discount_percent::integer),
       paid_followers, paid_subscriptions, paid_amount, subscriptions
  FROM (SELECT service_id, plan_id, sum(paid_subscriptions)::bigint AS paid_subscriptions,
               sum(paid_amount) AS paid_amount, sum(subscriptions)::bigint AS subscriptions
          FROM subtotal_in_force WHERE {column} = %(id)s GROUP BY service_id, plan_id) pair
  JOIN (SELECT service_id, plan_id, sum(paid_followers)::bigint AS paid_followers
          FROM (SELECT service_id, plan_id, paid_followers FROM services_subtotal
                 WHERE {column} = %(id)s
                 UNION ALL
                SELECT service_id, plan_id, followers FROM services_paidboundary
                 WHERE {column} = %(id)s AND at <= (SELECT book_clock())) part
         GROUP BY service_id, plan_id) stored USING (service_id, plan_id)
  JOIN service_in_force service ON service.id = pair.service_id
  JOIN plan_in_force plan ON plan.id = pair.plan_id
 WHERE subscriptions <> 0
 ORDER BY service.name, plan.plan_type, plan.discount_percent
"""


def pairs(subject: CatalogueSubject) -> list[Pair]:
    """The prices of a service by plan, or of a plan by service. One query, of the subtotals."""
    with connection.cursor() as cursor:
        cursor.execute(PAIRS.format(column=subject.column), {"id": subject.id})
        rows = cursor.fetchall()
    found = []
    for service_id, service, plan_id, type, percent, rule, followers, paid, amount, all in rows:
        of_rule = Total(amount if followers == paid else followers * rule, followers)
        others = Total(amount - of_rule.amount, paid - followers)
        plan = str(Plan(plan_type=type, discount_percent=percent))
        found.append(Pair(service_id, service, plan_id, plan, rule, of_rule, others, all - paid))
    return found


@dataclass(frozen=True)
class ByState:
    """The subscriptions of a service or a plan, counted one by one.

    `paid`: those that pay, by price state; `upcoming` and `ended` pay nothing now. `negotiated`:
    numbers of the negotiated prices that are paid, by ranges (from, up to, number).
    """

    paid: dict[str, Total]
    upcoming: Total
    ended: Total
    negotiated: list[tuple[Decimal, Decimal, int]]


BY_STATE = f"""
SELECT CASE WHEN {PAYS.format(at="moment.at")} THEN price_state
            WHEN started_at > moment.at THEN 'upcoming' ELSE 'ended' END AS state,
       CASE WHEN price_state = 'negotiated' AND {PAYS.format(at="moment.at")}
            THEN price END AS own_price,
       sum(price), count(*)
  FROM subscription_in_force CROSS JOIN (SELECT book_clock() AS at) moment
 WHERE {{column}} = %(id)s
 GROUP BY state, own_price
"""  # noqa: S608 - constants
RANGES = 12


def by_state(subject: CatalogueSubject) -> ByState:
    """The subscriptions of one, by state. One query, which reads all of them."""
    sums: dict[str, Total] = {}
    prices: list[tuple[Decimal, int]] = []
    with connection.cursor() as cursor:
        cursor.execute(BY_STATE.format(column=subject.column), {"id": subject.id})
        for state, own_price, amount, number in cursor.fetchall():
            sums[state] = Total(
                amount + (sums[state].amount if state in sums else 0),
                number + (sums[state].subscriptions if state in sums else 0),
            )
            if own_price is not None:
                prices.append((own_price, number))
    nothing = Total(Decimal(0), 0)
    return ByState(
        {state: sums.get(state, nothing) for state in State.values},
        sums.get("upcoming", nothing),
        sums.get("ended", nothing),
        _ranges(prices),
    )


def _ranges(prices: list[tuple[Decimal, int]]) -> list[tuple[Decimal, Decimal, int]]:
    """The numbers of these prices in up to RANGES ranges of one width; the last has its end too."""
    if not prices:
        return []
    lowest, highest = min(prices)[0], max(prices)[0]
    if lowest == highest:
        return [(lowest, highest, sum(number for _, number in prices))]
    width = ((highest - lowest) / RANGES).quantize(Decimal("0.01")) + Decimal("0.01")
    numbers = [0] * RANGES
    for price, number in prices:
        numbers[int((price - lowest) // width)] += number
    return [
        (lowest + width * place, lowest + width * (place + 1), number)
        for place, number in enumerate(numbers)
    ]
