"""The rights of a key are among its scopes now, in the table of the keys."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("pricebook", "0001_rights_and_answers"),
        ("rest_framework_api_key", "0003_scopes_of_earlier_keys"),
    ]

    operations = [migrations.DeleteModel("ApiKeyRights")]
