"""The statements of the book check: they compare the rows with what is stored, and fix it."""

from services.reading import total

ACTIVE = "(ended_at IS NULL OR ended_at > (SELECT book_now()))"
FOLLOWER = "price_state = 'follows' AND ended_at IS NULL"  # as subtotals count them
# The columns that subtotals have for a (service, plan).
COUNTED = (
    "subscriptions",
    "amount",
    "followers",
    "followers_amount",
    "paid_subscriptions",
    "paid_amount",
    "paid_followers",
    "paid_followers_amount",
)
# One clock for the rows and the subtotals, taken after the snapshot, as readers take it.
CLOCK = "(SELECT at FROM moment)"
PAYS = total.PAYS.format(at=CLOCK)
# Starts (plus) and ends (minus) that are to come, by the rows, less those that are stored.
BOUNDARIES = f"""
    SELECT service_id, plan_id, at, sum(sign) AS subscriptions, sum(sign * price) AS amount,
           coalesce(sum(sign) FILTER (WHERE price_state = 'follows'), 0) AS followers,
           coalesce(sum(sign * price) FILTER (WHERE price_state = 'follows'), 0)
           AS followers_amount
      FROM services_subscription
     CROSS JOIN LATERAL (VALUES (started_at, 1), (ended_at, -1)) boundary (at, sign)
     WHERE (started_at > {CLOCK} OR ended_at > {CLOCK}) AND at > {CLOCK}
     GROUP BY service_id, plan_id, at
     UNION ALL
    SELECT service_id, plan_id, at, -subscriptions, -amount, -followers, -followers_amount
      FROM services_paidboundary WHERE at > {CLOCK}
"""  # noqa: S608 - a constant, no input
# The starts and ends that are missing from the stored ones, if any.
BOUNDARIES_MISSING = f"""
    SELECT service_id, plan_id, at, sum(subscriptions) AS subscriptions, sum(amount) AS amount,
           sum(followers) AS followers, sum(followers_amount) AS followers_amount
      FROM ({BOUNDARIES}) boundary GROUP BY service_id, plan_id, at
    HAVING sum(subscriptions) <> 0 OR sum(amount) <> 0 OR sum(followers) <> 0
        OR sum(followers_amount) <> 0
"""  # noqa: S608 - a constant, no input

# A follower pays the rule's price, whatever its own entries say: active ones are compared with the
# rule now, and those that have ended with the rule at their end, unless a worker has yet to come.
# An entry that was written after the end, with the price of the row, decides.
RULE_AT_END = """
           CASE WHEN subscription.price_state = 'follows'
                 AND subscription.ended_at <= (SELECT book_now())
                 AND (subscription.price <> entry.price
                      OR entry.recorded_at < subscription.ended_at)
                 AND coalesce(subscription.ended_at <= (SELECT copies_late_since(book_now())), true)
                THEN price_rule_at(subscription.service_id, subscription.plan_id,
                                   subscription.ended_at - interval '1 microsecond')
           END AS rule_at_end"""
# The row of a set that is listed and not copied.
WAITS = """
           coalesce(entry.id <@ (SELECT listed_late()), false) AS waits_for_copy"""
# Each subscription beside its last entry; NULL where there is no entry, or no row any more. Each
# table is read once or twice and joined by hashes: with a million rows and three million entries
# that takes seconds. An entry of a period alone has the price in force, where the copy may be late,
# and is left out; one of an end that had passed has the price at that end.
LEDGER = f"""
    SELECT coalesce(subscription.id, entry.subscription_id) AS id,
           subscription.id IS NOT NULL AS is_there, entry.id IS NOT NULL AS is_known,
           subscription.price, subscription.price_state, subscription.locked_until,
           entry.price AS recorded_price, entry.price_state AS recorded_price_state,
           entry.locked_until AS recorded_locked_until, {WAITS},
           {RULE_AT_END}
      FROM (SELECT max(id) FILTER (WHERE NOT period_only OR ended_at <= effective_at) AS id
              FROM services_ledgerentry GROUP BY subscription_id) last
      JOIN services_ledgerentry entry USING (id)
      FULL JOIN services_subscription subscription ON subscription.id = entry.subscription_id
"""  # noqa: S608 - a constant, no input
# A deleted subscription must have a last entry without a price; its state does not matter.
UNRECORDED = """(
    CASE WHEN is_there AND waits_for_copy THEN false
         WHEN is_there
         THEN NOT is_known OR (price_state, locked_until) IS DISTINCT FROM
                              (recorded_price_state, recorded_locked_until)
              OR price <> recorded_price AND price_state <> 'follows' OR price <> rule_at_end
              OR recorded_price IS NULL
         ELSE recorded_price IS NOT NULL END
)"""

