"""Triggers that keep price = rule for followers, and write the ledger, whoever writes.

`subscription_written` replaces `subscription_keep_rule` (0002, where the locks are explained):
after each statement that writes subscriptions it puts right the prices of those that follow, and
appends to `services_ledgerentry` what each of them pays from then on. One function does both, so
that a price that never became visible leaves no entry.

The origin of an entry comes from the transaction's settings, which workers set:
`pricebook.change` (id), `pricebook.effective_at` (else the clock), `pricebook.author` (else the
database's user). With `pricebook.kept` on, the writer has done both itself.

Old and new rows are compared by EXCEPT and never joined: a session keeps the plans of its first
call, and one that began with single rows would join the 20,000 of a later statement row by row.

The ledger is append-only: the database refuses to change, delete or truncate it.

Replaced: `ledger_effective_at` and `subscription_left` in 0019, `list_price_at`, `discount_at` and
`subscription_written` in 0020; `price_rule_at` has a sibling since 0025. 0029 makes the trigger
`ledger_append_only` anew, and replaces `subscription_moved`; 0066 replaces `ledger_xact`.
services/schema.sql has what stands now.
"""

from django.db import migrations

SUBSCRIPTION_MOVED = """
CREATE FUNCTION subscription_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.price_state := 'follows';
    NEW.locked_until := NULL;
    NEW.price_reason := '';
    NEW.price := NULL;  -- which subscription_priced, the next trigger by name, fills in
    RETURN NEW;
END $$;

CREATE TRIGGER subscription_moved BEFORE UPDATE OF service_id, plan_id ON services_subscription
FOR EACH ROW WHEN (
    (OLD.service_id, OLD.plan_id) IS DISTINCT FROM (NEW.service_id, NEW.plan_id)
    AND OLD.price_state <> 'follows'
    AND (OLD.price_state, OLD.locked_until, OLD.price_reason, OLD.price)
        IS NOT DISTINCT FROM (NEW.price_state, NEW.locked_until, NEW.price_reason, NEW.price))
EXECUTE FUNCTION subscription_moved();

CREATE FUNCTION subscription_follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.locked_until := NULL;
    NEW.price_reason := '';
    RETURN NEW;
END $$;

CREATE TRIGGER subscription_follows BEFORE UPDATE OF price_state ON services_subscription
FOR EACH ROW WHEN (OLD.price_state <> 'follows' AND NEW.price_state = 'follows')
EXECUTE FUNCTION subscription_follows();
"""

# The origin of an entry, in one place: the trigger and the workers' own statements use it.
LEDGER_ORIGIN = """
CREATE FUNCTION ledger_change() RETURNS bigint LANGUAGE sql STABLE
RETURN nullif(current_setting('pricebook.change', true), '')::bigint;

CREATE FUNCTION ledger_effective_at() RETURNS timestamptz LANGUAGE sql VOLATILE
RETURN coalesce(nullif(current_setting('pricebook.effective_at', true), '')::timestamptz,
                clock_timestamp());

CREATE FUNCTION ledger_author() RETURNS text LANGUAGE sql STABLE
RETURN coalesce(nullif(current_setting('pricebook.author', true), ''),
                CASE WHEN ledger_change() IS NULL THEN session_user::text ELSE '' END);

CREATE FUNCTION ledger_xact() RETURNS bigint LANGUAGE sql VOLATILE
RETURN pg_current_xact_id()::text::bigint;

ALTER TABLE services_ledgerentry ALTER COLUMN xact SET DEFAULT ledger_xact();
"""

# The catalogue's history stands in its repricings: what was in force at any instant.
CATALOGUE_HISTORY = """
CREATE FUNCTION list_price_at(service bigint, at timestamptz) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT new_value FROM services_repricing
          WHERE service_id = service AND plan_id IS NULL AND effective_at <= at
          ORDER BY effective_at DESC, id DESC LIMIT 1),
        (SELECT old_value FROM services_repricing
          WHERE service_id = service AND plan_id IS NULL AND effective_at > at
          ORDER BY effective_at, id LIMIT 1),
        (SELECT full_price FROM services_service WHERE id = service))
$$;

CREATE FUNCTION discount_at(plan bigint, at timestamptz) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT new_value FROM services_repricing
          WHERE plan_id = plan AND service_id IS NULL AND effective_at <= at
          ORDER BY effective_at DESC, id DESC LIMIT 1),
        (SELECT old_value FROM services_repricing
          WHERE plan_id = plan AND service_id IS NULL AND effective_at > at
          ORDER BY effective_at, id LIMIT 1),
        (SELECT discount_percent FROM services_plan WHERE id = plan))::integer
$$;

CREATE FUNCTION price_rule_at(service bigint, plan bigint, at timestamptz) RETURNS numeric
LANGUAGE sql STABLE
RETURN price_rule(list_price_at(service, at), discount_at(plan, at));
"""

