"""A subscription keeps its id: its history in the ledger stands under it."""

from django.db import migrations

# Looked at by no update that does not name `id`.
SUBSCRIPTION_KEEPS_ID = """
CREATE FUNCTION subscription_keeps_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Subscription % keeps its id: the ledger knows it by that. It can''t become %.',
                    OLD.id, NEW.id
          USING ERRCODE = 'restrict_violation',
                HINT = 'Delete it and insert another one; its history stays under its own id.';
END $$;

CREATE TRIGGER subscription_keeps_id BEFORE UPDATE OF id ON services_subscription
FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION subscription_keeps_id();
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0015_last_word")]
    operations = [
        migrations.RunSQL(
            SUBSCRIPTION_KEEPS_ID,
            reverse_sql="DROP TRIGGER subscription_keeps_id ON services_subscription;"
            "DROP FUNCTION subscription_keeps_id();",
        )
    ]
