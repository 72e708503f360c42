"""The prices that subscriptions paid at an instant, each by its newest entry.

Only subscriptions that had begun by then and had not ended paid.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from services.bounds import FIRST_DAY
from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING
from services.sql import SQL

AS_OF_FILTERS = ("service", "plan", "client", "state")
# Facts are in the order of their instants, and at the same instant in that of their writing: what a
# worker writes late for an instant comes before what somebody has decided since. So the newest
# entry of each subscription is found first, whatever it says, and the conditions are applied only
# then: a subscription that has moved to another service by then is not found under its former one,
# and a deleted one is not found.
#
# A follower's price comes from no entry, but from the values of the catalogue that are in force
# then: so it makes no difference when a worker came. A subscription whose end was put before its
# last price has paid the price in the entry of that end.
AS_OF = """
SELECT subscription_id, entry.client_id, entry.service_id, entry.plan_id,
       CASE WHEN corrected_price IS NOT NULL THEN corrected_price
            WHEN kept.id IS NOT NULL THEN kept.price
            WHEN NOT follows AND ended_at <= effective_at
            THEN coalesce((SELECT price FROM services_ledgerentry period
                            WHERE period.subscription_id = entry.subscription_id
                              AND period_only AND period.id > entry_id {recorded_of_end}
                            ORDER BY id DESC LIMIT 1), entry.price)
            WHEN NOT follows THEN entry.price
            ELSE coalesce({rule}, entry.price) END AS price,
       CASE WHEN kept.id IS NOT NULL THEN kept.price_state
            WHEN follows THEN 'follows' ELSE entry.price_state END AS price_state,
       CASE WHEN kept.id IS NOT NULL THEN kept.locked_until
            WHEN follows THEN NULL ELSE entry.locked_until END AS locked_until,
       CASE WHEN kept.id IS NULL THEN entry_id END AS entry_id,
       corrected_price IS NULL
       AND CASE WHEN kept.id IS NOT NULL THEN kept.price_state = 'follows' ELSE follows END
       AS by_rule{more}
  FROM (SELECT newest.*, period.*, moment.*,
               least(moment.at, period.ended_at - interval '1 microsecond') AS judged_at,
               newest.price_state = 'follows'
               OR coalesce(newest.locked_until <= least(moment.at, period.ended_at
                                                        - interval '1 microsecond'), false)
               AS follows
          FROM (SELECT {moment}) moment
         CROSS JOIN LATERAL ({newest}) newest
          {period}
          LEFT JOIN (
               SELECT subscription_id, min(unpaid_since) AS since
                 FROM services_ledgerentry
                WHERE unpaid_since IS NOT NULL AND unpaid_since <= %s AND effective_at > %s
                  {recorded_of_gap}
                GROUP BY subscription_id) gap ON gap.subscription_id = newest.subscription_id
         CROSS JOIN LATERAL (
               SELECT {started_at} AS started_at,
                      least({ended_at}, gap.since) AS ended_at
               ) period) entry
  LEFT JOIN LATERAL ({kept}) kept ON true {catalogue} {corrections}
 WHERE entry.price IS NOT NULL {pays} {conditions}
"""
# For the whole book in one pass over the ledger; for given ids by the entries of each, in the given
# order, and for no more ids than the reader fetches.
NEWEST = """
SELECT DISTINCT ON (subscription_id)
       subscription_id, {columns}
  FROM services_ledgerentry
 WHERE effective_at <= moment.at
   AND (NOT period_only OR effective_at < recorded_at) {recorded}
 ORDER BY subscription_id, effective_at DESC, id DESC
"""
NEWEST_OF_ASKED = """
SELECT asked.id AS subscription_id, last.*
  FROM ({asked}) asked
 CROSS JOIN LATERAL (
       SELECT {columns}
         FROM services_ledgerentry
        WHERE subscription_id = asked.id AND effective_at <= moment.at
          AND (NOT period_only OR effective_at < recorded_at) {recorded}
        ORDER BY effective_at DESC, id DESC LIMIT 1) last
"""
COLUMNS = """client_id, service_id, plan_id, price, price_state, locked_until, effective_at,
       change_id, unpaid_since, id AS entry_id"""
# The entry that a change for new subscriptions only implies, where the change has come, was undone,
# or counts again, and no worker has written that down. Few subscriptions need this: one with an
# entry since then does not. A subscription that was opened again under such a change is still kept
# by it, though the entry of its opening names no change.
KEPT = """
SELECT (word).id, (word).price, (word).price_state, (word).locked_until
  FROM (SELECT kept_entry(entry.subscription_id, entry.judged_at{known}) AS word
         WHERE (SELECT EXISTS (SELECT FROM services_cataloguevalue
                                WHERE for_new_only AND effective_at <= moment.at)
                  FROM (SELECT %s::timestamptz AS at) moment)
           AND entry.price_state <> 'negotiated' AND entry.price IS NOT NULL
           AND EXISTS (
               SELECT FROM services_cataloguevalue keep
                WHERE for_new_only AND value IS NOT NULL AND keep.effective_at <= entry.judged_at
                  AND (keep.service_id = entry.service_id OR keep.plan_id = entry.plan_id)
                  AND CASE WHEN follows THEN keep.effective_at >= entry.effective_at
                            AND NOT {undone} OR EXISTS (
                            SELECT FROM services_cataloguevalue kept_again
                             WHERE undoes_id = keep.id AND again
                               AND effective_at >= entry.effective_at
                               AND effective_at <= entry.judged_at)
                           ELSE (keep.change_id = entry.change_id
                                 OR entry.unpaid_since IS NOT NULL OR EXISTS (
                                 SELECT FROM services_cataloguevalue kept_again
                                  WHERE undoes_id = keep.id AND again
                                    AND kept_again.change_id = entry.change_id)) AND {undone} END)
        OFFSET 0) kept
