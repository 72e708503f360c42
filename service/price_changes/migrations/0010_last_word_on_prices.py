"""The last word on a price: an entry of a start or an end is none, as nobody touched the price.

A row that a change has moved can be taken back, though the subscription was given an end since.

Replaced: `has_last_word`, in 0013. price_changes/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("price_changes.migrations.0005_last_word_after_reverts").HAS_LAST_WORD
HAS_LAST_WORD = BEFORE.replace(
    "WHERE subscription_id = subscription ORDER BY",
    "WHERE subscription_id = subscription AND NOT period_only\n     ORDER BY",
).replace(
    "WHERE subscription_id = subscription\n           AND id <",
    "WHERE subscription_id = subscription AND NOT period_only\n           AND id <",
)


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0009_decided_values"), ("services", "0022_periods")]
    operations = [migrations.RunSQL(HAS_LAST_WORD, reverse_sql=BEFORE)]
