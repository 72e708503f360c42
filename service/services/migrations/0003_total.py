"""Triggers that keep total = rows, at a cost that does not grow with the rows; the book's version.

Every statement that changes the book appends to `services_subtotal` what it changed for each
(service, plan): rows, amount, and `changes` = 1. No writer touches another's row, so none waits.

    total of a (service, plan) = sum(amount) over its rows
    version of the book        = sum(changes) over all rows

Both are read in one statement, so they belong to one snapshot. Snapshots of one server are ordered
by commit, so two of them with an equal sum of changes see the same book: the version moves at
each commit, and never before it (a sequence would). It starts at the clock's microseconds, so an
emptied table does not count through numbers that it had before.

Edits of names and e-mails that the list shows count too, with no service and no plan.

Replaced: `subtotal_of_insert`, `subtotal_of_update` and `subtotal_of_delete`, in 0021 and 0023;
`subtotal_restart` in 0023. services/schema.sql has what stands now.
"""

from django.db import migrations

SUBSCRIPTIONS = """
CREATE FUNCTION subtotal_of_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_subtotal (service_id, plan_id, subscriptions, amount)
    SELECT service_id, plan_id, count(*), sum(price) FROM new_rows GROUP BY service_id, plan_id;
    RETURN NULL;
END $$;

CREATE TRIGGER subtotal_of_insert AFTER INSERT ON services_subscription
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION subtotal_of_insert();

CREATE FUNCTION subtotal_of_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Also where nothing moved between the pairs: a comment is part of the book.
    INSERT INTO services_subtotal (service_id, plan_id, subscriptions, amount)
    SELECT service_id, plan_id, sum(subscriptions), sum(amount)
      FROM (SELECT service_id, plan_id, count(*) AS subscriptions, sum(price) AS amount
              FROM new_rows GROUP BY service_id, plan_id
             UNION ALL
            SELECT service_id, plan_id, -count(*), -sum(price)
              FROM old_rows GROUP BY service_id, plan_id) part
     GROUP BY service_id, plan_id;
    RETURN NULL;
END $$;

CREATE TRIGGER subtotal_of_update AFTER UPDATE ON services_subscription
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION subtotal_of_update();

CREATE FUNCTION subtotal_of_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_subtotal (service_id, plan_id, subscriptions, amount)
    SELECT service_id, plan_id, -count(*), -sum(price) FROM old_rows GROUP BY service_id, plan_id;
    RETURN NULL;
END $$;

CREATE TRIGGER subtotal_of_delete AFTER DELETE ON services_subscription
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION subtotal_of_delete();

CREATE FUNCTION subtotal_restart() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM services_subtotal;
    INSERT INTO services_subtotal (subscriptions, amount, changes)
    VALUES (0, 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    RETURN NULL;
END $$;

CREATE TRIGGER subtotal_restart AFTER TRUNCATE ON services_subscription
FOR EACH STATEMENT EXECUTE FUNCTION subtotal_restart();
"""

NAMES = """
CREATE FUNCTION book_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_subtotal DEFAULT VALUES;
    RETURN NULL;
END $$;

CREATE TRIGGER book_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON services_service
FOR EACH STATEMENT EXECUTE FUNCTION book_changed();
CREATE TRIGGER book_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON services_plan
FOR EACH STATEMENT EXECUTE FUNCTION book_changed();
CREATE TRIGGER book_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON clients_client
FOR EACH STATEMENT EXECUTE FUNCTION book_changed();
-- Not at every login, which writes last_login.
CREATE TRIGGER book_changed AFTER UPDATE OF email ON auth_user
FOR EACH ROW WHEN (OLD.email IS DISTINCT FROM NEW.email) EXECUTE FUNCTION book_changed();
"""

# Appended to by every writer and folded every few seconds: vacuum it by its own small size.
VACUUM = """
ALTER TABLE services_subtotal SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = -1
)
"""

# The version's start, and the rows that are there already.
FILL = """
INSERT INTO services_subtotal (subscriptions, amount, changes)
VALUES (0, 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
INSERT INTO services_subtotal (service_id, plan_id, subscriptions, amount)
SELECT service_id, plan_id, count(*), sum(price)
  FROM services_subscription GROUP BY service_id, plan_id;
"""

DROP = """
DROP TRIGGER book_changed ON auth_user;
DROP TRIGGER book_changed ON clients_client;
DROP TRIGGER book_changed ON services_plan;
DROP TRIGGER book_changed ON services_service;
DROP TRIGGER subtotal_restart ON services_subscription;
DROP TRIGGER subtotal_of_delete ON services_subscription;
DROP TRIGGER subtotal_of_update ON services_subscription;
DROP TRIGGER subtotal_of_insert ON services_subscription;
DROP FUNCTION book_changed, subtotal_restart, subtotal_of_delete, subtotal_of_update,
    subtotal_of_insert;
DELETE FROM services_subtotal;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("clients", "0001_initial"),
        ("services", "0002_price_rule"),
    ]

    operations = [
        migrations.RunSQL(
            [VACUUM, SUBSCRIPTIONS, NAMES, FILL],
            reverse_sql=DROP,
        ),
    ]
