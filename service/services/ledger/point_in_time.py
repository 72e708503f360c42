"""What was paid at an instant: of each subscription the last recorded word on it.

And who paid: those who had begun by then, and had not ended.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING
from services.sql import SQL

AS_OF_FILTERS = ("service", "plan", "client", "state")
# Facts stand in the order of their instants, and of one instant in that of their writing: what a
# worker writes late of an instant stands before what somebody has said since. So first the newest
# entry of each, whatever it says, and only then the conditions: who has moved to another service
# since is not found among those of this one, and who was deleted is not there.
#
# What a follower pays no entry decides, but the values of the catalogue that are in force then:
# so it makes no difference when a worker came. One whose end was put before its last price has paid
# what the end says.
AS_OF = """
SELECT subscription_id, entry.client_id, entry.service_id, entry.plan_id,
       CASE WHEN kept.id IS NOT NULL THEN kept.price
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
       kept.id IS NULL AND follows AS by_rule
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
  LEFT JOIN LATERAL ({kept}) kept ON true {catalogue}
 WHERE entry.price IS NOT NULL {pays} {conditions}
"""
# Of the whole book in one pass over the ledger; of those who are asked for by the entries of each,
# in the order in which they are asked for, and of no more than somebody reads.
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
# Where a change for new subscriptions only has come, or gone, and no worker has written it down.
# That is asked of few: who has an entry since it came needs no other one. One that was opened again
# under such a change goes on under it, though the entry of that names no change.
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
                            AND NOT {undone}
                           ELSE (keep.change_id = entry.change_id
                                 OR entry.unpaid_since IS NOT NULL) AND {undone} END)
        OFFSET 0) kept
"""
# Starts and ends are those that are known now; who was deleted paid until then.
STATES = {
    "active": """
   AND (started_at IS NULL OR started_at <= at) AND (ended_at IS NULL OR ended_at > at)
""",
    "ended": " AND ended_at <= at ",
    "upcoming": " AND started_at > at ",
}
# Of a few rows the values are looked up for each; of the whole book once for each service and
# plan (OFFSET 0: before they are joined).
RULE_OF_ROW = (
    "price_rule_at(service_id, plan_id, least(at, ended_at - interval '1 microsecond'){known})"
)
RULE_OF_BOOK = "price_rule(service.full_price, plan.discount_percent)"
CATALOGUE_THEN = """
  LEFT JOIN (SELECT id, list_price_at(id, {moment}) AS full_price
               FROM {services} OFFSET 0) service ON service.id = service_id
  LEFT JOIN (SELECT id, discount_at(id, {moment}) AS discount_percent
               FROM {plans} OFFSET 0) plan ON plan.id = plan_id
"""
# What depends on which facts count: all that are recorded, whose sum the rows say themselves, or
# those that were recorded by an instant.
BY_ALL = {
    "moment": "%s::timestamptz AS at",
    "recorded": "",
    "recorded_of_gap": "",
    "recorded_of_end": "",
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
    "period": """
          LEFT JOIN LATERAL period_known(newest.subscription_id, moment.known) told ON true""",
    "started_at": "told.started_at",
    "ended_at": "told.ended_at",
    "known": ", entry.known",
    "undone": "value_undone(keep.id, entry.judged_at, entry.known)",
}
# What a change has decided by its instant was known then, though its copies are written later. So
# was what somebody had said by then, though it is told again behind such a copy.
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
# Those too that are gone since.
CATALOGUE_BY_KNOWN = {
    "moment": "%s::timestamptz, %s::timestamptz",
    "services": "(SELECT DISTINCT service_id AS id FROM services_cataloguevalue) each",
    "plans": "(SELECT DISTINCT plan_id AS id FROM services_cataloguevalue) each",
}
# Who was ever this client's. A subscription comes to a client by somebody's own write and never by
# a price change, so the partial index `ledger_client` knows all, and no repricing has to feed it.
OF_CLIENT = """
SELECT DISTINCT subscription_id AS id FROM services_ledgerentry
 WHERE client_id = %s AND change_id IS NULL
"""


def as_of(
    instant: datetime,
    book_filter: BookFilter = EVERYTHING,
    subscription_id: int | None = None,
    known_at: datetime | None = None,
    among: Collection[int] | None = None,
    candidates: SQL | None = None,
) -> SQL:
    """A statement for what was paid at `instant`: a row a subscription that paid then.

    Its columns: subscription_id, client_id, service_id, plan_id, price, price_state,
    locked_until, entry_id (None where no worker has written down yet how it stands), by_rule
    (the price is the rule's). Of one subscription, or `among` these ids, which need not have been
    active; of a client or the whole book; by `state` those who had ended by then, or had not begun.
    `candidates`: a statement of ids, and only of these, in its order and as far as it is fetched.
    By all that is recorded, or by what was recorded by `known_at`, which `refuse_incomplete` has
    let pass. Filters for anything but service, plan, client and state, which the ledger doesn't
    know, are a ValueError. Without ids or a client it reads the whole ledger. No query.
    """
    given = book_filter.given
    if unknown := given.keys() - set(AS_OF_FILTERS):
        raise ValueError(f"The ledger can't tell by {', '.join(sorted(unknown))}.")
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
    # Who has ended has the price of its end, which is an instant of its own.
    by_row = asked is not None or state == "ended"
    if among is not None and known_at is not None:
        parts = parts | {"recorded": DECIDED_BY_THEN}
    newest, of_asked = asked or ("", ())
    newest = (NEWEST if asked is None else NEWEST_OF_ASKED).format(
        asked=newest, columns=COLUMNS, **parts
    )
    sql = AS_OF.format(
        **parts,
        newest=newest,
        rule=RULE_OF_ROW.format(**parts) if by_row else RULE_OF_BOOK,
        kept=KEPT.format(**parts),
        catalogue="" if by_row else CATALOGUE_THEN.format(**of_catalogue),
        pays="" if subscription_id is not None or among is not None else STATES[state],
        conditions="".join(f" AND entry.{name}_id = %s" for name in given),
    )
    moment = (instant, *known)
    of_rule = () if by_row else (*moment, *moment)
    return sql, (
        *moment,
        *of_asked,
        *(instant, instant, *known),  # of the gap
        *(instant, *of_rule, *given.values()),
    )
