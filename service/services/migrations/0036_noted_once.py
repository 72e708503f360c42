"""A past that is noted already is not noted again for each entry.

Each entry of a set fired the trigger that notes since when the past has changed, and all but the
first found it noted. Now the condition of the trigger finds that, before a function is called, and
a chunk of a set notes its instant before it writes: 2 µs less for each row, of about 20.

Replaces the trigger `ledger_backdated` (0029).
"""

from django.db import migrations

BACKDATED = """
DROP TRIGGER ledger_backdated ON services_ledgerentry;
CREATE TRIGGER ledger_backdated AFTER INSERT ON services_ledgerentry
FOR EACH ROW WHEN (NEW.effective_at < NEW.recorded_at
                   AND (NEW.price_state <> 'follows' OR NEW.change_id IS NULL)
                   AND (nullif(current_setting('pricebook.backdated', true), '')::timestamptz
                        <= NEW.effective_at) IS NOT TRUE)
EXECUTE FUNCTION ledger_backdated();
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0035_moves_by_pair")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(BACKDATED)]
