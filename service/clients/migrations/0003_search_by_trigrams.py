from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations

EXTENSION = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE EXCEPTION 'The search needs the extension pg_trgm, which % can''t create here: %',
        current_user, SQLERRM
        USING HINT = 'Install PostgreSQL''s contrib package if it is missing, let a superuser run '
            'CREATE EXTENSION pg_trgm in this database, and migrate again.';
END $$
"""


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: clients go on being written

    dependencies = [("clients", "0002_read_by_name_and_email")]

    operations = [
        migrations.RunSQL(EXTENSION, migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="client",
            index=GinIndex(
                name="client_name_trigrams", fields=["company_name"], opclasses=["gin_trgm_ops"]
            ),
        ),
    ]
