import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("services", "0062_entries_of_an_insert"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="applies",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="applied_by",
                to="services.job",
                verbose_name="the dry run whose lines somebody has seen",
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="file_name",
            field=models.CharField(db_default="", max_length=255, verbose_name="name of the file"),
        ),
        migrations.AddField(
            model_name="job",
            name="found",
            field=models.JSONField(
                null=True, verbose_name="how a file was understood, and what it moves"
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="is_kept",
            field=models.BooleanField(
                db_default=False, verbose_name="its file is kept after its end"
            ),
        ),
    ]
