from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("services", "0059_jobs_of_imports")]

    operations = [
        migrations.CreateModel(
            name="ImportMapping",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=50, unique=True)),
                ("reading", models.JSONField()),
            ],
            options={"ordering": ("name",)},
        ),
    ]
