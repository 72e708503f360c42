"""The catalogue's history as facts: a value is in force from its instant on, whoever sleeps.

Until now the history stood in `services_repricing`, which workers write when they come. Here each
list price and each discount has a row with its instant, written by whoever decides: the trigger of
a plain edit, the approval of a price change. `list_price_at`, `discount_at` and `price_rule_at`
read these, and triggers price by them: `full_price` and `discount_percent` are copies, which may
be late.

Writing a copy is an edit where it differs from the value in force, and none where it does not,
whatever is stored: so a worker that brings a copy in line edits nothing, and a person who writes
back the old value while a change is due and not copied yet does.

Replaced: `subscription_written`, in 0022; `list_price_at` and `discount_at`, in 0024;
`plan_discount_moved`, in 0042; `subscription_priced`, in 0046. services/schema.sql has what stands
now.
"""

from django.db import migrations, models

import services.models.clock

# Copies that are half written belong to the release that began them.
REFUSE = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM services_repricing WHERE finished_at IS NULL) THEN
        RAISE EXCEPTION 'Prices are being moved, so the book cannot be migrated now.'
              USING ERRCODE = 'object_in_use',
                    HINT = 'Let the workers of the old release finish, or resume or cancel what is'
                           ' paused (price_change list shows it), and migrate again.';
    END IF;
END $$;
"""

# The times at which a value does not count stand in its own row: both are read in one look.
UNDONE = """
ALTER TABLE services_cataloguevalue ADD COLUMN undone tstzmultirange DEFAULT '{}' NOT NULL;

CREATE FUNCTION catalogue_value_undone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE services_cataloguevalue
       SET undone = CASE WHEN NEW.again
                    THEN undone - tstzmultirange(tstzrange(NEW.effective_at, NULL))
                    ELSE undone + tstzmultirange(tstzrange(NEW.effective_at, NULL)) END
     WHERE id = NEW.undoes_id;
    RETURN NULL;
END $$;

CREATE TRIGGER catalogue_value_undone AFTER INSERT ON services_cataloguevalue
FOR EACH ROW WHEN (NEW.undoes_id IS NOT NULL) EXECUTE FUNCTION catalogue_value_undone();

-- From its instant on an answer is another one, though nothing else is written.
CREATE TRIGGER book_changed AFTER INSERT OR DELETE OR TRUNCATE ON services_cataloguevalue
FOR EACH STATEMENT EXECUTE FUNCTION book_changed();
"""

# The repricings tell of the time before. The first value held from the first day on.
FILL = """
INSERT INTO services_cataloguevalue
       (service_id, plan_id, value, effective_at, recorded_at, change_id, author, for_new_only,
        locked_until, started)
SELECT service_id, plan_id, value, effective_at, recorded_at, change_id, author, for_new_only,
       locked_until, true
  FROM (SELECT service.id AS service_id, NULL::bigint AS plan_id,
               coalesce((SELECT old_value FROM services_repricing first
                          WHERE first.service_id = service.id AND first.plan_id IS NULL
                            AND first.new_value IS NOT NULL
                          ORDER BY effective_at, id LIMIT 1), full_price) AS value,
               '1900-01-01 00:00:00+00'::timestamptz AS effective_at,
               '1900-01-01 00:00:00+00'::timestamptz AS recorded_at,
               NULL::bigint AS change_id, '' AS author, false AS for_new_only,
               NULL::timestamptz AS locked_until, 0 AS number
          FROM services_service service
        UNION ALL
        SELECT NULL, plan.id,
               coalesce((SELECT old_value FROM services_repricing first
                          WHERE first.plan_id = plan.id AND first.service_id IS NULL
                            AND first.new_value IS NOT NULL
                          ORDER BY effective_at, id LIMIT 1), discount_percent),
               '1900-01-01 00:00:00+00', '1900-01-01 00:00:00+00', NULL, '', false, NULL, 0
          FROM services_plan plan
        UNION ALL
        SELECT service_id, plan_id, new_value, effective_at, requested_at, change_id, author,
               kind = 'keep', locked_until, id
          FROM services_repricing
         WHERE new_value IS NOT NULL AND (service_id IS NULL) <> (plan_id IS NULL)) value
 ORDER BY effective_at, number;
