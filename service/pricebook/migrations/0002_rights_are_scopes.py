"""The rights of a key are among its scopes now, in the table of the keys.

The table `pricebook_apikeyrights` stays, though nothing here asks it: processes of the first
release ask it at each write of a key, and they run until an upgrade is done. A later release can
drop it.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("pricebook", "0001_rights_and_answers"),
        ("rest_framework_api_key", "0003_scopes_of_earlier_keys"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.DeleteModel("ApiKeyRights")]
        )
    ]