# One statement, so one snapshot, and no writer can raise a false alarm: a catalogue edit becomes
# visible together with its repricing, a row together with its part of the total. One pass over the
# subscriptions gives prices and sums. Examples are read from pairs that differ, along (service_id,
# plan_id, id): with an equality and a LIMIT the planner would walk the primary key instead, for
# each of the pairs.
CHECK = f"""
WITH moment AS MATERIALIZED (SELECT book_clock() AS at), unrecorded AS MATERIALIZED (
    SELECT * FROM ({LEDGER}) compared WHERE {UNRECORDED}
), ledger AS (
    SELECT (SELECT count(*) FROM unrecorded) AS unrecorded,
           (SELECT coalesce(json_agg(example), '[]')
              FROM (SELECT id, price::text, price_state,
                           recorded_price::text, recorded_price_state
                      FROM unrecorded ORDER BY id LIMIT %s) example) AS unrecorded_examples
), service AS MATERIALIZED (
    SELECT id, list_price_at(id, book_now()) AS full_price FROM services_service
), plan AS MATERIALIZED (
    SELECT id, discount_at(id, book_now()) AS discount_percent FROM services_plan
), catalogue AS (
    SELECT service.id AS service_id, plan.id AS plan_id,
           price_rule(service.full_price, plan.discount_percent) AS rule_price,
           EXISTS (SELECT FROM services_cataloguevalue value
                    WHERE NOT started AND effective_at <= (SELECT book_now())
                      AND (value.service_id = service.id OR value.plan_id = plan.id))
           OR EXISTS (SELECT FROM services_repricing repricing
                    WHERE repricing.finished_at IS NULL AND repricing.kind <> 'rows'
                      AND coalesce(repricing.service_id, service.id) = service.id
                      AND coalesce(repricing.plan_id, plan.id) = plan.id) AS waits,
           EXISTS (SELECT FROM services_repricing repricing
                    WHERE repricing.finished_at IS NULL AND repricing.kind <> 'rows'
                      AND repricing.paused_at IS NOT NULL
                      AND coalesce(repricing.service_id, service.id) = service.id
                      AND coalesce(repricing.plan_id, plan.id) = plan.id) AS paused
      FROM service CROSS JOIN plan
), priced AS (
    SELECT service_id, plan_id, price, count(*) AS subscriptions,
           count(*) FILTER (WHERE {FOLLOWER}) AS followers,
           count(*) FILTER (WHERE {PAYS}) AS paid_subscriptions,
           count(*) FILTER (WHERE {PAYS} AND price_state = 'follows') AS paid_followers,
           count(*) FILTER (WHERE {ACTIVE} AND price_state = 'follows') AS active
      FROM services_subscription GROUP BY service_id, plan_id, price
), found AS (
    SELECT service_id, plan_id, sum(subscriptions)::bigint AS subscriptions,
           sum(subscriptions * price) AS amount, sum(followers)::bigint AS followers,
           sum(followers * price) AS followers_amount,
           sum(paid_subscriptions)::bigint AS paid_subscriptions,
           sum(paid_subscriptions * price) AS paid_amount,
           sum(paid_followers)::bigint AS paid_followers,
           sum(paid_followers * price) AS paid_followers_amount,
           coalesce(sum(active) FILTER (WHERE price <> rule_price), 0)::bigint AS differ
      FROM priced JOIN catalogue USING (service_id, plan_id)
     GROUP BY service_id, plan_id
), missing AS (
    SELECT service_id, plan_id, count(*) AS boundaries FROM ({BOUNDARIES_MISSING}) missing
     GROUP BY service_id, plan_id
), counted AS (
    SELECT service_id, plan_id, {", ".join(f"sum({name}) AS {name}" for name in COUNTED)}
      FROM (SELECT service_id, plan_id, {", ".join(COUNTED)}
              FROM services_subtotal
             UNION ALL
            SELECT service_id, plan_id, 0, 0, 0, 0, subscriptions, amount, followers,
                   followers_amount FROM services_paidboundary WHERE at <= {CLOCK}
             UNION ALL
            -- A pair without rows and without a subtotal may have boundaries.
            SELECT service_id, plan_id, 0, 0, 0, 0, 0, 0, 0, 0 FROM missing) part
     GROUP BY service_id, plan_id
)
SELECT service_id, plan_id,
       {", ".join(f"coalesce(found.{name}, 0)" for name in COUNTED)},
       {", ".join(f"coalesce(counted.{name}, 0)" for name in COUNTED)},
       coalesce(missing.boundaries, 0)::bigint,
       coalesce(differ, 0), coalesce(waits, false), coalesce(paused, false), examples,
       unrecorded, unrecorded_examples
  FROM found
  FULL JOIN counted USING (service_id, plan_id)
  LEFT JOIN missing USING (service_id, plan_id)
  LEFT JOIN catalogue USING (service_id, plan_id)
 CROSS JOIN LATERAL (
       SELECT coalesce(json_agg(example), '[]') AS examples
         FROM (SELECT subscription.id, company_name AS client, service.name AS service,
                      format('%%s %%s %%%%', plan_type, discount_percent) AS plan,
                      price::text, rule_price::text
                 FROM services_subscription subscription
                 JOIN clients_client client ON client.id = client_id
                 JOIN services_service service ON service.id = service_id
                 JOIN services_plan plan ON plan.id = plan_id
                WHERE differ > 0 AND NOT waits
                  AND (service_id, plan_id, subscription.id)
                      > (found.service_id, found.plan_id, 0)
                  AND (service_id, plan_id) <= (found.service_id, found.plan_id)
                  AND price <> rule_price AND {ACTIVE} AND price_state = 'follows'
                ORDER BY service_id, plan_id, subscription.id LIMIT %s) example) example
 RIGHT JOIN ledger ON true
 ORDER BY service_id, plan_id
"""  # noqa: S608 - a constant, no input