"""

IN_FORCE = """
CREATE OR REPLACE FUNCTION list_price_at(service bigint, at timestamptz) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT value FROM services_cataloguevalue
          WHERE service_id = service AND effective_at <= at AND value IS NOT NULL
            AND NOT undone @> at
          ORDER BY effective_at DESC, id DESC LIMIT 1),
        (SELECT full_price FROM services_service WHERE id = service))
$$;

CREATE OR REPLACE FUNCTION discount_at(plan bigint, at timestamptz) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT value FROM services_cataloguevalue
          WHERE plan_id = plan AND effective_at <= at AND value IS NOT NULL
            AND NOT undone @> at
          ORDER BY effective_at DESC, id DESC LIMIT 1),
        (SELECT discount_percent FROM services_plan WHERE id = plan))::integer
$$;
"""

# For a service, and with other names for a plan. All of it must hold the exclusive lock, which the
# trigger before has taken: so numbers are drawn and the clock is read in the order of the writers.
EDITS = """
CREATE OR REPLACE FUNCTION {role}_{what}_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    in_force numeric := {value_at}(OLD.id, book_clock());
    edit record;
BEGIN
    IF OLD.id <> NEW.id THEN
        PERFORM {role}_{what}_is(NEW.id, NEW.{field});
    ELSIF NEW.{field} = in_force THEN
        RETURN NULL;  -- a copy
    END IF;
    INSERT INTO services_repricing ({role}_id, old_value, new_value, comment, author)
    VALUES (NEW.id, in_force, NEW.{field},
            coalesce(current_setting('pricebook.comment', true), ''),
            coalesce(nullif(current_setting('pricebook.author', true), ''), session_user))
    RETURNING effective_at, change_id, author INTO edit;
    IF OLD.id = NEW.id THEN
        INSERT INTO services_cataloguevalue
               ({role}_id, value, effective_at, change_id, author, started)
        VALUES (NEW.id, NEW.{field}, edit.effective_at, edit.change_id, edit.author, true);
    END IF;
    RETURN NULL;
END $$;

-- A first value holds from the first day on; one of an id that was there before, from now on.
CREATE FUNCTION {role}_{what}_is(id bigint, value numeric) RETURNS void LANGUAGE sql AS $$
    INSERT INTO services_cataloguevalue ({role}_id, value, effective_at, author, started)
    SELECT id, value,
           CASE WHEN EXISTS (SELECT FROM services_cataloguevalue old WHERE old.{role}_id = $1)
                THEN book_clock() ELSE '1900-01-01 00:00:00+00' END,
           coalesce(nullif(current_setting('pricebook.author', true), ''), session_user), true
$$;

CREATE OR REPLACE FUNCTION {role}_{what}_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {role}_{what}_is(NEW.id, NEW.{field});
    INSERT INTO services_repricing ({role}_id, new_value, author)
    SELECT NEW.id, NEW.{field},
           coalesce(nullif(current_setting('pricebook.author', true), ''), session_user)
     WHERE EXISTS (SELECT FROM services_subscription WHERE {role}_id = NEW.id);
    RETURN NULL;
END $$;

