"""The newest block up to a place is found by where it ends."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("services", "0066_lives")]

    operations = [
        AddIndexConcurrently(
            "sealedblock", models.Index(name="sealed_end", fields=["last_xact", "last_id"])
        ),
    ]
