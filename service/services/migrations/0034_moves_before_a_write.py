"""A writer of a subscription first enters what the catalogue has moved, if no worker has done so.

An entry of a person's, behind a move of the catalogue that no worker had copied, was the newest
one, and so the worker saw nothing to enter: the feed had the price of the time before the move, up
to the write. So a writer of a price, a state, a client, a service or a plan enters the moves of
those who followed until then, as `enter_kept` enters what a change for new subscriptions only has
kept, and between these the moves too. So does a deletion.

Replaces `subscription_written` (0031), `enter_kept` (0024) and `subscription_left` (0022).

Replaced: `enter_moves`, in 0035; `enter_kept`, `subscription_written` and `subscription_left`, in
0041. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced

# The moves since the newest entry of each subscription that follows, by changes that are late and
# have no entry of it. Its entries already say what kept it, and when it was let go.
MOVES = """
CREATE FUNCTION enter_moves(ids bigint[], at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := copies_late_since(at);
BEGIN
    IF since IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO services_ledgerentry
           (subscription_id, client_id, service_id, plan_id, price, price_state, started_at,
            ended_at, effective_at, recorded_at, change_id)
    SELECT newest.subscription_id, newest.client_id, newest.service_id, newest.plan_id,
           price_rule_at(newest.service_id, newest.plan_id, move.effective_at), 'follows',
           period.started_at, period.ended_at, move.effective_at, book_clock(), move.change_id
      FROM unnest(ids) asked (id)
     CROSS JOIN LATERAL (
           SELECT * FROM services_ledgerentry
            WHERE subscription_id = asked.id AND effective_at <= enter_moves.at
              AND NOT period_only
            ORDER BY effective_at DESC, id DESC LIMIT 1) newest
     CROSS JOIN LATERAL period_known(asked.id, 'infinity') period
      JOIN services_cataloguevalue move
        ON move.service_id = newest.service_id OR move.plan_id = newest.plan_id
     WHERE newest.price_state = 'follows' AND newest.price IS NOT NULL
       AND move.effective_at > newest.effective_at AND move.effective_at >= since
       AND move.effective_at <= enter_moves.at
       -- Written with a start in the past, it came with the values that were there by then.
       AND NOT (newest.change_id IS NULL AND move.effective_at <= newest.recorded_at)
       AND (period.ended_at IS NULL OR move.effective_at < period.ended_at)
       AND move.change_id IS NOT NULL AND NOT (move.for_new_only AND move.value IS NOT NULL)
       AND NOT move.undone @> move.effective_at AND NOT coalesce(held, value_is_held(move.id))
       AND price_rule_at(newest.service_id, newest.plan_id, move.effective_at) <>
           price_rule_at(newest.service_id, newest.plan_id,
                         move.effective_at - interval '1 microsecond')
       AND NOT EXISTS (
           SELECT FROM services_cataloguevalue later
            WHERE later.effective_at = move.effective_at AND later.id > move.id
              AND (later.service_id = move.service_id OR later.plan_id = move.plan_id)
              AND (later.value IS NULL AND later.undoes_id = move.undoes_id
                   OR later.value IS NOT NULL AND NOT later.undone @> later.effective_at
                      AND NOT coalesce(later.held, value_is_held(later.id))))
       AND NOT EXISTS (
           SELECT FROM services_ledgerentry known
            WHERE known.change_id = move.change_id AND known.subscription_id = asked.id)
       AND NOT EXISTS (
           SELECT FROM services_movedfollowers known
            WHERE known.change_id = move.change_id AND asked.id BETWEEN first_id AND last_id
              AND asked.id = ANY (subscription_ids))
     ORDER BY newest.subscription_id, move.effective_at, move.id;
END $$;
"""
ENTER = import_module("services.migrations.0024_kept_and_held").ENTER
ENTER = replaced(
    ENTER[: ENTER.index("$$;\n") + len("$$;\n")],
    ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    (
        """    FOR entry IN SELECT * FROM kept_entries(subscription, at) LOOP
""",
        """    FOR entry IN SELECT * FROM kept_entries(subscription, at) LOOP
        IF entry.price_state = 'locked' THEN
            PERFORM enter_moves(ARRAY[subscription],
                                entry.effective_at - interval '1 microsecond');
        END IF;
""",
    ),
)
LEFT = replaced(
    import_module("services.migrations.0022_periods").LEFT,
    (
        """    IF TG_OP = 'DELETE' THEN
""",
        """    IF TG_OP = 'DELETE' THEN
        IF copies_late_since(clock) IS NOT NULL AND NOT keeps_late(clock) THEN
            PERFORM enter_moves(array_agg(id), clock) FROM old_rows;
        END IF;
""",
    ),
)
WRITTEN = replaced(
    import_module("services.migrations.0031_said_of_what_comes_later").WRITTEN,
    (
        """    keeps boolean :=""",
        """    late boolean;
    keeps boolean :=""",
    ),
    (
        """    -- The update in these statements fires this function again: it has""",
        """    late := TG_OP = 'UPDATE' AND change IS NULL AND copies_late_since(clock) IS NOT NULL;
    IF late THEN
        PERFORM enter_moves(array_agg(id), clock)
           FROM (SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                   FROM new_rows
                 EXCEPT
                 SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                   FROM old_rows) changed;
    END IF;

    -- The update in these statements fires this function again: it has""",
    ),
    (
        """         WHERE NOT (same_terms AND same_period AND price_now = old_price)
         ORDER BY id;
""",
        """         WHERE NOT (same_terms AND same_period AND price_now = old_price)
           -- A follower is given what the moves say that have just been entered.
           AND (late AND same_terms AND same_period AND state_now = 'follows'
                AND price_now = (
                    SELECT entered.price FROM services_ledgerentry entered
                     WHERE entered.subscription_id = priced.id AND NOT entered.period_only
                     ORDER BY entered.effective_at DESC, entered.id DESC LIMIT 1)) IS NOT TRUE
         ORDER BY id;
""",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0033_kept_again")]

    # Not to be reversed, as those before it.
    operations = [
        migrations.RunSQL(MOVES),
        migrations.RunSQL(ENTER),
        migrations.RunSQL(LEFT),
        migrations.RunSQL(WRITTEN),
    ]
