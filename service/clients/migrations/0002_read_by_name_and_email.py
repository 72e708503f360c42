from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

# As `email__iexact` compares: the login of an e-mail is looked up, not searched for.
EMAIL = """
CREATE INDEX CONCURRENTLY IF NOT EXISTS auth_user_email_upper ON auth_user (upper(email::text))
"""


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: clients go on being written

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("clients", "0001_initial"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="client",
            index=models.Index(name="client_company_name", fields=["company_name", "id"]),
        ),
        migrations.RunSQL(EMAIL, "DROP INDEX IF EXISTS auth_user_email_upper"),
    ]