SUBSCRIPTION_WRITTEN = """
CREATE FUNCTION subscription_written() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    services bigint[];
    plans bigint[];
    change bigint;
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
    change := ledger_change();
    since := ledger_effective_at();
    writer := ledger_author();

    -- The update in these statements fires this function again: it has nothing to do there.
    PERFORM set_config('pricebook.kept', 'on', true);
    IF TG_OP = 'INSERT' THEN
        WITH kept AS (
            UPDATE services_subscription subscription
               SET price = price_rule(service.full_price, plan.discount_percent)
              FROM new_rows new_row, services_service service, services_plan plan
             WHERE subscription.id = new_row.id AND new_row.price_state = 'follows'
               AND service.id = new_row.service_id AND plan.id = new_row.plan_id
               AND (new_row.ended_at IS NULL OR new_row.ended_at > now())
               AND new_row.price <> price_rule(service.full_price, plan.discount_percent)
            RETURNING subscription.*
        )
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
                effective_at, change_id, author)
        SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
               since, change, writer
          FROM (SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                  FROM kept
                UNION ALL
                SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                  FROM new_rows WHERE id NOT IN (SELECT id FROM kept)) written
         ORDER BY id;
    ELSE
        -- One that is given an end, or another one, waits for its change like all that have none.
        WITH moved AS (
            SELECT id, service_id, plan_id, price, price_state,
                   coalesce(ended_at <= now(), false) AS ended
              FROM new_rows
            EXCEPT
            SELECT id, service_id, plan_id, price, price_state, coalesce(ended_at <= now(), false)
              FROM old_rows
        ), kept AS (
            UPDATE services_subscription subscription
               SET price = price_rule(service.full_price, plan.discount_percent)
              FROM moved, services_service service, services_plan plan
             WHERE subscription.id = moved.id AND moved.price_state = 'follows'
               AND service.id = moved.service_id AND plan.id = moved.plan_id
               AND NOT moved.ended
               AND moved.price <> price_rule(service.full_price, plan.discount_percent)
            RETURNING subscription.*
        )
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
                effective_at, change_id, author)
        SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
               since, change, writer
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

DROP TRIGGER subscription_keep_rule_update ON services_subscription;
DROP TRIGGER subscription_keep_rule_insert ON services_subscription;
DROP FUNCTION subscription_keep_rule;

CREATE TRIGGER subscription_written_insert AFTER INSERT ON services_subscription
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION subscription_written();

CREATE TRIGGER subscription_written_update AFTER UPDATE ON services_subscription
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION subscription_written();
"""

# A subscription that leaves keeps its history; the last entry says that it has left.
SUBSCRIPTION_LEFT = """
CREATE FUNCTION subscription_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price_state, effective_at,
                change_id, author)
        SELECT id, client_id, service_id, plan_id, price_state, ledger_effective_at(),
               ledger_change(), ledger_author()
          FROM old_rows;
    ELSE
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price_state, author)
        SELECT id, client_id, service_id, plan_id, price_state, ledger_author()
          FROM services_subscription;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER subscription_left AFTER DELETE ON services_subscription
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION subscription_left();

CREATE TRIGGER subscription_left_all BEFORE TRUNCATE ON services_subscription
FOR EACH STATEMENT EXECUTE FUNCTION subscription_left();
"""

APPEND_ONLY = """
CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The ledger is append-only: an entry is neither changed nor deleted.'
          USING ERRCODE = 'restrict_violation',
                HINT = 'Write the subscription; the ledger gets another entry.';
END $$;

CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON services_ledgerentry
FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();

CREATE TRIGGER ledger_not_truncated BEFORE TRUNCATE ON services_ledgerentry
FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

-- Only ever appended to: no page of it needs room for updates, and freezing is all vacuum does.
ALTER TABLE services_ledgerentry SET (autovacuum_vacuum_insert_scale_factor = 0.5);
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0004_price_state")]

    # Not to be reversed: what the ledger says of the past would be lost.
    operations = [
        migrations.RunSQL(
            [
                SUBSCRIPTION_MOVED,
                LEDGER_ORIGIN,
                CATALOGUE_HISTORY,
                SUBSCRIPTION_WRITTEN,
                SUBSCRIPTION_LEFT,
                APPEND_ONLY,
            ],
        ),
    ]
