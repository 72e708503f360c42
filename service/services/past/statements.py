"""The statements by which a file of the past is judged, and written as corrections."""

from __future__ import annotations

from services.ledger.paid_since import told_by

LINES = """
CREATE TEMP TABLE history_line (line bigint, {columns}) ON COMMIT DROP
"""
# By its id here; by its id elsewhere; else by client, service and start, and which of them it is.
MATCHES = """
CREATE TEMP TABLE history_match ON COMMIT DROP AS
SELECT line, book.id
  FROM history_line JOIN services_subscription book ON book.id = subscription
 UNION ALL
SELECT line, book.id
  FROM history_line JOIN services_subscription book USING (source, external_id)
 WHERE subscription IS NULL
 UNION ALL
SELECT line, id
  FROM (
SELECT line, alike, book.id,
       concat(row_number() OVER (PARTITION BY line ORDER BY book.id), ' of ',
              count(*) OVER (PARTITION BY line)) AS place
  FROM history_line
  JOIN auth_user login ON lower(login.email) = lower(history_line.email)
  JOIN clients_client client ON client.user_id = login.id
  JOIN services_service service ON service.name = history_line.service
  JOIN services_subscription book ON (book.client_id, book.service_id, book.started_at)
                                   = (client.id, service.id, history_line.started_at)
 WHERE subscription IS NULL AND history_line.source IS NULL) fits
 WHERE alike IS NULL OR alike = place
"""
NOT_NAMED = """
SELECT line, '', '', 'names no subscription; give subscription, or source and external_id, or'
                     ' email, service and started_at'
  FROM history_line
 WHERE subscription IS NULL AND (source IS NULL OR external_id IS NULL)
   AND (source IS NOT NULL OR external_id IS NOT NULL
        OR email IS NULL OR service IS NULL OR started_at IS NULL)
"""
NAMED = """
CASE WHEN subscription IS NOT NULL THEN 'subscription'
     WHEN source IS NOT NULL THEN 'external_id' ELSE 'email' END,
       coalesce(subscription::text, external_id, email)"""
