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

from services.ledger import bridge_clients, bridge_parts
from services.ledger.bridge_parts import literal, rows_among, rows_of, text_of
from services.ledger.last_move import cause_at
from services.ledger.page import CANDIDATES, MOVED_OR_GONE
from services.ledger.point_in_time import NOT_ASKED, OF_CLIENT, OF_THE_WALK, as_of, at_each
from services.ledger.total_then import Nearest, pairs_from
from services.reading.filters import BookFilter
from services.sql import SQL

BRIDGE = """
WITH {touched}, {told}, {counted}, {moved}, {walked}, {events}, {parts}, {ranked_before}
total AS (
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
              FROM ({totals_until}) until
             UNION ALL
            SELECT DISTINCT client_id, service_id, plan_id, 0, 0, 0, 0 FROM part) each
     WHERE {filtered} GROUP BY 1
), {ranked_after} step AS (
    SELECT shown, kind, change_id, sum(amount) AS amount, sum(rows)::bigint AS rows
      FROM (SELECT {group} AS of_group, kind, change_id, sum(amount) AS amount, 1 AS rows
              FROM part WHERE {filtered} GROUP BY id, at, {group}, kind, change_id
            HAVING sum(amount) <> 0) each
      LEFT JOIN ranked ON shown = of_group
     GROUP BY shown, kind, change_id
     UNION ALL
    SELECT shown, 'change', change_id, sum(amount * followers), sum(followers)::bigint
      FROM (SELECT shown, service_id, plan_id, sum(followers) AS followers
              FROM {followers} LEFT JOIN ranked ON shown = {group}
             WHERE followers <> 0 AND {filtered}
             GROUP BY shown, service_id, plan_id HAVING sum(followers) <> 0) each
      JOIN move USING (service_id, plan_id)
     GROUP BY shown, change_id
)
SELECT shown, NULL AS kind, NULL::bigint AS change_id, sum(amount_since),
       sum(subscriptions_since)::bigint, sum(amount_until), sum(subscriptions_until)::bigint,
       {holds}
  FROM total LEFT JOIN ranked ON shown = of_group GROUP BY shown
 UNION ALL
SELECT shown, kind, change_id, sum(amount), sum(rows)::bigint, NULL, NULL, true
  FROM step GROUP BY shown, kind, change_id
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
# The groups that are shown, from their totals.
RANKED = """
ranked AS MATERIALIZED (
    SELECT of_group AS shown FROM total WHERE {that} AND of_group IS NOT NULL
     ORDER BY abs(amount_until - amount_since) DESC, of_group LIMIT {most}
),"""
THAT_MOVED = "amount_until <> amount_since"
TOTALS = """
SELECT service_id, plan_id, sum(amount), sum(subscriptions)::bigint, sum(followers)::bigint, {holds}
  FROM ({totals}) total WHERE {filtered} GROUP BY service_id, plan_id ORDER BY service_id, plan_id
"""
# The subscriptions behind a step, a page of them in the order of their ids.
BEHIND = """
WITH {touched}, {told}, {counted}, {moved}, {walked}, {events}, {parts},
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


def parts_of(since: datetime, until: datetime, book_filter: BookFilter) -> dict[str, str]:
    """The parts that all statements of a bridge have."""
    ends = {"since": literal(since), "until": literal(until)}
    client = book_filter.given.get("client")
    of_client = (
        "" if client is None else f"WHERE subscription_id IN ({text_of((OF_CLIENT, (client,)))})"
    )
    return {
        "touched": bridge_parts.TOUCHED.format(
            **ends, of_client=of_client, moved_or_gone=MOVED_OR_GONE
        ),
        "told": bridge_parts.TOLD.format(
            **ends, told=at_each("moment moment_of", more=OF_THE_WALK, rule=NOT_ASKED)
        ),
        "walked": bridge_parts.WALK,
        "moved": bridge_parts.MOVED.format(
            **ends, cause=cause_at("moved.service_id", "moved.plan_id", "moved.at")
        ),
        "events": bridge_parts.EVENTS,
        "parts": bridge_parts.PARTS,
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
    all groups but the `most` that moved most are NULL, and so are clients that did not move.
    `nearest`: the sums before both instants; else all is read from the rows.
    """
    parts: dict[str, Any] = parts_of(since, until, book_filter)
    by_client = group == "client_id"
    followers, before = "untouched", ""
    after = RANKED.format(that=THAT_MOVED if by_client else "true", most=most)
    if nearest is None:
        parts["counted"] = bridge_parts.COUNTED_ROWS.format(rows=rows_at(since, book_filter))
        totals = [
            TOTAL_OF_ROWS.format(rows=rows)
            for rows in ("start_row", f"({rows_at(until, book_filter)})")
        ]
        holds = "true"
    else:
        (first, holds_first), (last, holds_last) = (
            pairs_from(point, at) for point, at in zip(nearest, (since, until), strict=True)
        )
        parts["counted"] = bridge_parts.COUNTED_PAIRS.format(
            since=literal(since), pairs=text_of(first)
        )
        totals = [
            TOTAL_OF_PAIRS.format(pairs=pairs, at=literal(at))
            for pairs, at in (("start_pair", since), (f"({text_of(last)})", until))
        ]
        holds = f"{text_of(holds_first)} AND {text_of(holds_last)}"
        if by_client:
            before, after = bridge_clients.ranked(since, until, parts["filtered"], most), ""
            followers = bridge_clients.FOLLOWERS
            totals = [
                bridge_clients.TOTAL.format(of_pairs=of_pairs, rows=rows)
                for of_pairs, rows in zip(totals, ("row_since", "row_until"), strict=True)
            ]
            holds += f" AND {bridge_clients.ROWS_HOLD.format(since=literal(since))}"
    return BRIDGE.format(
        **parts,
        group=group,
        ranked_before=before,
        ranked_after=after,
        followers=followers,
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
    return rows_of(as_of(instant, book_filter))


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
    rows = rows_among(text_of(candidates), since)
    change = f"change_id IS NOT DISTINCT FROM {literal(change_id)}"
    of_moves = "true" if kind == "change" else "false"
    parts = parts_of(since, until, book_filter)
    return BEHIND.format(
        **parts,
        counted=bridge_parts.MAY_HAVE_MOVED.format(of_moves=of_moves, of_change=change),
        of_step=f"kind = '{kind}' AND {change}",
        of_moves=f"{of_moves} AND {change}",
        after=literal(after),
        limit=literal(limit),
        rows=rows,
    )
