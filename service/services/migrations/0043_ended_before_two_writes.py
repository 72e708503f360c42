"""The end of a lock is entered though the subscription was written since, and the lock left there.

A subscription whose lock had ended was moved to another client before a worker came, and then
negotiated, locked anew or deleted: its last entry came after the end of the lock, so that end was
in no feed, nor was what the catalogue has moved since. Now the end is entered, and such a write
once more, as of a follower, as the workers do (`lock_ends.RELEASED`).

Replaces `enter_lock_ends` (0041).
"""

from django.db import migrations

LOCK_ENDS = """
CREATE OR REPLACE FUNCTION enter_lock_ends(ids bigint[], at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    ended record;
    entry services_ledgerentry;
BEGIN
    FOR ended IN
        SELECT newest.subscription_id, newest.locked_until, period.started_at, period.ended_at
          FROM unnest(ids) asked (id)
         CROSS JOIN LATERAL (
               SELECT * FROM services_ledgerentry
                WHERE subscription_id = asked.id AND effective_at <= enter_lock_ends.at
                  AND NOT period_only
                ORDER BY effective_at DESC, id DESC LIMIT 1) newest
         CROSS JOIN LATERAL period_known(asked.id, 'infinity') period
         WHERE newest.price_state = 'locked' AND newest.price IS NOT NULL
           AND newest.locked_until <= enter_lock_ends.at
           AND (period.ended_at IS NULL OR newest.locked_until < period.ended_at)
         ORDER BY newest.subscription_id
    LOOP
        -- How it stood when the lock ended, and what was written since with the lock still there.
        FOR entry IN
            (SELECT * FROM services_ledgerentry
              WHERE subscription_id = ended.subscription_id AND NOT period_only
                AND effective_at < ended.locked_until
              ORDER BY effective_at DESC, id DESC LIMIT 1)
             UNION ALL
            (SELECT * FROM services_ledgerentry
              WHERE subscription_id = ended.subscription_id AND NOT period_only
                AND (price_state, locked_until) = ('locked', ended.locked_until)
                AND effective_at >= ended.locked_until AND effective_at <= enter_lock_ends.at
                AND (ended.ended_at IS NULL OR effective_at < ended.ended_at)
              ORDER BY effective_at, id)
        LOOP
            IF entry.effective_at >= ended.locked_until THEN
                PERFORM enter_moves(ARRAY[ended.subscription_id],
                                    entry.effective_at - interval '1 microsecond');
            ELSIF (entry.price_state, entry.locked_until)
                    IS DISTINCT FROM ('locked', ended.locked_until) THEN
                CONTINUE;  -- the lock was written when its end had passed
            END IF;
            entry.effective_at := greatest(entry.effective_at, ended.locked_until);
            INSERT INTO services_ledgerentry
                   (subscription_id, client_id, service_id, plan_id, price, price_state, started_at,
                    ended_at, effective_at, recorded_at, author, source, external_id)
            VALUES (entry.subscription_id, entry.client_id, entry.service_id, entry.plan_id,
                    price_rule_at(entry.service_id, entry.plan_id, entry.effective_at), 'follows',
                    ended.started_at, ended.ended_at, entry.effective_at, (SELECT book_clock()),
                    CASE WHEN entry.effective_at > ended.locked_until THEN entry.author ELSE '' END,
                    CASE WHEN entry.effective_at > ended.locked_until THEN entry.source END,
                    CASE WHEN entry.effective_at > ended.locked_until THEN entry.external_id END);
        END LOOP;
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0042_room_for_a_copy")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(LOCK_ENDS)]
