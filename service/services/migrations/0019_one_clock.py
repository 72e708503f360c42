"""One clock for the whole book, which does not go back.

Everything that asks what is in force, due, ended or past asks `book_clock`: triggers, workers,
readers. It is the database's clock, or the newest instant that the book has recorded where that is
later: after a failover to a server whose clock is behind, what is written next still comes after
what was written before. A test that needs another time replaces `book_clock(timestamptz)`.

Replaced: `subscription_left`, in 0022, and `book_clock`, in 0030. services/schema.sql has what
stands now.
"""

from importlib import import_module

from django.db import migrations, models

import services.models.clock

# The newest recorded instant is looked up where this server has not been seen before: one look
# reads back over all entries that others have not committed yet, and a writer can't afford that
# each time. A task notes it for each life of the server, and `floor` keeps it from then on.
# (The table is no model of Django's: emptying the book does not empty it.)
# STABLE, so that all rows of a reader's statement are judged at one instant.
CLOCK = """
CREATE TABLE services_clockfloor (life timestamptz PRIMARY KEY, floor timestamptz);

CREATE FUNCTION book_clock(machine timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT greatest(machine, coalesce(
        (SELECT floor FROM services_clockfloor WHERE life = pg_postmaster_start_time()),
        (SELECT recorded_at FROM services_ledgerentry ORDER BY id DESC LIMIT 1)))
$$;
CREATE FUNCTION book_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT book_clock(clock_timestamp())
$$;
CREATE FUNCTION book_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT book_clock(statement_timestamp())
$$;
"""
RENEW = """
INSERT INTO services_clockfloor (life, floor)
SELECT pg_postmaster_start_time(),
       coalesce((SELECT recorded_at FROM services_ledgerentry ORDER BY id DESC LIMIT 1),
                pg_postmaster_start_time())
"""
NO_CLOCK = """
DROP TABLE services_clockfloor;
CREATE TABLE services_clockfloor (life timestamptz PRIMARY KEY, floor timestamptz);

DROP FUNCTION book_now();
DROP FUNCTION book_clock();
DROP FUNCTION book_clock(timestamptz);
"""

LEDGER_EFFECTIVE_AT = """
CREATE OR REPLACE FUNCTION ledger_effective_at() RETURNS timestamptz LANGUAGE sql VOLATILE
RETURN coalesce(nullif(current_setting('pricebook.effective_at', true), '')::timestamptz,
                book_clock());
"""
# Once a statement, and not once a row.
SUBSCRIPTION_LEFT = """
CREATE OR REPLACE FUNCTION subscription_left() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := book_clock();
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price_state, effective_at,
                recorded_at, change_id, author)
        SELECT id, client_id, service_id, plan_id, price_state,
               coalesce(nullif(current_setting('pricebook.effective_at', true), '')::timestamptz,
                        clock), clock, ledger_change(), ledger_author()
          FROM old_rows;
    ELSE
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price_state, effective_at,
                recorded_at, author)
        SELECT id, client_id, service_id, plan_id, price_state, clock, clock, ledger_author()
          FROM services_subscription;
    END IF;
    RETURN NULL;
END $$;
"""
EFFECTIVE_AT_BEFORE = LEDGER_EFFECTIVE_AT.replace("book_clock()", "clock_timestamp()")
SUBSCRIPTION_LEFT_BEFORE = (
    import_module("services.migrations.0005_ledger")
    .SUBSCRIPTION_LEFT.partition("CREATE TRIGGER")[0]
    .replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
)
CLOCK_DEFAULT = models.DateTimeField(db_default=services.models.clock.Clock())


class Migration(migrations.Migration):
    dependencies = [("services", "0018_reasons_of_bounds")]
    operations = [
        migrations.RunSQL([CLOCK, RENEW], reverse_sql=NO_CLOCK),
        migrations.RunSQL(
            [LEDGER_EFFECTIVE_AT, SUBSCRIPTION_LEFT],
            reverse_sql=[EFFECTIVE_AT_BEFORE, SUBSCRIPTION_LEFT_BEFORE],
        ),
        migrations.AlterField("ledgerentry", "effective_at", CLOCK_DEFAULT),
        migrations.AlterField("ledgerentry", "recorded_at", CLOCK_DEFAULT),
        migrations.AlterField("repricing", "effective_at", CLOCK_DEFAULT),
        migrations.AlterField("repricing", "requested_at", CLOCK_DEFAULT),
        migrations.AlterField("repricingstep", "effective_at", CLOCK_DEFAULT),
        migrations.AlterField(
            "subscription",
            "started_at",
            models.DateTimeField(
                db_default=models.Func(function="book_now", output_field=models.DateTimeField())
            ),
        ),
    ]
