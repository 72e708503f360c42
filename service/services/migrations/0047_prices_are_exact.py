"""Validate what `0046_values_that_do_not_fit` has put on the subscriptions, while writers write."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # each lets its lock go when it has read the table

    dependencies = [("services", "0046_values_that_do_not_fit")]

    operations = [
        migrations.RunSQL(
            f"ALTER TABLE services_subscription VALIDATE CONSTRAINT {name}",
            migrations.RunSQL.noop,
        )
        for name in ("subscription_price_not_negative", "subscription_price_exact")
    ]
