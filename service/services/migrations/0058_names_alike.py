"""Names that differ in case or blanks alone are one: the database refuses the second of them.

`alike` says so: it leaves out the blanks, composes the letters, and has them small. A service may
not have the name that another one has by it; nor may a new record bring a source that is written in
another way than one that is there. The message names the one that is there. (The doors ask the same
of a source that is changed: a trigger would ask for each row of an UPDATE.)

Books that have such names keep them, and may write them on: `check_book` names them. That is why
the index is no unique one.
"""

from django.db import migrations, models

from pricebook.kit.names import BLANKS

ESCAPED = "".join(f"\\{ord(blank):04X}" for blank in BLANKS)
ALIKE = f"""
CREATE FUNCTION alike(name text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT lower(normalize(translate(name, U&'{ESCAPED}', ''), NFC))
$$;
"""
SERVICE_NAMES = """
-- Two that come at once see each other: the second waits for the first one's commit. The server
-- has one table of locks for all sessions, so names share 1,024 of them; each statement takes its
-- own in their order.
CREATE FUNCTION lock_names(names text[]) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock('service_name_like'::regclass::oid::int, slot)
      FROM (SELECT DISTINCT hashtext(alike(name)) & 1023 AS slot
              FROM unnest(names) given (name) ORDER BY slot) ascending
$$;

CREATE FUNCTION service_name_alike() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    two record;
BEGIN
    PERFORM lock_names(array_agg(name::text)) FROM new_rows;
    SELECT given.name, other.name AS other INTO two
      FROM new_rows given
      JOIN services_service other ON alike(other.name) = alike(given.name)
     WHERE other.id <> given.id AND other.name <> given.name LIMIT 1;
    IF FOUND THEN
        RAISE unique_violation USING TABLE = 'services_service', CONSTRAINT = 'service_name_alike',
            MESSAGE = format('%L differs in case or blanks alone from the service %L', two.name,
                             two.other);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER service_name_alike_insert AFTER INSERT ON services_service
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION service_name_alike();

CREATE FUNCTION service_renamed_alike() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    other text;
BEGIN
    PERFORM lock_names(ARRAY[NEW.name::text]);
    SELECT name INTO other FROM services_service
     WHERE alike(name) = alike(NEW.name) AND name <> NEW.name AND id <> NEW.id LIMIT 1;
    IF FOUND THEN
        RAISE unique_violation USING TABLE = 'services_service', CONSTRAINT = 'service_name_alike',
            MESSAGE = format('%L differs in case or blanks alone from the service %L', NEW.name,
                             other);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER service_name_alike_update BEFORE UPDATE OF name ON services_service
FOR EACH ROW WHEN (NEW.name <> OLD.name) EXECUTE FUNCTION service_renamed_alike();
"""
SOURCES = """
-- Given sources that differ in case or blanks alone from another one of a table, unless the given
-- one has rows there too, beside those of some ids. For new ones alone the index is walked, once: a
-- look for each source.
CREATE FUNCTION sources_alike(place regclass, given text[], first bigint, last bigint)
RETURNS TABLE (source text, other text) LANGUAGE plpgsql STABLE AS $$
BEGIN
    EXECUTE format('
        SELECT array_agg(source) FROM unnest($1) given (source)
         WHERE NOT EXISTS (SELECT FROM %s book
                            WHERE book.source = given.source AND id NOT BETWEEN $2 AND $3)', place)
       INTO given USING given, first, last;
    IF given IS NOT NULL THEN
        RETURN QUERY EXECUTE format('WITH RECURSIVE known AS (
                (SELECT source::text FROM %1$s WHERE source IS NOT NULL ORDER BY source LIMIT 1)
                 UNION ALL
                SELECT (SELECT source::text FROM %1$s
                         WHERE source > known.source ORDER BY source LIMIT 1)
                  FROM known WHERE known.source IS NOT NULL)
            SELECT given.source, min(known.source)
              FROM unnest($1) given (source)
              JOIN known ON alike(known.source) = alike(given.source)
             WHERE known.source <> given.source GROUP BY given.source', place) USING given;
    END IF;
END $$;

CREATE FUNCTION source_came() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    alike record;
BEGIN
    SELECT found.* INTO alike
      FROM (SELECT array_agg(DISTINCT source::text) AS sources, min(id) AS first, max(id) AS last
              FROM new_rows WHERE source IS NOT NULL) given
     CROSS JOIN LATERAL sources_alike(TG_RELID::regclass, sources, first, last) found
     WHERE sources IS NOT NULL LIMIT 1;
    IF FOUND THEN
        RAISE unique_violation USING CONSTRAINT = 'source_alike', MESSAGE =
            format('%L differs in case or blanks alone from the source %L', alike.source,
                   alike.other);
    END IF;
    RETURN NULL;
END $$;
"""
TRIGGERS = """
CREATE TRIGGER source_came AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION source_came();
"""
TABLES = ("services_subscription", "services_service", "services_plan", "clients_client")
INDEX = "CREATE INDEX CONCURRENTLY service_name_like ON services_service (alike(name))"


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: the catalogue goes on being written

    dependencies = [("services", "0057_end_put_off"), ("clients", "0005_known_elsewhere")]

    # Not to be reversed, as those before it.
    operations = [
        migrations.RunSQL(ALIKE),
        migrations.RunSQL(
            INDEX,
            state_operations=[
                migrations.AddIndex(
                    "service",
                    models.Index(models.Func("name", function="alike"), name="service_name_like"),
                )
            ],
        ),
        migrations.RunSQL(
            [SERVICE_NAMES, SOURCES, *(TRIGGERS.format(table=table) for table in TABLES)]
        ),
    ]
