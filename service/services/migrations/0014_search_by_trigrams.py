from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: the catalogue goes on being edited

    dependencies = [
        ("clients", "0003_search_by_trigrams"),  # the extension
        ("services", "0013_skip_by_change"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="service",
            index=GinIndex(
                name="service_name_trigrams", fields=["name"], opclasses=["gin_trgm_ops"]
            ),
        )
    ]
