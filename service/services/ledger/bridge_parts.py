"""The parts of the statements of a bridge, in the order in which each reads those before it.

`touched` by a fact; `told`, what each of these paid at each of its instants; `untouched`, the
followers whom no fact touched; `move`, of the catalogue; `walk`, from instant to instant; `event`,
a difference and its cause; `part`, the amount that it adds to whom.
"""

from __future__ import annotations

from datetime import datetime

from services.ledger.point_in_time import as_of
from services.sql import SQL

# Subscriptions that a change for new subscriptions only may keep or let go in between have no fact
# of that before a worker comes: all of its service or plan are walked, at each of its instants.
TOUCHED = """
kept AS MATERIALIZED (
    SELECT DISTINCT service_id, plan_id, at
      FROM services_cataloguevalue
     CROSS JOIN LATERAL (
           SELECT effective_at UNION ALL SELECT locked_until
            UNION ALL SELECT lower(span) FROM unnest(undone) span
            UNION ALL SELECT upper(span) FROM unnest(undone) span) instant (at)
     WHERE for_new_only AND effective_at <= {until} AND at > {since} AND at <= {until}
), fact AS MATERIALIZED (
    SELECT subscription_id AS id, at FROM facts_between({since}, {until}) {of_client}
), touched AS MATERIALIZED (
    SELECT id FROM fact
     UNION
    SELECT subscription_id FROM (
           SELECT id FROM services_subscription WHERE service_id IN (SELECT service_id FROM kept)
            UNION ALL
           SELECT id FROM services_subscription WHERE plan_id IN (SELECT plan_id FROM kept)
            UNION ALL
           SELECT subscription_id FROM services_ledgerentry
            WHERE EXISTS (SELECT FROM kept) AND effective_at > {until} AND {moved_or_gone}
           ) may_be_kept (subscription_id) {of_client}
)"""
# A subscription whose client, service or plan was deleted since is in no total of the past.
TOLD = """
moment AS MATERIALIZED (
    SELECT id, {since} AS at FROM touched
     UNION
    SELECT id, at FROM fact
     UNION
    SELECT id, at
      FROM kept JOIN touched ON EXISTS (
           SELECT FROM services_ledgerentry entry
            WHERE entry.subscription_id = touched.id
              AND (entry.service_id = kept.service_id OR entry.plan_id = kept.plan_id))
), told AS MATERIALIZED (
    SELECT moment_of.id, moment_of.at, told.client_id, told.service_id, told.plan_id, told.price,
           price_state, locked_until, by_rule, correction_id, told.started_at, told.pays
      FROM {told}
      JOIN clients_client client ON client.id = told.client_id
      JOIN services_service service ON service.id = told.service_id
      JOIN services_plan plan ON plan.id = told.plan_id
)"""
# The followers whom no fact touched, counted; from sums, or from the rows.
COUNTED_PAIRS = """
start_pair AS MATERIALIZED ({pairs}),
untouched AS MATERIALIZED (
    SELECT NULL::bigint AS client_id, service_id, plan_id, sum(followers)::bigint AS followers
      FROM (SELECT service_id, plan_id, followers FROM start_pair
             UNION ALL
            SELECT service_id, plan_id, -1 FROM told
             WHERE at = {since} AND pays AND by_rule) part
     GROUP BY service_id, plan_id
)"""
COUNTED_ROWS = """
start_row AS MATERIALIZED ({rows}),
untouched AS MATERIALIZED (
    SELECT client_id, service_id, plan_id, count(*) AS followers
      FROM start_row
     WHERE by_rule AND NOT EXISTS (SELECT FROM touched WHERE id = subscription_id)
     GROUP BY client_id, service_id, plan_id
)"""
# For the rows behind a step: each (service, plan) that a change may have moved.
MAY_HAVE_MOVED = """
untouched AS MATERIALIZED (
    SELECT NULL::bigint AS client_id, service.id AS service_id, plan.id AS plan_id, 1 AS followers
      FROM services_service service CROSS JOIN services_plan plan
     WHERE {of_moves} AND (
           service.id IN (SELECT service_id FROM services_cataloguevalue WHERE {of_change})
           OR plan.id IN (SELECT plan_id FROM services_cataloguevalue WHERE {of_change}))
)"""
# Not as joins: no estimate of the rows is near enough for a good plan of them.
ROWS = """
SELECT subscription_id, client_id, service_id, plan_id, price, by_rule
  FROM ({rows}) entry
 WHERE EXISTS (SELECT FROM clients_client WHERE id = client_id) IS TRUE
   AND EXISTS (SELECT FROM services_service WHERE id = service_id) IS TRUE
   AND EXISTS (SELECT FROM services_plan WHERE id = plan_id) IS TRUE
"""
# The price of the rule from each instant on at which a value comes or is undone, evaluated once for
# a pair; between two of them it stands. `rule` has the same as arrays, to be found by bisection.
# The moves of the followers' price are due to the change whose doing each was.
MOVED = """
pair AS MATERIALIZED (
    SELECT service_id, plan_id FROM untouched WHERE followers <> 0
     UNION
    SELECT service_id, plan_id FROM told WHERE pays AND by_rule
), boundary AS MATERIALIZED (
    SELECT service_id, plan_id, at, price_rule_at(service_id, plan_id, at) AS price
      FROM (SELECT service_id, plan_id, {since} AS at FROM pair
             UNION
            SELECT pair.service_id, pair.plan_id, effective_at
              FROM pair JOIN services_cataloguevalue value USING (service_id)
             WHERE effective_at > {since} AND effective_at <= {until}
             UNION
            SELECT pair.service_id, pair.plan_id, effective_at
              FROM pair JOIN services_cataloguevalue value USING (plan_id)
             WHERE effective_at > {since} AND effective_at <= {until}) instant
), rule AS MATERIALIZED (
    SELECT service_id, plan_id, array_agg(at ORDER BY at) AS instants,
           array_agg(price ORDER BY at) AS prices
      FROM boundary GROUP BY service_id, plan_id
), move AS MATERIALIZED (
    SELECT moved.*, cause.change_id
      FROM (SELECT service_id, plan_id, at,
                   price - lag(price) OVER (PARTITION BY service_id, plan_id ORDER BY at) AS amount
              FROM boundary OFFSET 0) moved
      LEFT JOIN LATERAL ({cause}) cause ON true
     WHERE amount <> 0
)"""
WALK = """
walk AS MATERIALIZED (
    SELECT id, at, pays, client_id, walked.service_id, walked.plan_id, price_state, locked_until,
           by_rule, correction_id, started_at, before_at, next_at, paid, before_client,
           before_service, before_plan, before_state, before_until, before_by_rule,
           before_correction,
           CASE WHEN by_rule THEN now.prices[width_bucket(at, now.instants)]
                ELSE price END AS price,
           CASE WHEN before_by_rule
                THEN before.prices[width_bucket(at - interval '1 microsecond', before.instants)]
                ELSE before_price END AS before_price
      FROM (SELECT id, at, coalesce(pays, false) AS pays, client_id, service_id, plan_id, price,
                   price_state, locked_until, by_rule, correction_id, started_at,
                   lag(at) OVER w AS before_at, lead(at) OVER w AS next_at,
                   coalesce(lag(pays) OVER w, false) AS paid,
                   lag(client_id) OVER w AS before_client,
                   lag(service_id) OVER w AS before_service, lag(plan_id) OVER w AS before_plan,
                   lag(price) OVER w AS before_price, lag(price_state) OVER w AS before_state,
                   lag(locked_until) OVER w AS before_until, lag(by_rule) OVER w AS before_by_rule,
                   lag(correction_id) OVER w AS before_correction
              FROM moment LEFT JOIN told USING (id, at)
            WINDOW w AS (PARTITION BY id ORDER BY at)) walked
      LEFT JOIN rule now
        ON (now.service_id, now.plan_id) = (walked.service_id, walked.plan_id)
      LEFT JOIN rule before
        ON (before.service_id, before.plan_id) = (before_service, before_plan)
)"""
# At one instant the whole difference of a subscription has one cause: the last word that is said
# then. An entry that a worker has written for a value of the catalogue is none (see EXPLAIN).
EVENTS = """
caused AS MATERIALIZED (
    SELECT walk.*, CASE WHEN paid THEN before_price ELSE 0 END AS amount_before,
           CASE WHEN pays THEN price ELSE 0 END AS amount,
           CASE WHEN NOT paid AND started_at < at THEN 'restarted'
                WHEN NOT paid THEN 'started'
                WHEN NOT pays THEN 'ended'
                WHEN (client_id, service_id, plan_id) IS DISTINCT FROM
                     (before_client, before_service, before_plan) THEN 'moved'
                WHEN correction_id IS DISTINCT FROM before_correction THEN 'corrected'
                WHEN by_rule AND before_by_rule THEN 'catalogue'
                WHEN by_rule AND before_state = 'locked' AND before_until = at THEN 'lock_ended'
                ELSE 'said' END AS cause
      FROM walk
     WHERE before_at IS NOT NULL AND (paid OR pays)
), event AS MATERIALIZED (
    SELECT caused.id, caused.at, before_client, before_service, before_plan, amount_before,
           caused.client_id, caused.service_id, caused.plan_id, caused.amount,
           CASE WHEN cause = 'catalogue' OR cause = 'said' AND coalesce(said.change_id, kept.id)
                     IS NOT NULL THEN 'change'
                WHEN cause <> 'said' THEN cause
                WHEN 'negotiated' IN (caused.price_state, before_state) THEN 'negotiated'
                ELSE 'locked' END AS kind,
           CASE WHEN cause = 'catalogue' THEN move.change_id
                WHEN cause = 'said' THEN coalesce(said.change_id, kept.id) END AS change_id
      FROM caused
      LEFT JOIN move ON cause = 'catalogue' AND move.at = caused.at
       AND (move.service_id, move.plan_id) = (caused.service_id, caused.plan_id)
      LEFT JOIN LATERAL (
           SELECT change_id, true AS found FROM services_ledgerentry entry
            WHERE cause = 'said' AND subscription_id = caused.id AND effective_at = caused.at
              AND entry.price IS NOT NULL AND NOT period_only
              AND EXISTS (SELECT FROM services_cataloguevalue value
                           WHERE value.change_id = entry.change_id) IS FALSE
            ORDER BY id DESC LIMIT 1) said ON true
      LEFT JOIN LATERAL (
           SELECT value.change_id AS id FROM services_cataloguevalue value
            WHERE cause = 'said' AND found IS NULL AND effective_at = caused.at
              AND change_id IS NOT NULL
              AND (service_id = caused.service_id OR plan_id = caused.plan_id)
              AND (for_new_only OR undoes_id IN (
                   SELECT id FROM services_cataloguevalue WHERE for_new_only))
            ORDER BY value.id DESC LIMIT 1) kept ON true
)"""
# The amounts that each event, and each move of the catalogue for a follower, adds to whom. An
# event that takes a subscription elsewhere adds to two.
PARTS = """
part AS MATERIALIZED (
    SELECT id, at, before_client AS client_id, before_service AS service_id,
           before_plan AS plan_id, kind, change_id, -amount_before AS amount
      FROM event WHERE amount_before <> 0
     UNION ALL
    SELECT id, at, client_id, service_id, plan_id, kind, change_id, amount
      FROM event WHERE amount <> 0
     UNION ALL
    SELECT walk.id, move.at, client_id, walk.service_id, walk.plan_id, 'change', move.change_id,
           amount
      FROM walk JOIN move USING (service_id, plan_id)
     WHERE pays AND by_rule AND move.at > walk.at AND (next_at IS NULL OR move.at < next_at)
)"""


def literal(value: datetime | int | None) -> str:
    """A value as SQL: statements of statements would need the same parameter many times."""
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'::timestamptz"
    return "NULL" if value is None else str(int(value))


def text_of(statement: SQL) -> str:
    sql, params = statement
    return sql % tuple(map(literal, params))


def rows_of(statement: SQL) -> str:
    """A statement of the rows of `as_of` whose client, service and plan still exist."""
    return ROWS.format(rows=text_of(statement))


def rows_among(candidates: str, instant: datetime) -> str:
    """`rows_of` those whose ids the statement `candidates` finds, looked up one by one."""
    return rows_of(as_of(instant, candidates=(candidates.replace("%", "%%"), ())))