-- Also where the stored value stays: it may be a copy that is late.
DROP TRIGGER {role}_{what}_moves ON services_{role};
CREATE TRIGGER {role}_{what}_moves BEFORE UPDATE OF id, {field} ON services_{role}
FOR EACH ROW EXECUTE FUNCTION {role}_{what}_moves();
DROP TRIGGER {role}_{what}_moved ON services_{role};
CREATE TRIGGER {role}_{what}_moved AFTER UPDATE OF id, {field} ON services_{role}
FOR EACH ROW EXECUTE FUNCTION {role}_{what}_moved();
"""
OF_SERVICE = {
    "role": "service",
    "what": "price",
    "field": "full_price",
    "value_at": "list_price_at",
}
OF_PLAN = {
    "role": "plan",
    "what": "discount",
    "field": "discount_percent",
    "value_at": "discount_at",
}

PRICED = """
CREATE OR REPLACE FUNCTION subscription_priced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An unknown service or plan is the foreign key's to report, so that the message is right.
    NEW.price := coalesce(
        price_rule_at(NEW.service_id, NEW.plan_id,
                      least(book_clock(), NEW.ended_at - interval '1 microsecond')), 0);
    RETURN NEW;
END $$;
"""

WRITTEN = """
CREATE OR REPLACE FUNCTION subscription_written() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    services bigint[];
    plans bigint[];
    change bigint;
    clock timestamptz;
    since timestamptz;
    writer text;
