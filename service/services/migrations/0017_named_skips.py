from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("services", "0016_ids_stay"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="skip",
            index=models.Index(
                condition=models.Q(("subscription_id__isnull", False)),
                fields=["repricing", "subscription_id"],
                name="skip_named",
            ),
        ),
    ]
