"""The last word on a price is that of the latest instant, and not what was written last.

A worker that comes late enters a set behind what has been said since, which it says once more; and
then some change of the catalogue may say no more than the set.

Replaced: `has_last_word`, in 0014. price_changes/schema.sql has what stands now.
"""

from django.db import migrations

HAS_LAST_WORD = """
CREATE OR REPLACE FUNCTION has_last_word(change bigint, subscription bigint) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    word record;
    undone bigint;
    since timestamptz;  -- of the first entry that a revert takes back: the word is the one before
    number bigint;
BEGIN
    FOR word IN
        SELECT change_id, effective_at, id
          FROM (SELECT told.*, lag(price) OVER written IS NULL OR
                       (client_id, service_id, plan_id, price, price_state, locked_until)
                       IS DISTINCT FROM
                       (lag(client_id) OVER written, lag(service_id) OVER written,
                        lag(plan_id) OVER written, lag(price) OVER written,
                        lag(price_state) OVER written, lag(locked_until) OVER written) AS says
                  FROM (SELECT DISTINCT ON (effective_at, change_id, author) *
                          FROM services_ledgerentry
                         WHERE subscription_id = subscription AND NOT period_only
                         ORDER BY effective_at, change_id, author, id DESC) told
                WINDOW written AS (ORDER BY effective_at, id)) entry
         WHERE says ORDER BY effective_at DESC, id DESC
    LOOP
        CONTINUE WHEN (word.effective_at, word.id) >= (since, number);
        IF word.change_id = change THEN
            RETURN true;
        END IF;
        SELECT reverts_id INTO undone FROM price_changes_pricechange WHERE id = word.change_id;
        SELECT effective_at, max(id) INTO since, number FROM services_ledgerentry
         WHERE change_id = undone AND subscription_id = subscription
         GROUP BY effective_at ORDER BY effective_at LIMIT 1;
        EXIT WHEN since IS NULL;
    END LOOP;
    RETURN false;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("price_changes", "0012_reverted_early"),
        ("services", "0025_known_at"),
    ]
    # Not to be reversed, as those that it follows.
    operations = [migrations.RunSQL(HAS_LAST_WORD)]
