"""Rows that are inserted with a start in the past are asked about once, and not one by one.

Two triggers of the ledger look at each entry that is effective before it is recorded: one notes
that the past has moved, and one looks for a correction of that time. A file of new rows, most of
which began long ago, has such an entry for each. Now the writer of a statement's entries notes the
earliest of them itself, and asks once whether any of the new ids has a correction: if none has, the
triggers have nothing to do and are not called. A row may come with the id of one that was deleted,
which may have been corrected: so the table is asked, and not the fact that the row is new.

Replaces `subscription_written` (0057) and the trigger `ledger_corrected` (0054).
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced

CORRECTED = """
CREATE OR REPLACE TRIGGER ledger_corrected AFTER INSERT ON services_ledgerentry
FOR EACH ROW WHEN (NEW.effective_at < NEW.recorded_at AND NEW.price IS NOT NULL
                   AND (NEW.price_state <> 'negotiated' OR NEW.change_id IS NULL
                        OR current_setting('pricebook.late_row', true) = 'on')
                   AND current_setting('pricebook.uncorrected', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION ledger_corrected();
"""
WRITTEN = replaced(
    import_module("services.migrations.0057_end_put_off").WRITTEN,
    (
        """    listed bigint[];
BEGIN
""",
        """    listed bigint[];
    earliest timestamptz;
    first_id bigint;
    last_id bigint;
BEGIN
""",
    ),
    (
        """        SELECT array_agg(DISTINCT service_id), array_agg(DISTINCT plan_id)
          INTO services, plans
          FROM new_rows;
""",
        """        SELECT array_agg(DISTINCT service_id), array_agg(DISTINCT plan_id),
               min(started_at), min(id), max(id)
          INTO services, plans, earliest, first_id, last_id
          FROM new_rows;
""",
    ),
    (
        """    IF TG_OP = 'INSERT' THEN
        -- With""",
        """    IF TG_OP = 'INSERT' THEN
        -- The triggers of the ledger would ask this of each entry; it is asked once.
        earliest := least(since, earliest);
        IF earliest < clock THEN
            IF change IS NULL THEN
                PERFORM backdate(earliest);
            END IF;
            PERFORM set_config('pricebook.uncorrected', 'on', true)
              WHERE NOT EXISTS (SELECT FROM services_correction
                                 WHERE subscription_id BETWEEN first_id AND last_id);
        END IF;
        -- With""",
    ),
    (
        """         ORDER BY id;
    ELSE
        -- One""",
        """         ORDER BY id;
        PERFORM set_config('pricebook.uncorrected', '', true);
    ELSE
        -- One""",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0061_ended_as_was_known")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL([WRITTEN, CORRECTED])]
