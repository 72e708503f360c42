from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0022_notice_holds"), ("services", "0066_lives")]

    operations = [
        migrations.AddField(
            "pricechange", "preview_life", models.BigIntegerField(editable=False, null=True)
        ),
    ]
