from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: the ledger is as big as the book, and bigger later

    dependencies = [("services", "0006_first_entries")]

    operations = [
        AddIndexConcurrently(
            model_name="ledgerentry",
            index=models.Index(
                name="ledger_client",
                fields=["client_id", "subscription_id"],
                condition=models.Q(change_id=None),
            ),
        )
    ]
