"""The person who has approved an edit by SQL or the ORM after it had moved prices."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0018_brake")]

    operations = [
        migrations.AddField(
            "pricechange", "accepted_by", models.CharField(db_default="", max_length=150)
        ),
        migrations.AddField("pricechange", "accepted_at", models.DateTimeField(null=True)),
    ]
