"""Lives of the database: transaction numbers that go on rising after a restore.

A place in the ledger is ordered by the number of the transaction that wrote it. A server that a
dump was loaded into begins to count anew, and one that was promoted gives out numbers once more.
So `ledger_xact()` adds the offset of the life that the database is in, and the first transaction
that writes in a new life begins that (`begin_life`), in whatever way it came: no worker, and no
operator, has to. `ledger_oldest()` and `ledger_next()` are the bounds of a snapshot in the same
numbers, for readers.

Taken back in a book that was restored (`xact_offset` is not 0), it brings the faults back that it
ended; applied once more, it gives the first life the offset. services/schema.sql has what stands
now.
"""

from django.db import migrations, models

from services.models.clock import Clock

# The timeline is that of the log that is written. The one of the last checkpoint
# (`pg_control_checkpoint`) lags behind a promotion.
LIFE_OF_SERVER = """
CREATE FUNCTION life_of_server(
    OUT system_identifier bigint, OUT timeline integer, OUT database bigint, OUT book bigint)
LANGUAGE sql STABLE AS $$
    SELECT (SELECT control.system_identifier FROM pg_control_system() control),
           CASE WHEN pg_is_in_recovery()
                THEN (SELECT control.timeline_id FROM pg_control_checkpoint() control)
                ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
                     )::bit(32)::integer END,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
           'services_life'::regclass::oid::bigint
$$;
"""

# The greatest number that a stored fact has: of a happening too, which another app stores.
NEWEST_XACT = """
CREATE FUNCTION newest_stored_xact() RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    newest bigint := 0;
    of_events bigint;
BEGIN
    SELECT greatest(
        (SELECT max(xact) FROM services_ledgerentry),
        (SELECT max(xact) FROM services_movedfollowers),
        (SELECT max(xact) FROM services_correctedentry),
        (SELECT max(xact) FROM services_cataloguevalue),
        (SELECT max(judged_xact) FROM services_cataloguevalue
          WHERE seen IS NOT NULL AND held IS NOT NULL),
        (SELECT max(xact) FROM services_correction),
        (SELECT last_xact FROM services_sealedblock ORDER BY number DESC LIMIT 1),
        0)
      INTO newest;
    IF to_regclass('events_happening') IS NOT NULL THEN
        EXECUTE 'SELECT greatest((SELECT max(xact) FROM events_happening),
                                 (SELECT max(xact) FROM events_derived))' INTO of_events;
    END IF;
    RETURN greatest(newest, of_events);
END $$;
"""

# The number is the key, so one transaction begins a life, and others wait for its end; they read
# again behind it. Where the database goes on counting (a promotion), so does the book: a prepared
# transaction may still be committed there with its number of before.
BEGIN_LIFE = """
CREATE FUNCTION begin_life(declared boolean DEFAULT false) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    server record;
    last services_life;
    newest bigint;
    reason text;
BEGIN
    SELECT * INTO server FROM life_of_server();
    LOOP
        SELECT * INTO last FROM services_life ORDER BY number DESC LIMIT 1;
        EXIT WHEN NOT declared
              AND (last.system_identifier, last.timeline, last.database, last.book)
                = (server.system_identifier, server.timeline, server.database, server.book);
        newest := newest_stored_xact();
        reason := CASE
            WHEN last.number IS NULL THEN 'first'
            WHEN declared THEN 'declared'
            WHEN (last.system_identifier, last.database, last.book)
              <> (server.system_identifier, server.database, server.book) THEN 'restored'
            WHEN EXISTS (SELECT FROM pg_settings
                          WHERE setting <> '' AND name IN (
                                'recovery_target_lsn', 'recovery_target_name',
                                'recovery_target_time', 'recovery_target_xid'))
              THEN 'recovered'
            ELSE 'promoted' END;
        INSERT INTO services_life
               (number, key, why, system_identifier, timeline, database, book, xact_offset,
                first_xact, sealed_block, acknowledged_at)
        VALUES (coalesce(last.number, 0) + 1,
                hashtextextended(gen_random_uuid()::text, 0) & 9223372036854775807, reason,
                server.system_identifier, server.timeline, server.database, server.book,
                CASE WHEN reason IN ('first', 'restored')
                     THEN greatest(0, newest + 1
                          - pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
                     ELSE last.xact_offset END,
                CASE WHEN last.number IS NULL THEN 0 ELSE newest + 1 END,
                coalesce((SELECT max(number) FROM services_sealedblock), 0),
                CASE WHEN reason IN ('first', 'promoted') THEN book_clock() END)
        ON CONFLICT (number) DO NOTHING;
        declared := false;
    END LOOP;
    PERFORM set_config('pricebook.xact_offset', last.xact_offset::text, true);
    RETURN last.xact_offset;
END $$;
"""