NOT_THERE = f"""
SELECT line, {NAMED},
       CASE WHEN source IS NOT NULL AND subscription IS NULL
            THEN format('is no external id of %L in the book', source)
            WHEN subscription IS NULL
            THEN format('has no subscription of %s that starts at %s%s', service, started_at,
                        ' and is ' || alike || ' by their ids')
            ELSE 'is no subscription of the book' END || '; import the book before its past'
  FROM history_line
 WHERE line NOT IN (SELECT line FROM history_match)
"""  # noqa: S608 - constants
SEVERAL = f"""
SELECT line, {NAMED},
       format('fits subscriptions %s of the book; say which one in the column subscription, or'
              ' in alike, as 1 of 2', ids)
  FROM history_line
  JOIN (SELECT line, string_agg(id::text, ', ' ORDER BY id) AS ids
          FROM history_match GROUP BY line HAVING count(*) > 1) several USING (line)
"""  # noqa: S608 - constants
# As a correction does: rows by their ids, then their catalogue.
LOCK_ROWS = """
SELECT count(*) FROM (SELECT FROM services_subscription
                       WHERE id IN (SELECT id FROM history_match)
                       ORDER BY id FOR NO KEY UPDATE) held
"""
LOCK_PAIRS = """
SELECT lock_pairs(array_agg(service_id), array_agg(plan_id))
  FROM (SELECT DISTINCT service_id, plan_id FROM services_subscription
         WHERE id IN (SELECT id FROM history_match)) pair
"""
# `upto`: the last instant that a line may be about.
HISTORY = """
CREATE TEMP TABLE history ON COMMIT DROP AS
SELECT line, id, effective_at AS since, said.price, coalesce(said.comment, '') AS comment,
       until AS said,
       one.started_at, one.ended_at, lead(effective_at) OVER later AS next,
       lag(line) OVER later AS former, lag(effective_at) OVER later AS earlier,
       coalesce(until, lead(effective_at) OVER later,
                least(one.ended_at, %(now)s::timestamptz)) AS upto
  FROM history_line said
  JOIN history_match USING (line)
  JOIN services_subscription one USING (id)
WINDOW later AS (PARTITION BY id ORDER BY effective_at, line)
"""
BAD_INTERVALS = """
SELECT line, 'effective_at', since::text,
       CASE WHEN since = earlier THEN format('is on line %%s too; give one price for it', former)
            WHEN since < started_at THEN format('is before the start, %%s', started_at)
            WHEN since >= ended_at THEN format('is not before the end, %%s', ended_at)
            ELSE 'has not passed; plan a price change for an instant to come' END
  FROM history
 WHERE since = earlier OR since < started_at OR since >= ended_at OR since >= %(now)s
 UNION ALL
SELECT line, 'until', said::text,
       CASE WHEN said <= since THEN format('is not after effective_at, %%s', since)
            WHEN said > next THEN format('is after the next line begins, %%s', next)
            WHEN said > ended_at THEN format('is after the end, %%s', ended_at)
            ELSE 'has not passed; leave it out' END
  FROM history
 WHERE said <= since OR said > next OR said > ended_at OR said > %(now)s
"""
# The prices that the book tells of each line's time, one after the other.
TOLD = f"""
CREATE TEMP TABLE history_told (
    line, at, pays, service_id, plan_id, price, price_state, locked_until) ON COMMIT DROP AS
{told_by("SELECT line, id, since, upto FROM history")}
"""  # noqa: S608 - constants
NOT_PAID = """
SELECT line, 'effective_at', since::text, 'is in a time for which the subscription does not pay'
  FROM history
 WHERE NOT EXISTS (SELECT FROM history_told told
                    WHERE told.line = history.line AND at = since AND pays)
"""
# Each line with its end. The last one lasts to the next instant at which the book's own prices
# move; if nothing has moved since, it goes on as the price in force.
INTERVALS = """
CREATE TEMP TABLE history_interval ON COMMIT DROP AS
SELECT history.*, coalesce(said, next, moved.at) AS ends, first.price AS price_then
  FROM history
  JOIN history_told first ON first.line = history.line AND first.at = since
  LEFT JOIN LATERAL (
       SELECT min(at) AS at FROM history_told later
        WHERE later.line = history.line AND at > since AND said IS NULL AND next IS NULL
          AND (pays, service_id, plan_id, price, price_state, locked_until)
              IS DISTINCT FROM (first.pays, first.service_id, first.plan_id, first.price,
                                first.price_state, first.locked_until)) moved ON true
"""
NOT_IN_FORCE = """
SELECT line, 'price', price::text,
       format('is the last one, and does not meet the price in force, %s; say its end in until, or'
              ' let a line with that price follow', price_then)
  FROM history_interval WHERE ends IS NULL AND price <> price_then
"""
MOVES = """
CREATE TEMP TABLE history_move ON COMMIT DROP AS
SELECT line, id, since, ends, history_interval.price, comment, price_then, largest, percent
  FROM history_interval
 CROSS JOIN LATERAL (
       SELECT max(abs(told.price - history_interval.price)) AS largest,
              max(CASE WHEN told.price = history_interval.price THEN 0
                       WHEN told.price = 0 THEN 'Infinity'
                       ELSE abs(told.price - history_interval.price) * 100 / told.price END)
                  AS percent
         FROM history_told told
        WHERE told.line = history_interval.line AND at < ends AND pays) differing
 WHERE ends IS NOT NULL AND largest > 0
"""
CORRECT = """
WITH made AS (
    INSERT INTO services_correction (subscription_id, since, until, price, reason, author,
                                     recorded_at)
    SELECT id, since, ends, price, coalesce(nullif(comment, ''), %(reason)s), %(author)s, %(now)s
      FROM history_move ORDER BY id, since
    RETURNING id, subscription_id, since, until)
SELECT coalesce(array_agg(id), '{}'),
       coalesce(array_agg(id) FILTER (WHERE followed), '{}')
  FROM (SELECT id, until = lead(since) OVER (PARTITION BY subscription_id ORDER BY since)
                   AS followed
          FROM made) correction
"""
# A subscription counts with its largest difference, and with its price at its first line.
FIGURES = """
SELECT count(*), coalesce(sum(before), 0), coalesce(sum(after), 0), coalesce(sum(largest), 0),
       max(percent)
  FROM (SELECT (array_agg(price_then ORDER BY since))[1] AS before,
               (array_agg(price ORDER BY since))[1] AS after,
               max(largest) AS largest, max(percent) AS percent
          FROM history_move GROUP BY id) moved
"""
COUNTS = "SELECT (SELECT count(*) FROM history), (SELECT count(*) FROM history_move)"
TABLES = (
    "history_line", "history_match", "history", "history_told", "history_interval", "history_move",
)  # fmt: skip
