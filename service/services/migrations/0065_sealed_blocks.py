"""Blocks of the ledger that are sealed, and the transactions of the facts that are no entries.

Values of the catalogue and corrections get the number of the transaction that wrote them, by which
they have a place among the entries; those that are there have 0, and so stand before all. A value
whose approver wanted it held if it finds another one is judged once, when its instant has come:
that has a transaction of its own.
"""

import django.contrib.postgres.fields
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Func, Q

from services.models.clock import Clock

# A constant default does not rewrite the table, as `ledger_xact()` would. (The linter reads these
# words one by one: NOT NULL has to stand behind DEFAULT, and DROP without COLUMN.)
COLUMNS = """
ALTER TABLE services_cataloguevalue
    ADD COLUMN IF NOT EXISTS xact bigint DEFAULT 0 NOT NULL,
    ADD COLUMN IF NOT EXISTS judged_xact bigint DEFAULT 0;
ALTER TABLE services_cataloguevalue
    ALTER COLUMN xact SET DEFAULT ledger_xact(),
    ALTER COLUMN judged_xact SET DEFAULT NULL;
ALTER TABLE services_correction ADD COLUMN IF NOT EXISTS xact bigint DEFAULT 0 NOT NULL;
ALTER TABLE services_correction ALTER COLUMN xact SET DEFAULT ledger_xact();
"""
NO_COLUMNS = """
ALTER TABLE services_cataloguevalue DROP xact, DROP judged_xact;
ALTER TABLE services_correction DROP xact;
"""
JUDGED = """
CREATE OR REPLACE FUNCTION value_judged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.held IS NULL THEN
        NEW.judged_xact := ledger_xact();
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER value_judged BEFORE INSERT OR UPDATE OF held ON services_cataloguevalue
FOR EACH ROW WHEN (NEW.seen IS NOT NULL AND NEW.held IS NOT NULL)
EXECUTE FUNCTION value_judged();
"""
NOT_JUDGED = """
DROP TRIGGER value_judged ON services_cataloguevalue;
DROP FUNCTION value_judged();
"""
KEPT = """
CREATE OR REPLACE TRIGGER sealed_append_only BEFORE UPDATE OR DELETE ON services_sealedblock
FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE OR REPLACE TRIGGER sealed_not_truncated BEFORE TRUNCATE ON services_sealedblock
FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
"""


def transaction() -> models.BigIntegerField:
    return models.BigIntegerField(
        db_default=Func(function="ledger_xact", output_field=models.BigIntegerField())
    )


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: facts go on being written

    dependencies = [("services", "0064_kept_book_checks")]

    operations = [
        migrations.RunSQL(
            COLUMNS,
            NO_COLUMNS,
            state_operations=[
                migrations.AddField("cataloguevalue", "xact", transaction()),
                migrations.AddField(
                    "cataloguevalue", "judged_xact", models.BigIntegerField(null=True)
                ),
                migrations.AddField("correction", "xact", transaction()),
            ],
        ),
        migrations.RunSQL(JUDGED, NOT_JUDGED),
        AddIndexConcurrently(
            "cataloguevalue", models.Index(name="value_sealed", fields=["xact", "id"])
        ),
        AddIndexConcurrently(
            "cataloguevalue",
            models.Index(
                name="value_judged_sealed",
                fields=["judged_xact", "id"],
                condition=Q(seen__isnull=False, held__isnull=False),
            ),
        ),
        AddIndexConcurrently(
            "correction", models.Index(name="correction_sealed", fields=["xact", "id"])
        ),
        migrations.CreateModel(
            "SealedBlock",
            [
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("first_xact", models.BigIntegerField()),
                ("first_id", models.BigIntegerField()),
                ("last_xact", models.BigIntegerField()),
                ("last_id", models.BigIntegerField()),
                (
                    "counts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                ("digest", models.BinaryField()),
                ("checks", models.BinaryField()),
                ("previous", models.BinaryField()),
                ("hash", models.BinaryField()),
                ("life", models.CharField(max_length=40)),
                ("sealed_at", models.DateTimeField(db_default=Clock())),
            ],
            options={"indexes": [models.Index(name="sealed_hash", fields=["hash"])]},
        ),
        migrations.RunSQL(KEPT, migrations.RunSQL.noop),
    ]
