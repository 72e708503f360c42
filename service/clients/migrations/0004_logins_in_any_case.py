"""The login of a name in any case is looked up, and not searched for."""

from django.db import migrations

USERNAME = """
CREATE INDEX CONCURRENTLY IF NOT EXISTS auth_user_username_upper
ON auth_user (upper(username::text))
"""


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: clients go on being written

    dependencies = [("clients", "0003_search_by_trigrams")]

    operations = [migrations.RunSQL(USERNAME, "DROP INDEX IF EXISTS auth_user_username_upper")]
