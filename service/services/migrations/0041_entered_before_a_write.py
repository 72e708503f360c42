"""A writer who opens a subscription again, or deletes one, first enters what it paid unwritten.

The feed kept the price of before a list price up to the end of a subscription that was opened again
before the worker came: its opening was the newest entry then. One that was deleted before the
worker of a change for new subscriptions only came had no entry of what kept it, nor of what had
moved it before. And a lock that had come to its end before another write, or a deletion, never
ended in the feed. The first of two changes of one instant may be entered before the second is
decided: then the second is owed, though the price is that of before the instant.

Replaces `enter_moves` (0035), `enter_kept`, `subscription_written` and `subscription_left` (0034).

Replaced: `enter_moves`, in 0052, `enter_lock_ends`, in 0043, `subscription_written`, in 0044, and
`subscription_left`, in 0045. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
before_a_write = import_module("services.migrations.0034_moves_before_a_write")

# The end of the last lock of each subscription: it followed from then on.
LOCK_ENDS = """
CREATE FUNCTION enter_lock_ends(ids bigint[], at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_ledgerentry
           (subscription_id, client_id, service_id, plan_id, price, price_state, started_at,
            ended_at, effective_at, recorded_at)
    SELECT newest.subscription_id, newest.client_id, newest.service_id, newest.plan_id,
           price_rule_at(newest.service_id, newest.plan_id, newest.locked_until), 'follows',
           period.started_at, period.ended_at, newest.locked_until, (SELECT book_clock())
      FROM unnest(ids) asked (id)
     CROSS JOIN LATERAL (
           SELECT * FROM services_ledgerentry
            WHERE subscription_id = asked.id AND effective_at <= at AND NOT period_only
            ORDER BY effective_at DESC, id DESC LIMIT 1) newest
     CROSS JOIN LATERAL period_known(asked.id, 'infinity') period
     WHERE newest.price_state = 'locked' AND newest.price IS NOT NULL
       AND newest.locked_until > newest.effective_at AND newest.locked_until <= at
       AND (period.ended_at IS NULL OR newest.locked_until < period.ended_at)
     ORDER BY newest.subscription_id;
END $$;
"""
MOVES = replaced(
    import_module("services.migrations.0035_moves_by_pair").MOVES,
    (
        """                WHERE subscription_id = asked.id AND effective_at <= enter_moves.at
                  AND NOT period_only
                ORDER BY effective_at DESC, id DESC LIMIT 1) entry
""",
        """                WHERE subscription_id = asked.id AND effective_at <= enter_moves.at
                  AND NOT period_only
                ORDER BY effective_at DESC, id DESC LIMIT 1) entry
         CROSS JOIN LATERAL (
               SELECT NOT EXISTS (SELECT FROM services_ledgerentry earlier
                                   WHERE earlier.subscription_id = asked.id
                                     AND earlier.id < entry.id) AS is_first) came
""",
    ),
    (
        "        SELECT entry.*\n",
        "        SELECT entry.*, is_first\n",
    ),
    (
        "move.effective_at, ruled.price\n",
        "move.effective_at, ruled.price, ruled.before,\n               move.position\n",
    ),
    (
        """           AND ruled.price <> ruled.before
""",
        "",
    ),
    (
        """
     WHERE move.effective_at > newest.effective_at
""",
        """
     WHERE CASE WHEN newest.change_id IS NOT NULL AND move.effective_at = newest.effective_at
                THEN move.price <> newest.price
                ELSE move.effective_at > newest.effective_at AND move.price <> move.before END
""",
    ),
    (
        """       AND NOT (newest.change_id IS NULL AND move.effective_at <= newest.recorded_at)
""",
        """       AND NOT (newest.is_first AND move.effective_at <= newest.recorded_at
                AND move.position < newest.id)
""",
    ),
)
ENTER = replaced(
    before_a_write.ENTER,
    (
        """            PERFORM enter_moves(ARRAY[subscription],
""",
        """            PERFORM enter_lock_ends(ARRAY[subscription],
                                    entry.effective_at - interval '1 microsecond');
            PERFORM enter_moves(ARRAY[subscription],
""",
    ),
    (
        """               entry.price_state, entry.locked_until, one.started_at, one.ended_at,
""",
        """               entry.price_state, entry.locked_until,
               CASE WHEN one.id IS NULL THEN period.started_at ELSE one.started_at END,
               CASE WHEN one.id IS NULL THEN period.ended_at ELSE one.ended_at END,
""",
    ),
    (
        """          FROM services_subscription one
         WHERE one.id = entry.subscription_id AND NOT EXISTS (
""",
        """          FROM period_known(entry.subscription_id, 'infinity') period
          LEFT JOIN services_subscription one ON one.id = entry.subscription_id  -- or is deleted
         WHERE NOT EXISTS (
""",
    ),
)
LEFT = replaced(
    before_a_write.LEFT,
    (
        """        IF copies_late_since(clock) IS NOT NULL AND NOT keeps_late(clock) THEN
            PERFORM enter_moves(array_agg(id), clock) FROM old_rows;
        END IF;
""",
        """        IF copies_late_since(clock) IS NOT NULL THEN
            PERFORM enter_lock_ends(array_agg(id), clock) FROM old_rows;
            IF keeps_late(clock) THEN
                PERFORM enter_kept(id, least(clock, ended_at - interval '1 microsecond'))
                   FROM (SELECT id, ended_at FROM old_rows ORDER BY id) gone;
            END IF;
            PERFORM enter_moves(array_agg(id), clock) FROM old_rows;
        END IF;
""",
    ),
)
WRITTEN = replaced(
    before_a_write.WRITTEN,
    (
        """        PERFORM enter_moves(array_agg(id), clock)
           FROM (SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                   FROM new_rows
                 EXCEPT
                 SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                   FROM old_rows) changed;
""",
        """        -- A lock that has come to its end and stays as it is is left to the workers.
        PERFORM enter_lock_ends(array_agg(id), clock)
           FROM (SELECT id FROM old_rows WHERE price_state = 'locked' AND locked_until <= clock
                 EXCEPT
                 SELECT id FROM new_rows
                  WHERE price_state = 'locked' AND locked_until <= clock) released;
        PERFORM enter_moves(array_agg(id), clock)
           FROM (SELECT id FROM (
                 SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                   FROM new_rows
                 EXCEPT
                 SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                   FROM old_rows) written
                  UNION
                 -- Those that are opened again: of the gap there is nothing to enter.
                 (SELECT id FROM new_rows WHERE ended_at IS NULL OR ended_at > clock
                  EXCEPT
                  SELECT id FROM old_rows WHERE ended_at IS NULL OR ended_at > clock)) changed;
""",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0040_discounts_of_one_plan")]

    # Not to be reversed, as those before it.
    operations = [
        migrations.RunSQL(LOCK_ENDS),
        migrations.RunSQL(MOVES),
        migrations.RunSQL(ENTER),
        migrations.RunSQL(LEFT),
        migrations.RunSQL(WRITTEN),
    ]
