"""The ledger's first entry of each subscription that was there before the ledger."""

from django.db import migrations

FILL = """
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, author)
SELECT id, client_id, service_id, plan_id, price, price_state, 'migration'
  FROM services_subscription
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0005_ledger")]
    operations = [migrations.RunSQL(FILL, reverse_sql=migrations.RunSQL.noop)]
