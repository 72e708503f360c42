"""The last word on a price is that of the latest instant, and not what was written last.

A worker that comes late enters a set behind what has been said since, which it says once more.
"""

from django.db import migrations

HAS_LAST_WORD = """
CREATE OR REPLACE FUNCTION has_last_word(change bigint, subscription bigint) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    word record;
BEGIN
    SELECT change_id, effective_at, id INTO word FROM services_ledgerentry
     WHERE subscription_id = subscription AND NOT period_only
     ORDER BY effective_at DESC, id DESC LIMIT 1;
    WHILE word.change_id <> change LOOP
        -- A revert leaves the word to what came before all that it has taken back.
        SELECT entry.change_id, entry.effective_at, entry.id INTO word
          FROM services_ledgerentry entry
         WHERE subscription_id = subscription AND NOT period_only
           AND (entry.effective_at, entry.id) < (word.effective_at, word.id)
           AND (entry.effective_at, entry.id) < (
               SELECT moved.effective_at, moved.id FROM services_ledgerentry moved
                 JOIN price_changes_pricechange revert ON reverts_id = moved.change_id
                WHERE revert.id = word.change_id AND moved.subscription_id = subscription
                ORDER BY moved.effective_at, moved.id LIMIT 1)
         ORDER BY entry.effective_at DESC, entry.id DESC LIMIT 1;
    END LOOP;
    RETURN coalesce(word.change_id = change, false);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("price_changes", "0012_reverted_early"),
        ("services", "0025_known_at"),
    ]
    # Not to be reversed, as those that it follows.
    operations = [migrations.RunSQL(HAS_LAST_WORD)]