# Appends what is missing from the total, in one statement: rows that writers append meanwhile
# belong to a later snapshot, and the sum includes both.
MEND_TOTAL = f"""
WITH moment AS MATERIALIZED (SELECT book_clock() AS at), to_come AS (
    INSERT INTO services_paidboundary
           (service_id, plan_id, at, subscriptions, amount, followers, followers_amount)
    {BOUNDARIES_MISSING}
    RETURNING service_id, plan_id
), pair AS (
    SELECT service_id, plan_id, {", ".join(f"sum({name}) AS {name}" for name in COUNTED)}
      FROM (SELECT service_id, plan_id, 1 AS subscriptions, price AS amount,
                   follower AS followers, follower * price AS followers_amount,
                   pays AS paid_subscriptions, pays * price AS paid_amount,
                   pays * follows AS paid_followers, pays * follows * price AS paid_followers_amount
              FROM (SELECT *, ({FOLLOWER})::int AS follower, ({PAYS})::int AS pays,
                           (price_state = 'follows')::int AS follows
                      FROM services_subscription) row
             UNION ALL
            SELECT service_id, plan_id, {", ".join(f"-{name}" for name in COUNTED)}
              FROM services_subtotal
             UNION ALL
            SELECT service_id, plan_id, 0, 0, 0, 0, -subscriptions, -amount, -followers,
                   -followers_amount FROM services_paidboundary WHERE at <= {CLOCK}) part
     GROUP BY service_id, plan_id
), put_right AS (
    INSERT INTO services_subtotal (service_id, plan_id, {", ".join(COUNTED)})
    SELECT service_id, plan_id, {", ".join(COUNTED)} FROM pair
     WHERE {" OR ".join(f"{name} <> 0" for name in COUNTED)}
    RETURNING service_id, plan_id
)
SELECT count(*) FROM (SELECT service_id, plan_id FROM to_come
                       UNION
                      SELECT service_id, plan_id FROM put_right) pair
"""  # noqa: S608 - constants

# An entry for each of these ids that still differs. The client, service and plan of a deleted
# subscription are those of its last entry.
MEND_LEDGER = f"""
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        started_at, ended_at, author)
SELECT id, client_id, service_id, plan_id, price, coalesce(price_state, recorded_price_state),
       locked_until, started_at, ended_at, 'check_book'
  FROM (SELECT wanted.id, subscription.id IS NOT NULL AS is_there, entry.id IS NOT NULL AS is_known,
               coalesce(subscription.client_id, entry.client_id) AS client_id,
               coalesce(subscription.service_id, entry.service_id) AS service_id,
               coalesce(subscription.plan_id, entry.plan_id) AS plan_id,
               subscription.price, subscription.price_state, subscription.locked_until,
               coalesce(subscription.started_at, entry.started_at) AS started_at,
               coalesce(subscription.ended_at, entry.ended_at) AS ended_at,
               entry.price AS recorded_price, entry.price_state AS recorded_price_state,
               entry.locked_until AS recorded_locked_until, {WAITS},
           {RULE_AT_END}
          FROM unnest(%s::bigint[]) wanted (id)
          LEFT JOIN services_subscription subscription ON subscription.id = wanted.id
          LEFT JOIN LATERAL (SELECT * FROM services_ledgerentry
                              WHERE subscription_id = wanted.id
                                AND (NOT period_only OR ended_at <= effective_at)
                              ORDER BY subscription_id DESC, id DESC LIMIT 1) entry ON true
       ) compared
 WHERE {UNRECORDED} AND (is_there OR is_known)
"""  # noqa: S608 - a constant, no input
