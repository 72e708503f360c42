"""The members of a set whose filter asks for what has no history, as it was at the approval.

A set approved before this migration has no members: it moves those that match at its instant.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0014_followers_have_no_price_of_their_own")]

    operations = [
        migrations.CreateModel(
            name="SetMember",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "change_id",
                        "subscription_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("change_id", models.BigIntegerField()),
                ("subscription_id", models.BigIntegerField()),
            ],
        ),
        migrations.AddField(
            model_name="pricechange",
            name="has_members",
            field=models.BooleanField(db_default=False, editable=False),
        ),
    ]