"""
# A correction lies above all else, up to the end: for a few rows it is looked up for each row.
CORRECTION_OF_ROW = """
  LEFT JOIN LATERAL (
       SELECT id AS correction_id, price AS corrected_price FROM services_correction
        WHERE subscription_id = entry.subscription_id AND since <= entry.at AND until > entry.at
          {recorded_of_correction}
        ORDER BY id DESC LIMIT 1) corrected ON {not_ended}
"""
CORRECTIONS_OF_BOOK = """
  LEFT JOIN (
       SELECT DISTINCT ON (subscription_id)
              subscription_id AS corrected_id, price AS corrected_price
         FROM services_correction, (SELECT {moment}) moment
        WHERE since <= moment.at AND until > moment.at {recorded_of_corrections}
        ORDER BY subscription_id, id DESC) corrected
    ON corrected_id = entry.subscription_id AND {not_ended}
"""
NOT_ENDED = "(entry.ended_at IS NULL OR entry.ended_at > entry.at)"
# Starts and ends are those known now, or at `known_at`; a deleted subscription paid until then.
STATES = {
    "active": """
   AND (started_at IS NULL OR started_at <= at) AND (ended_at IS NULL OR ended_at > at)
""",
    "ended": " AND ended_at <= at ",
    "upcoming": " AND started_at > at ",
}
# For a few rows the values are looked up for each row; for the whole book once for each service and
# plan (OFFSET 0: before they are joined).
RULE_OF_ROW = (
    "price_rule_at(service_id, plan_id, least(at, ended_at - interval '1 microsecond'){known})"
)
# For a caller who knows the rule's price of each pair, and takes it wherever `by_rule` is true.
NOT_ASKED = "NULL"
RULE_OF_BOOK = "price_rule(service.full_price, plan.discount_percent)"
CATALOGUE_THEN = """
  LEFT JOIN (SELECT id, list_price_at(id, {moment}) AS full_price
               FROM {services} OFFSET 0) service ON service.id = service_id
  LEFT JOIN (SELECT id, discount_at(id, {moment}) AS discount_percent
               FROM {plans} OFFSET 0) plan ON plan.id = plan_id
"""
# The parts that depend on which facts count: all that are recorded, whose result is in the rows
# themselves, or those that were recorded by an instant.
BY_ALL = {
    "moment": "%s::timestamptz AS at",
    "recorded": "",
    "recorded_of_gap": "",
    "recorded_of_end": "",
    "recorded_of_correction": "",
    "recorded_of_corrections": "",
    "period": """
          LEFT JOIN services_subscription subscription
            ON subscription.id = newest.subscription_id
          LEFT JOIN LATERAL (
               SELECT started_at, ended_at FROM services_ledgerentry
                WHERE subscription_id = newest.subscription_id AND price IS NULL
                  AND subscription.id IS NULL
                ORDER BY id DESC LIMIT 1) deleted ON true""",
    "started_at": "coalesce(subscription.started_at, deleted.started_at)",
    "ended_at": "subscription.ended_at, deleted.ended_at",
    "known": "",
    "undone": "undone @> entry.judged_at",
}
BY_KNOWN = {
    "moment": "%s::timestamptz AS at, %s::timestamptz AS known",
    "recorded": "AND recorded_at <= moment.known",
    "recorded_of_gap": "AND recorded_at <= %s",
    "recorded_of_end": "AND period.recorded_at <= entry.known",
    "recorded_of_correction": "AND recorded_at <= entry.known",
    "recorded_of_corrections": "AND recorded_at <= moment.known",
    "period": """
          LEFT JOIN LATERAL period_known(newest.subscription_id, moment.known) told ON true""",
    "started_at": "told.started_at",
    "ended_at": "told.ended_at",
    "known": ", entry.known",
    "undone": "value_undone(keep.id, entry.judged_at, entry.known)",
}
# A change's decision was known at its instant, though its copies are written later. So was what
# somebody had decided by then, though it is written again after such a copy.
DECIDED_BY_THEN = """AND (recorded_at <= moment.known OR change_id IS NOT NULL OR EXISTS (
                     SELECT FROM services_ledgerentry once
                      WHERE once.subscription_id = services_ledgerentry.subscription_id
                        AND once.effective_at = services_ledgerentry.effective_at
                        AND once.author = services_ledgerentry.author
                        AND once.change_id IS NULL AND once.recorded_at <= moment.known))"""
CATALOGUE_BY_ALL = {
    "moment": "%s::timestamptz",
    "services": "services_service",
    "plans": "services_plan",
}
# Also those that were deleted since.
CATALOGUE_BY_KNOWN = {
    "moment": "%s::timestamptz, %s::timestamptz",
    "services": "(SELECT DISTINCT service_id AS id FROM services_cataloguevalue) each",
    "plans": "(SELECT DISTINCT plan_id AS id FROM services_cataloguevalue) each",
}
# All subscriptions that this client ever had. A subscription gets its client from a write of its
# own, never from a price change, so the partial index `ledger_client` has all of them, and no
# repricing has to write to it.
OF_CLIENT = """
SELECT DISTINCT subscription_id AS id FROM services_ledgerentry
 WHERE client_id = %s AND change_id IS NULL
