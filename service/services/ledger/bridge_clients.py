"""The parts of a bridge by client where sums are at hand: few clients are read, all are ranked.

    part, move ──▶ moved_client: by how much each client's total moved ──▶ ranked: those shown
                                                                            │
    their rows of both instants ──▶ their totals, and their followers ◀─────┘
    the sums of the whole book − theirs ──▶ all others

No subscription of the others is looked at by itself. By how much they moved is told by the rows of
today: a subscription that no fact concerns after `since` follows now if it followed then. That
decides who is shown; every amount comes from the ledger and the sums.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from services.ledger import points
from services.ledger.bridge_parts import literal, rows_among

# `stirred`: a row of today may not say what these were at `since`. Facts to come, from now on, are
# among them: whoever starts or ends after `since`, too.
# OFFSET 0: each pair by its index. The planner expects all pairs, and would sort the whole book.
RANKED = """
pair_moved AS MATERIALIZED (
    SELECT service_id, plan_id, sum(amount) AS amount FROM move
     WHERE {filtered} GROUP BY service_id, plan_id HAVING sum(amount) <> 0
), stirred AS MATERIALIZED (
    SELECT DISTINCT subscription_id AS id
      FROM facts_between(least({since}, (SELECT book_now())), 'infinity')
), moved_client AS (
    SELECT client_id, sum(amount) AS amount
      FROM (SELECT client_id, amount FROM part WHERE {filtered}
             UNION ALL
            SELECT client_id, amount
              FROM pair_moved
             CROSS JOIN LATERAL (
                   SELECT id, client_id FROM services_subscription
                    WHERE service_id = pair_moved.service_id AND plan_id = pair_moved.plan_id
                      AND price_state = 'follows' AND ended_at IS NULL
                   OFFSET 0) one
             WHERE NOT EXISTS (SELECT FROM stirred WHERE stirred.id = one.id)
               AND NOT EXISTS (SELECT FROM touched WHERE touched.id = one.id)
             UNION ALL
            SELECT client_id, amount
              FROM ({stirred_rows}) one JOIN pair_moved USING (service_id, plan_id)
             WHERE by_rule) each
     GROUP BY client_id
), ranked AS MATERIALIZED (
    SELECT client_id AS shown FROM moved_client WHERE amount <> 0
     ORDER BY abs(amount) DESC, client_id LIMIT {most}
), row_since AS MATERIALIZED (
    SELECT * FROM ({rows_since}) one WHERE client_id IN (SELECT shown FROM ranked)
), row_until AS MATERIALIZED (
    SELECT * FROM ({rows_until}) one WHERE client_id IN (SELECT shown FROM ranked)
),"""
STIRRED = """
SELECT id FROM (SELECT id FROM stirred EXCEPT SELECT id FROM touched) each
 WHERE EXISTS (SELECT FROM pair_moved)
"""
# See OF_CLIENT.
OF_RANKED = """
SELECT DISTINCT subscription_id AS id FROM ranked
 CROSS JOIN LATERAL (SELECT subscription_id FROM services_ledgerentry
                      WHERE client_id = shown AND change_id IS NULL OFFSET 0) ever
"""
# The totals of those who are shown, and of all others together.
TOTAL = """
SELECT client_id, service_id, plan_id, amount, subscriptions FROM ({of_pairs}) pair
 UNION ALL
SELECT shown.*
  FROM {rows} one
 CROSS JOIN LATERAL (VALUES (client_id, service_id, plan_id, price, 1),
                            (NULL, service_id, plan_id, -price, -1)) shown
"""
FOLLOWERS = """
(SELECT client_id, service_id, plan_id, followers FROM untouched
  UNION ALL
 SELECT shown.*
   FROM row_since one
  CROSS JOIN LATERAL (VALUES (client_id, service_id, plan_id, 1),
                             (NULL, service_id, plan_id, -1)) shown
  WHERE by_rule AND NOT EXISTS (SELECT FROM touched WHERE id = subscription_id)) follower
"""
# A worker that is late for an instant up to `since` has not written today's rows.
ROWS_HOLD = "coalesce(copies_late_since((SELECT book_now())) > {since}, true)"
# Each that a fact after `until` concerns is looked up by itself.
LATER = """
SELECT {rows_hold}, (SELECT sum(paid_subscriptions) FROM services_subtotal)::bigint, count(*)
  FROM (SELECT FROM facts_between({until}, 'infinity') LIMIT {most} + 1) fact
"""


def can_rank(since: datetime, until: datetime) -> bool:
    """Whether today's rows tell by how much clients moved, so that few are read. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            LATER.format(
                rows_hold=ROWS_HOLD.format(since=literal(since)),
                until=literal(until),
                most=points.MOST,
            )
        )
        hold, subscriptions, later = cursor.fetchone()
    return bool(hold) and later <= points.at_most(subscriptions or 0)


def ranked(since: datetime, until: datetime, filtered: str, most: int) -> str:
    """The parts: the `most` clients that moved most, and their rows of both instants."""
    return RANKED.format(
        since=literal(since),
        filtered=filtered,
        most=most,
        stirred_rows=rows_among(STIRRED, since),
        rows_since=rows_among(OF_RANKED, since),
        rows_until=rows_among(OF_RANKED, until),
    )
