from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: subscriptions go on being written

    dependencies = [("services", "0011_permission_to_set_price_states")]

    operations = [
        AddIndexConcurrently(
            model_name="subscription",
            index=models.Index(name="subscription_started", fields=["started_at", "id"]),
        ),
        AddIndexConcurrently(
            model_name="subscription",
            index=models.Index(
                name="subscription_ended",
                fields=["ended_at", "id"],
                condition=models.Q(ended_at__isnull=False),
            ),
        ),
    ]