"""


# Further columns of one subscription: whether it pays, by the period that is known now, since when
# it has been there, and the correction that says its price.
OF_THE_WALK = f""",
       (started_at IS NULL OR started_at <= entry.at) AND {NOT_ENDED} AS pays,
       started_at, correction_id"""


def at_each(moments: str, more: str = "", rule: str = RULE_OF_ROW) -> str:
    """A FROM clause of the columns of `as_of`, and `more`, for each row (id, at) of another,
    `moments`, which is called `moment_of`: of the subscription at the instant, whether it pays or
    not. With the `rule` `NOT_ASKED`, rows with `by_rule` have no price.
    """
    of_id, of_instant = 0, FIRST_DAY
    sql, params = as_of(of_instant, subscription_id=of_id, more=more, rule=rule)
    by_column = {of_id: "moment_of.id", of_instant: "moment_of.at"}
    return f"{moments} CROSS JOIN LATERAL ({sql % tuple(map(by_column.__getitem__, params))}) told"


def as_of(
    instant: datetime,
    book_filter: BookFilter = EVERYTHING,
    subscription_id: int | None = None,
    known_at: datetime | None = None,
    among: Collection[int] | None = None,
    candidates: SQL | None = None,
    more: str = "",
    rule: str = RULE_OF_ROW,
) -> SQL:
    """A statement of what was paid at `instant`: a row for each subscription that paid then.

    Its columns: subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
    entry_id (None where no worker has written the entry yet), by_rule (the price is the rule's, and
    not a correction's). It finds one subscription, or those `among` these ids, whether they were
    active or not; else those of a client or of the whole book, and with `state` those that had
    ended by then, or had not begun. `candidates` is a statement of ids, to which the result is
    limited, in its order and as far as it is fetched. The answer is by all that is recorded, or by
    what was recorded by `known_at`, which `refuse_incomplete` must have accepted. ValueError for a
    filter other than service, plan, client and state, because the ledger has no others. Without ids
    or a client it reads the whole ledger. `more`: further columns, `rule`: the price of those who
    follow, where ids are given; both in SQL. No query.
    """
    given = book_filter.given
    if unknown := given.keys() - set(AS_OF_FILTERS):
        raise ValueError(f"The ledger can't filter by {', '.join(sorted(unknown))}.")
    parts, of_catalogue = (BY_ALL, CATALOGUE_BY_ALL)
    known: list[datetime] = []
    if known_at is not None:
        parts, of_catalogue, known = BY_KNOWN, CATALOGUE_BY_KNOWN, [known_at]
    asked = candidates
    if subscription_id is not None:
        asked = ("SELECT %s::bigint AS id", (subscription_id,))
    elif among is not None:
        asked = ("SELECT DISTINCT unnest(%s::bigint[]) AS id", (list(among),))
    elif "client" in given:
        asked = (OF_CLIENT, (given["client"],))
    state = given.pop("state", "active")
    # An ended subscription has the price at its end, so each row needs its own instant.
    by_row = asked is not None or state == "ended"
    if among is not None and known_at is not None:
        parts = parts | {"recorded": DECIDED_BY_THEN}
    newest, of_asked = asked or ("", ())
    newest = (NEWEST if asked is None else NEWEST_OF_ASKED).format(
        asked=newest, columns=COLUMNS, **parts
    )
    sql = AS_OF.format(
        **parts,
        more=more,
        newest=newest,
        rule=rule.format(**parts) if by_row else RULE_OF_BOOK,
        kept=KEPT.format(**parts),
        catalogue="" if by_row else CATALOGUE_THEN.format(**of_catalogue),
        corrections=(CORRECTION_OF_ROW if by_row else CORRECTIONS_OF_BOOK).format(
            not_ended=NOT_ENDED, **parts
        ),
        pays="" if subscription_id is not None or among is not None else STATES[state],
        conditions="".join(f" AND entry.{name}_id = %s" for name in given),
    )
    moment = (instant, *known)
    of_rule = () if by_row else (*moment, *moment, *moment)
    return sql, (
        *moment,
        *of_asked,
        *(instant, instant, *known),  # of the gap
        *(instant, *of_rule, *given.values()),  # of what keeps it, the catalogue, corrections
    )
