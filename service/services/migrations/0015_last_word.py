"""Whether a price change has the last word on a subscription's price.

Replaced: `has_last_word` by price_changes 0005, as price changes know what was taken back;
price_changes/schema.sql has what stands now.
"""

from django.db import migrations

# In parallel, as its callers read many rows.
HAS_LAST_WORD = """
CREATE FUNCTION has_last_word(change bigint, subscription bigint) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT change_id IS NOT DISTINCT FROM change FROM services_ledgerentry
     WHERE subscription_id = subscription ORDER BY id DESC LIMIT 1
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0014_search_by_trigrams")]
    operations = [
        migrations.RunSQL(HAS_LAST_WORD, reverse_sql="DROP FUNCTION has_last_word(bigint, bigint)")
    ]
