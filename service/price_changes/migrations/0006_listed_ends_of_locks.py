import django.contrib.postgres.fields
from django.db import migrations, models

# As the other arrays of the list (0004).
STORAGE = "ALTER TABLE price_changes_listedrows ALTER COLUMN untils SET STORAGE EXTERNAL"


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0005_last_word_after_reverts")]
    operations = [
        migrations.AddField(
            model_name="listedrows",
            name="untils",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.DateTimeField(null=True), null=True, size=None
            ),
        ),
        migrations.RunSQL(STORAGE, reverse_sql=migrations.RunSQL.noop),
    ]
