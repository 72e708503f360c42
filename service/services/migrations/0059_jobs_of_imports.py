"""Imports of files as jobs: how a file is to be read, and the kinds of records that it wrote."""

from django.db import migrations, models

KINDS = ["clients", "services", "plans", "subscriptions", "import", "history"]


class Migration(migrations.Migration):
    dependencies = [("services", "0058_names_alike")]

    operations = [
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(
                choices=[(kind, kind.capitalize()) for kind in KINDS], max_length=13
            ),
        ),
        migrations.AddField(model_name="job", name="options", field=models.JSONField(null=True)),
        migrations.AddField(
            model_name="jobresult",
            name="kind",
            field=models.CharField(db_default="", max_length=13),
        ),
    ]
