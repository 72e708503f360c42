"""A change has the last word again where those that came after it have been taken back.

Replaced: `has_last_word`, in 0010. price_changes/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("services.migrations.0015_last_word").HAS_LAST_WORD.replace(
    "CREATE", "CREATE OR REPLACE"
)

# An entry of a revert says that the row is as it was before the change that is taken back: the
# word is that of the entry before. Each turn goes to an entry that was written earlier.
HAS_LAST_WORD = """
CREATE OR REPLACE FUNCTION has_last_word(change bigint, subscription bigint) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    word bigint;
    undone bigint;
BEGIN
    SELECT change_id INTO word FROM services_ledgerentry
     WHERE subscription_id = subscription ORDER BY id DESC LIMIT 1;
    WHILE word <> change LOOP
        SELECT reverts_id INTO undone FROM price_changes_pricechange WHERE id = word;
        SELECT change_id INTO word FROM services_ledgerentry
         WHERE subscription_id = subscription
           AND id < (SELECT min(id) FROM services_ledgerentry
                      WHERE change_id = undone AND subscription_id = subscription)
         ORDER BY id DESC LIMIT 1;
    END LOOP;
    RETURN coalesce(word = change, false);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0004_listed_rows"), ("services", "0015_last_word")]
    operations = [migrations.RunSQL(HAS_LAST_WORD, reverse_sql=BEFORE)]