# The number of the life that the caller's transaction writes in.
THIS_LIFE = """
CREATE FUNCTION this_life() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM begin_life();
    RETURN (SELECT max(number) FROM services_life);
END $$;
"""

# The offset is kept for the transaction, so that a statement of many rows looks for it once.
LEDGER_XACT = """
CREATE OR REPLACE FUNCTION ledger_xact() RETURNS bigint LANGUAGE sql VOLATILE
RETURN pg_current_xact_id()::text::bigint
     + coalesce(nullif(current_setting('pricebook.xact_offset', true), '')::bigint, begin_life());
"""
SERVER_XACT = """
CREATE OR REPLACE FUNCTION ledger_xact() RETURNS bigint LANGUAGE sql VOLATILE
RETURN pg_current_xact_id()::text::bigint;
"""

# All that is stored is of transactions that have ended, until the first one of a new life writes:
# those that are open now have written nothing to the book. A promotion keeps the numbers, so that a
# prepared transaction goes on holding up what is behind it.
BOUNDS = """
CREATE FUNCTION xact_offset_to_read() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN last.number IS NULL
                  OR (last.system_identifier, last.database, last.book)
                   = ((SELECT control.system_identifier FROM pg_control_system() control),
                      (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
                      'services_life'::regclass::oid::bigint)
                THEN coalesce(last.xact_offset, 0) END
      FROM (VALUES (1)) one
      LEFT JOIN (SELECT * FROM services_life ORDER BY number DESC LIMIT 1) last ON true
$$;

CREATE FUNCTION ledger_oldest() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xact_offset_to_read(),
                9223372036854775807);

CREATE FUNCTION ledger_next() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + xact_offset_to_read(),
                9223372036854775807);
"""

DROP = """
DROP FUNCTION ledger_next, ledger_oldest, xact_offset_to_read, newest_stored_xact;
DROP FUNCTION this_life, begin_life(boolean);
DROP FUNCTION life_of_server;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0065_sealed_blocks")]

    operations = [
        migrations.CreateModel(
            "Life",
            [
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("key", models.BigIntegerField()),
                (
                    "why",
                    models.CharField(
                        choices=[
                            ("first", "First"),
                            ("promoted", "Promoted"),
                            ("recovered", "Recovered"),
                            ("restored", "Restored"),
                            ("declared", "Declared"),
                        ],
                        max_length=10,
                    ),
                ),
                ("system_identifier", models.BigIntegerField()),
                ("timeline", models.IntegerField()),
                ("database", models.BigIntegerField()),
                ("book", models.BigIntegerField()),
                ("xact_offset", models.BigIntegerField()),
                ("first_xact", models.BigIntegerField()),
                ("sealed_block", models.BigIntegerField(db_default=0)),
                ("began_at", models.DateTimeField(db_default=Clock())),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("acknowledged_by", models.CharField(db_default="", max_length=150)),
            ],
            options={"verbose_name_plural": "lives"},
        ),
        migrations.RunSQL([LIFE_OF_SERVER, NEWEST_XACT, BEGIN_LIFE, THIS_LIFE, BOUNDS], DROP),
        migrations.RunSQL(LEDGER_XACT, SERVER_XACT),
        migrations.RunSQL("SELECT begin_life()", migrations.RunSQL.noop),
    ]
