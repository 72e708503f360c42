"""Why a planned change was rejected: a cancelled one with a reason."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0019_who_accepted")]

    operations = [
        migrations.AddField(
            "pricechange", "rejected_because", models.CharField(db_default="", max_length=1000)
        ),
    ]
