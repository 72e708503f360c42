"""The table of API keys, as djangorestframework-api-key 3 made it by five migrations.

A book of the first release has the table, and the first of those, which has the name of this one, is
recorded as applied: there it does nothing. The other four are recorded under names that nobody asks
for any more.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.CharField(
                        editable=False,
                        max_length=150,
                        primary_key=True,
                        serialize=False,
                        unique=True,
                    ),
                ),
                ("created", models.DateTimeField(auto_now_add=True, db_index=True)),
                (
                    "name",
                    models.CharField(
                        default=None,
                        help_text="The name of the program. It need not be unique.",
                        max_length=50,
                    ),
                ),
                ("revoked", models.BooleanField(default=False, editable=False)),
                (
                    "expiry_date",
                    models.DateTimeField(
                        blank=True,
                        help_text="From then on it is refused. Empty: never.",
                        null=True,
                        verbose_name="expires",
                    ),
                ),
                ("hashed_key", models.CharField(editable=False, max_length=150)),
                ("prefix", models.CharField(editable=False, max_length=8, unique=True)),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "ordering": ["-created"],
            },
        ),
    ]
