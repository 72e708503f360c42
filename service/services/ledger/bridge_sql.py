"""The statements of a bridge between two instants: what each subscription's price did, and why.

                        ┌─▶ touched by a fact ──▶ walked, from fact to fact ──▶ events ─┐
    the book at `since` ┤                             └─▶ stretches as a follower ──┐    ├─▶ steps
                        └─▶ not touched: followers by (service, plan), counted ─────┴─▶ ─┘
                                                     × the moves of the catalogue

Those whom no fact has touched pay what they paid, or follow: they need no look, however many they
are. Those whom a fact touched are looked at before and at each of their facts (`at_each`, which is
the rule of `as_of`), and in between they are followers like the others, or their price stands.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.ledger.last_move import cause_at
from services.ledger.page import CANDIDATES, MOVED_OR_GONE
from services.ledger.point_in_time import OF_CLIENT, OF_THE_WALK, as_of, at_each
from services.ledger.total_then import Nearest, pairs_from
from services.reading.filters import BookFilter
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
WALKED = """
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
), walk AS MATERIALIZED (
    SELECT id, at, coalesce(pays, false) AS pays, client_id, service_id, plan_id, price,
           price_state, locked_until, by_rule, correction_id, started_at,
           lag(at) OVER w AS before_at, lead(at) OVER w AS next_at,
           coalesce(lag(pays) OVER w, false) AS paid, lag(client_id) OVER w AS before_client,
           lag(service_id) OVER w AS before_service, lag(plan_id) OVER w AS before_plan,
           CASE WHEN lag(by_rule) OVER w THEN price_rule_at(
                     lag(service_id) OVER w, lag(plan_id) OVER w, at - interval '1 microsecond')
                ELSE lag(price) OVER w END AS before_price,
           lag(price_state) OVER w AS before_state, lag(locked_until) OVER w AS before_until,
           lag(by_rule) OVER w AS before_by_rule, lag(correction_id) OVER w AS before_correction
      FROM moment LEFT JOIN told USING (id, at)
    WINDOW w AS (PARTITION BY id ORDER BY at)
)"""
# The followers whom no fact touched, counted; from sums, or from the rows.
COUNTED_PAIRS = """
start_pair AS MATERIALIZED ({pairs}),
untouched AS MATERIALIZED (
    SELECT NULL::bigint AS client_id, service_id, plan_id, sum(followers)::bigint AS followers
      FROM (SELECT service_id, plan_id, followers FROM start_pair
             UNION ALL
            SELECT service_id, plan_id, -1 FROM walk
             WHERE before_at IS NULL AND pays AND by_rule) part
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
ROWS = """
SELECT entry.subscription_id, client_id, service_id, plan_id, price, by_rule
  FROM ({rows}) entry
  JOIN clients_client client ON client.id = client_id
  JOIN services_service service ON service.id = service_id
  JOIN services_plan plan ON plan.id = plan_id
"""
# The moves of the followers' price, each by the change whose doing it was.
MOVED = """
pair AS MATERIALIZED (
    SELECT service_id, plan_id FROM untouched WHERE followers <> 0
     UNION
    SELECT service_id, plan_id FROM walk WHERE pays AND by_rule
), move AS MATERIALIZED (
    SELECT moved.*, cause.change_id
      FROM (SELECT boundary.*,
                   price_rule_at(service_id, plan_id, at)
                   - price_rule_at(service_id, plan_id, at - interval '1 microsecond') AS amount
              FROM (SELECT pair.service_id, pair.plan_id, effective_at AS at
                      FROM pair JOIN services_cataloguevalue value USING (service_id)
                     WHERE effective_at > {since} AND effective_at <= {until}
                     UNION
                    SELECT pair.service_id, pair.plan_id, effective_at
                      FROM pair JOIN services_cataloguevalue value USING (plan_id)
                     WHERE effective_at > {since} AND effective_at <= {until}) boundary
            OFFSET 0) moved
      LEFT JOIN LATERAL ({cause}) cause ON true
     WHERE amount <> 0
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
              AND NOT EXISTS (SELECT FROM services_cataloguevalue value
                               WHERE value.change_id = entry.change_id)
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
BRIDGE = """
WITH {touched}, {walked}, {counted}, {moved}, {events}, {parts},
step AS (
    SELECT of_group, kind, change_id, sum(amount) AS amount, sum(rows)::bigint AS rows
      FROM (SELECT {group} AS of_group, kind, change_id, sum(amount) AS amount, 1 AS rows
              FROM part WHERE {filtered} GROUP BY id, at, {group}, kind, change_id
            HAVING sum(amount) <> 0
             UNION ALL
            SELECT {group}, 'change', change_id, amount * followers, followers
              FROM untouched JOIN move USING (service_id, plan_id)
             WHERE followers <> 0 AND {filtered}) each
     GROUP BY of_group, kind, change_id
), total AS (
    SELECT {group} AS of_group, sum(amount_since) AS amount_since,
           sum(subscriptions_since)::bigint AS subscriptions_since,
           sum(amount_until) AS amount_until,
           sum(subscriptions_until)::bigint AS subscriptions_until
      FROM (SELECT client_id, service_id, plan_id, amount AS amount_since,
                   subscriptions AS subscriptions_since, 0 AS amount_until,
                   0 AS subscriptions_until
              FROM ({totals_since}) since
             UNION ALL
            SELECT client_id, service_id, plan_id, 0, 0, amount, subscriptions
              FROM ({totals_until}) until) each
     WHERE {filtered} GROUP BY 1
), ranked AS (
    SELECT total.*, row_number() OVER (
           ORDER BY abs(amount_until - amount_since) DESC, amount_until DESC, of_group) AS rank
      FROM (SELECT of_group, coalesce(amount_since, 0) AS amount_since,
                   coalesce(subscriptions_since, 0) AS subscriptions_since,
                   coalesce(amount_until, 0) AS amount_until,
                   coalesce(subscriptions_until, 0) AS subscriptions_until
              FROM total FULL JOIN (SELECT DISTINCT of_group FROM step) moved USING (of_group)
           ) total
)
SELECT CASE WHEN rank <= {most} THEN of_group END AS of_group, NULL AS kind,
       NULL::bigint AS change_id, sum(amount_since), sum(subscriptions_since)::bigint,
       sum(amount_until), sum(subscriptions_until)::bigint, {holds}
  FROM ranked GROUP BY 1
 UNION ALL
SELECT CASE WHEN rank <= {most} THEN of_group END, kind, change_id, sum(amount),
       sum(rows)::bigint, NULL, NULL, true
  FROM step JOIN ranked USING (of_group) GROUP BY 1, 2, 3
"""
TOTAL_OF_PAIRS = """
SELECT NULL::bigint AS client_id, service_id, plan_id, followers,
       followers + others AS subscriptions,
       followers * price_rule_at(service_id, plan_id, {at}) + amount AS amount
  FROM {pairs} pair
  JOIN services_service service ON service.id = service_id
  JOIN services_plan plan ON plan.id = plan_id
 WHERE followers <> 0 OR others <> 0
"""
TOTAL_OF_ROWS = """
SELECT client_id, service_id, plan_id, count(*) FILTER (WHERE by_rule) AS followers,
       count(*) AS subscriptions, sum(price) AS amount
  FROM {rows} one GROUP BY client_id, service_id, plan_id
"""
TOTALS = """
SELECT service_id, plan_id, sum(amount), sum(subscriptions)::bigint, sum(followers)::bigint, {holds}
  FROM ({totals}) total WHERE {filtered} GROUP BY service_id, plan_id ORDER BY service_id, plan_id
"""
# The subscriptions behind a step, a page of them in the order of their ids.
BEHIND = """
WITH {touched}, {walked}, {counted}, {moved}, {events}, {parts},
wanted AS MATERIALIZED (
    SELECT service_id, plan_id, sum(amount) AS amount FROM move
     WHERE {of_moves} GROUP BY service_id, plan_id
)
SELECT id, amount
  FROM ((SELECT id, sum(amount) AS amount FROM part
          WHERE id > {after} AND {of_step} AND {filtered}
          GROUP BY id HAVING sum(amount) <> 0 ORDER BY id LIMIT {limit})
         UNION ALL
        (SELECT subscription_id, wanted.amount
           FROM ({rows}) start_row JOIN wanted USING (service_id, plan_id)
          WHERE by_rule AND {filtered}
            AND NOT EXISTS (SELECT FROM touched WHERE id = subscription_id)
          ORDER BY subscription_id LIMIT {limit})) found
 ORDER BY id LIMIT {limit}
"""
OF_PAIRS = "AND (service_id, plan_id) IN (SELECT service_id, plan_id FROM wanted)"


def literal(value: datetime | int | None) -> str:
    """A value as SQL: statements of statements would need the same parameter many times."""
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'::timestamptz"
    return "NULL" if value is None else str(int(value))


def text_of(statement: SQL) -> str:
    sql, params = statement
    return sql % tuple(map(literal, params))


def parts_of(since: datetime, until: datetime, book_filter: BookFilter) -> dict[str, str]:
    """The parts that all statements of a bridge have."""
    ends = {"since": literal(since), "until": literal(until)}
    client = book_filter.given.get("client")
    of_client = (
        "" if client is None else f"WHERE subscription_id IN ({text_of((OF_CLIENT, (client,)))})"
    )
    return {
        "touched": TOUCHED.format(**ends, of_client=of_client, moved_or_gone=MOVED_OR_GONE),
        "walked": WALKED.format(**ends, told=at_each("moment moment_of", more=OF_THE_WALK)),
        "moved": MOVED.format(
            **ends, cause=cause_at("moved.service_id", "moved.plan_id", "moved.at")
        ),
        "events": EVENTS,
        "parts": PARTS,
        "filtered": filtered_by(book_filter),
    }


def bridge_sql(
    since: datetime,
    until: datetime,
    book_filter: BookFilter,
    group: str,
    most: int,
    nearest: tuple[Nearest, Nearest] | None,
) -> str:
    """The statement of a bridge: rows of totals (kind NULL), and of steps, for each group.

    (group, NULL, NULL, total at `since`, subscriptions, total at `until`, subscriptions, whether
    the sums still hold); (group, kind, change, amount, number, …). `group`: a column or a constant;
    all groups but the `most` that moved most are NULL. `nearest`: the sums before both instants;
    else all is read from the rows.
    """
    parts: dict[str, Any] = parts_of(since, until, book_filter)
    if nearest is None:
        parts["counted"] = COUNTED_ROWS.format(rows=rows_at(since, book_filter))
        totals = [
            TOTAL_OF_ROWS.format(rows=rows)
            for rows in ("start_row", f"({rows_at(until, book_filter)})")
        ]
        holds = "true"
    else:
        (first, holds_first), (last, holds_last) = (
            pairs_from(point, at) for point, at in zip(nearest, (since, until), strict=True)
        )
        parts["counted"] = COUNTED_PAIRS.format(pairs=text_of(first))
        totals = [
            TOTAL_OF_PAIRS.format(pairs=pairs, at=literal(at))
            for pairs, at in (("start_pair", since), (f"({text_of(last)})", until))
        ]
        holds = f"{text_of(holds_first)} AND {text_of(holds_last)}"
    return BRIDGE.format(
        **parts,
        group=group,
        most=most,
        totals_since=totals[0],
        totals_until=totals[1],
        holds=holds,
    )


def totals_sql(instant: datetime, book_filter: BookFilter, point: Nearest | None) -> str:
    """The statement of what each service and plan paid: (service, plan, amount, subscriptions, of
    these followers, whether the sums still hold)."""
    if point is None:
        holds = "true"
        totals = TOTAL_OF_ROWS.format(rows=f"({rows_at(instant, book_filter)})")
    else:
        pairs, condition = pairs_from(point, instant)
        holds = text_of(condition)
        totals = TOTAL_OF_PAIRS.format(pairs=f"({text_of(pairs)})", at=literal(instant))
    return TOTALS.format(totals=totals, holds=holds, filtered=filtered_by(book_filter))


def filtered_by(book_filter: BookFilter) -> str:
    given = {name: id for name, id in book_filter.given.items() if name != "state"}
    return " AND ".join(f"{name}_id = {literal(id)}" for name, id in given.items()) or "true"


def rows_at(instant: datetime, book_filter: BookFilter) -> str:
    return ROWS.format(rows=text_of(as_of(instant, book_filter)))


def behind_sql(
    since: datetime,
    until: datetime,
    book_filter: BookFilter,
    kind: str,
    change_id: int | None,
    after: int,
    limit: int,
) -> str:
    """The statement of the subscriptions behind a step: (id, amount), those after an id."""
    if "client" in book_filter.given:
        candidates: SQL = (
            f"SELECT id FROM ({text_of((OF_CLIENT, (book_filter.given['client'],)))}) of_client"  # noqa: S608
            f" WHERE id > {literal(after)} ORDER BY id",
            (),
        )
    else:
        shape = {"beyond": ">", "way": "ASC", "of_now": OF_PAIRS, "changed": MOVED_OR_GONE}
        candidates = CANDIDATES.format(**shape), (after, until, after)
    rows = as_of(since, candidates=(text_of(candidates).replace("%", "%%"), ()))
    change = f"change_id IS NOT DISTINCT FROM {literal(change_id)}"
    of_moves = "true" if kind == "change" else "false"
    parts = parts_of(since, until, book_filter)
    return BEHIND.format(
        **parts,
        counted=MAY_HAVE_MOVED.format(of_moves=of_moves, of_change=change),
        of_step=f"kind = '{kind}' AND {change}",
        of_moves=f"{of_moves} AND {change}",
        after=literal(after),
        limit=literal(limit),
        rows=ROWS.format(rows=text_of(rows)),
    )