BEGIN
    IF current_setting('pricebook.kept', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT service_id), array_agg(DISTINCT plan_id)
          INTO services, plans
          FROM new_rows;
    ELSE
        SELECT array_agg(DISTINCT service_id), array_agg(DISTINCT plan_id)
          INTO services, plans
          FROM (SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
                       ended_at
                  FROM new_rows
                EXCEPT
                SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
                       ended_at
                  FROM old_rows) changed;
    END IF;
    IF services IS NULL THEN
        RETURN NULL;
    END IF;

    PERFORM lock_pairs(services, plans);
    -- After the lock, so that entries stand in the order of what their writers saw.
    clock := book_clock();
    change := ledger_change();
    since := coalesce(nullif(current_setting('pricebook.effective_at', true), '')::timestamptz,
                      clock);
    writer := ledger_author();

    -- The update in these statements fires this function again: it has nothing to do there.
    PERFORM set_config('pricebook.kept', 'on', true);
    IF TG_OP = 'INSERT' THEN
        -- The first price holds from the start on, however early that lies.
        WITH pair AS MATERIALIZED (
            SELECT service_id, plan_id, price_rule_at(service_id, plan_id, clock) AS price
              FROM (SELECT DISTINCT service_id, plan_id FROM new_rows
                     WHERE price_state = 'follows') pair
        ), kept AS (
            UPDATE services_subscription subscription
               SET price = pair.price
              FROM new_rows new_row, pair
             WHERE subscription.id = new_row.id AND new_row.price_state = 'follows'
               AND pair.service_id = new_row.service_id AND pair.plan_id = new_row.plan_id
               AND (new_row.ended_at IS NULL OR new_row.ended_at > clock)
               AND new_row.price <> pair.price
            RETURNING subscription.*
        )
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
                effective_at, recorded_at, change_id, author)
        SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
               least(since, started_at), clock, change, writer
          FROM (SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
                       started_at
                  FROM kept
                UNION ALL
                SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
                       started_at
                  FROM new_rows WHERE id NOT IN (SELECT id FROM kept)) written
         ORDER BY id;
    ELSE
        -- One that is given an end, or another one, waits for its change like all that have none.
        -- One whose end is put into the past ends with what was in force before it, unless the same
        -- write says a price. And a person's lock that says none keeps the price in force.
        WITH moved AS (
            SELECT id, service_id, plan_id, price, price_state,
                   CASE WHEN ended_at <= clock THEN ended_at END AS ended
              FROM new_rows
            EXCEPT
            SELECT id, service_id, plan_id, price, price_state,
                   CASE WHEN ended_at <= clock THEN ended_at END
              FROM old_rows
        ), pair AS MATERIALIZED (
            SELECT service_id, plan_id, ended,
                   price_rule_at(service_id, plan_id,
                                 coalesce(ended - interval '1 microsecond', clock)) AS price
              FROM (SELECT DISTINCT service_id, plan_id, ended FROM moved
                     WHERE price_state <> 'negotiated') pair
        ), kept AS (
            UPDATE services_subscription subscription
               SET price = pair.price
              FROM moved, pair
             WHERE subscription.id = moved.id
               AND (moved.price_state = 'follows'
                    OR moved.price_state = 'locked' AND change IS NULL
                       AND EXISTS (SELECT FROM old_rows
                                    WHERE id = moved.id AND price = moved.price
                                      AND (price_state = 'follows' OR locked_until <= clock)))
               AND pair.service_id = moved.service_id AND pair.plan_id = moved.plan_id
               AND pair.ended IS NOT DISTINCT FROM moved.ended
               AND moved.price <> pair.price
               AND (moved.ended IS NULL
                    OR (SELECT price FROM old_rows WHERE id = moved.id) = moved.price)
            RETURNING subscription.*
        )
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
                effective_at, recorded_at, change_id, author)
        SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
               since, clock, change, writer
          FROM (SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                  FROM (SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                          FROM kept
                        UNION ALL
                        SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                          FROM new_rows WHERE id NOT IN (SELECT id FROM kept)) written
                EXCEPT
                SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                  FROM old_rows) changed
         ORDER BY id;
    END IF;
    PERFORM set_config('pricebook.kept', '', true);

    INSERT INTO services_lockend (subscription_id, until)
    SELECT id, locked_until FROM new_rows WHERE locked_until IS NOT NULL;

    -- Foreign keys wait for the commit: a service or a plan may still come, with its price.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
       OR cardinality(services) > (SELECT count(*) FROM services_service WHERE id = ANY (services))
       OR cardinality(plans) > (SELECT count(*) FROM services_plan WHERE id = ANY (plans))
    THEN
        INSERT INTO services_repricing (service_id, plan_id)
        SELECT DISTINCT service_id, plan_id FROM new_rows
         WHERE service_id = ANY (services) AND plan_id = ANY (plans);
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0019_one_clock")]

    # Not to be reversed: what the values say of what is still to come would be lost.
    operations = [
        migrations.CreateModel(
            name="CatalogueValue",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("service_id", models.BigIntegerField(null=True)),
                ("plan_id", models.BigIntegerField(null=True)),
                ("value", models.DecimalField(decimal_places=2, max_digits=12, null=True)),
                ("undoes_id", models.BigIntegerField(null=True)),
                ("again", models.BooleanField(db_default=False)),
                ("effective_at", models.DateTimeField()),
                ("recorded_at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("change_id", models.BigIntegerField(null=True, verbose_name="price change")),
                ("author", models.CharField(db_default="", max_length=150)),
                ("for_new_only", models.BooleanField(db_default=False)),
                ("locked_until", models.DateTimeField(null=True)),
                ("started", models.BooleanField(db_default=False)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("service_id__isnull", False)),
                        fields=["service_id", "effective_at", "id"],
                        name="value_of_service",
                    ),
                    models.Index(
                        condition=models.Q(("plan_id__isnull", False)),
                        fields=["plan_id", "effective_at", "id"],
                        name="value_of_plan",
                    ),
                    models.Index(
                        condition=models.Q(("started", False)),
                        fields=["effective_at"],
                        name="value_not_started",
                    ),
                    models.Index(fields=["change_id"], name="value_of_change"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("plan_id__isnull", False), ("service_id", None)),
                            models.Q(("plan_id", None), ("service_id__isnull", False)),
                            _connector="OR",
                        ),
                        name="value_of_service_or_plan",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("undoes_id__isnull", False), ("value", None)),
                            models.Q(("undoes_id", None), ("value__isnull", False)),
                            _connector="OR",
                        ),
                        name="value_or_undoes",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            [
                REFUSE,
                UNDONE,
                FILL,
                IN_FORCE,
                EDITS.format(**OF_SERVICE),
                EDITS.format(**OF_PLAN),
                PRICED,
                WRITTEN,
            ],
        ),
    ]
