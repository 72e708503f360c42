"""Asks the catalogue once for each service and plan, when a person's write enters missed moves.

A write of many rows while a list price of theirs was not copied asked for the rule's price three
times for each row.

Replaces `enter_moves` (0034).

Replaced: `enter_moves`, in 0041. services/schema.sql has what stands now.
"""

from django.db import migrations

# The moves since the newest entry of each subscription that follows, by changes that are late and
# have no entry of it. Its entries already say what kept it, and when it was let go.
MOVES = """
CREATE OR REPLACE FUNCTION enter_moves(ids bigint[], at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := copies_late_since(at);
BEGIN
    IF since IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO services_ledgerentry
           (subscription_id, client_id, service_id, plan_id, price, price_state, started_at,
            ended_at, effective_at, recorded_at, change_id)
    WITH newest AS MATERIALIZED (
        SELECT entry.*
          FROM unnest(ids) asked (id)
         CROSS JOIN LATERAL (
               SELECT * FROM services_ledgerentry
                WHERE subscription_id = asked.id AND effective_at <= enter_moves.at
                  AND NOT period_only
                ORDER BY effective_at DESC, id DESC LIMIT 1) entry
         WHERE entry.price_state = 'follows' AND entry.price IS NOT NULL
    ), move AS MATERIALIZED (
        SELECT pair.*, move.id, move.change_id, move.effective_at, ruled.price
          FROM (SELECT DISTINCT service_id, plan_id FROM newest) pair
          JOIN services_cataloguevalue move
            ON move.service_id = pair.service_id OR move.plan_id = pair.plan_id
         CROSS JOIN LATERAL (
               SELECT price_rule_at(pair.service_id, pair.plan_id, move.effective_at) AS price,
                      price_rule_at(pair.service_id, pair.plan_id,
                                    move.effective_at - interval '1 microsecond') AS before
               OFFSET 0) ruled
         WHERE move.effective_at >= since AND move.effective_at <= enter_moves.at
           AND move.change_id IS NOT NULL AND NOT (move.for_new_only AND move.value IS NOT NULL)
           AND NOT move.undone @> move.effective_at AND NOT coalesce(held, value_is_held(move.id))
           AND ruled.price <> ruled.before
           AND NOT EXISTS (
               SELECT FROM services_cataloguevalue later
                WHERE later.effective_at = move.effective_at AND later.id > move.id
                  AND (later.service_id = move.service_id OR later.plan_id = move.plan_id)
                  AND (later.value IS NULL AND later.undoes_id = move.undoes_id
                       OR later.value IS NOT NULL AND NOT later.undone @> later.effective_at
                          AND NOT coalesce(later.held, value_is_held(later.id))))
    )
    SELECT newest.subscription_id, newest.client_id, newest.service_id, newest.plan_id,
           move.price, 'follows', period.started_at, period.ended_at, move.effective_at,
           (SELECT book_clock()), move.change_id
      FROM newest
      JOIN move USING (service_id, plan_id)
     CROSS JOIN LATERAL period_known(newest.subscription_id, 'infinity') period
     WHERE move.effective_at > newest.effective_at
       -- Written with a start in the past, it came with the values that were there by then.
       AND NOT (newest.change_id IS NULL AND move.effective_at <= newest.recorded_at)
       AND (period.ended_at IS NULL OR move.effective_at < period.ended_at)
       AND NOT EXISTS (
           SELECT FROM services_ledgerentry known
            WHERE known.change_id = move.change_id
              AND known.subscription_id = newest.subscription_id)
       AND NOT EXISTS (
           SELECT FROM services_movedfollowers known
            WHERE known.change_id = move.change_id
              AND newest.subscription_id BETWEEN first_id AND last_id
              AND newest.subscription_id = ANY (subscription_ids))
     ORDER BY newest.subscription_id, move.effective_at, move.id;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0034_moves_before_a_write")]
    operations = [migrations.RunSQL(MOVES, migrations.RunSQL.noop)]
