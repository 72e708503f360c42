"""The question whether a change is held by its notice, for SQL.

plpgsql, as `brake_holds`: it is planned only where it is called.
"""

from django.db import migrations

NOTICE_HOLDS = """
CREATE FUNCTION notice_holds(change bigint, approved bigint) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN NOT coalesce((SELECT all_told FROM price_changes_alltold
                          WHERE change_id = change AND approval = approved
                          ORDER BY id DESC LIMIT 1), false);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0021_notices")]

    operations = [
        migrations.RunSQL(NOTICE_HOLDS, "DROP FUNCTION notice_holds(bigint, bigint)"),
    ]
