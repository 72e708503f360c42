"""Where in the ledger an instant lies: what was written from then on, without an index for it."""

from django.db import migrations

# Ids and `recorded_at` are drawn together, entry by entry, so one grows with the other but for
# sessions that draw at the same moment: a second earlier is early enough for them. A search by
# halves: 30 entries are read of a billion.
LEDGER_ID_AT = """
CREATE FUNCTION ledger_id_at(at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint := 0;
    high bigint;
    middle bigint;
    recorded timestamptz;
BEGIN
    SELECT coalesce(max(id), 0) + 1 INTO high FROM services_ledgerentry;
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT recorded_at INTO recorded FROM services_ledgerentry
         WHERE id >= middle ORDER BY id LIMIT 1;
        IF recorded < at - interval '1 second' THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0008_what_a_revert_puts_back")]
    operations = [migrations.RunSQL(LEDGER_ID_AT, reverse_sql="DROP FUNCTION ledger_id_at")]
