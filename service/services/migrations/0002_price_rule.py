"""Triggers that keep price = rule, whoever writes.

The rule is `services/pricing.py`'s. Two promises:

1. A subscription that is created, moved, reactivated or written by hand has the rule's price at
   the commit of that write. `subscription_priced` fills in a price that was left out; after the
   statement `subscription_keep_rule` compares the rows that it wrote with the catalogue.
2. A change of a list price or a discount leaves a `services_repricing` row in its own transaction.
   That row is the work; workers do it chunk by chunk (`services/repricing.py`). So does a
   service or a plan that takes the place of another: ids that move, a row deleted and inserted
   again behind subscriptions that stay (foreign keys are checked at the commit).

Between the two stands a lock, or a subscription written beside a catalogue change would keep the
old price for ever: who writes prices holds a *shared* advisory lock on the service and then the
plan, and who changes the catalogue holds it *exclusively*, both until commit.
Advisory locks and not FOR SHARE on the catalogue rows, because they queue fairly: a price edit
waits for the writers before it, not for every one that comes after. A read after the lock
sees the newest committed catalogue, since each statement of a VOLATILE function takes a new
snapshot. In REPEATABLE READ and above it does not: there the pair is recorded, to be looked at
again.

An author and a comment to stamp may be given with the edit, in the same transaction:
`SET LOCAL pricebook.author = 'Ann'; SET LOCAL pricebook.comment = 'Prices of 2027';`

Replaced: `subscription_keep_rule`, and its triggers `subscription_keep_rule_insert` and
`subscription_keep_rule_update`, by `subscription_written` in 0005; the fillfactor by 0010;
`subscription_priced`, `service_price_came`, `service_price_moved`, `plan_discount_came` and
`plan_discount_moved` in 0020, with the triggers `service_price_moves` and `plan_discount_moves`;
`price_rule` in 0046, with the trigger `subscription_priced`.
services/schema.sql has what stands now.
"""

from django.db import migrations

PRICE_RULE = """
CREATE FUNCTION price_rule(full_price numeric, discount_percent integer) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(full_price * (100 - discount_percent) / 100, 2);
"""

# The first key of the advisory locks is the table's oid: no other user of advisory locks in this
# database can pick it by accident. The second is one of 1,024 slots, which ids share: the server
# has one table of locks for all sessions, and an edit of 15,000 services would fill it for all.
CATALOGUE_LOCKS = """
CREATE FUNCTION lock_service(id bigint, for_change boolean) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN for_change
        THEN pg_advisory_xact_lock('services_service'::regclass::oid::int, (id % 1024)::int)
        ELSE pg_advisory_xact_lock_shared('services_service'::regclass::oid::int,
                                          (id % 1024)::int) END
$$;
CREATE FUNCTION lock_plan(id bigint, for_change boolean) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN for_change
        THEN pg_advisory_xact_lock('services_plan'::regclass::oid::int, (id % 1024)::int)
        ELSE pg_advisory_xact_lock_shared('services_plan'::regclass::oid::int,
                                          (id % 1024)::int) END
$$;
"""

# An edit of many services takes its locks in the order in which the table's pages hold them, so
# no order of ours would keep a writer of several pairs from a deadlock with it. The writer waits
# for one lock at a time and holds none of the others meanwhile: the block that raises lets go of
# what it has taken. A writer that need not wait passes through once. A try does not overtake an
# edit that is waiting, so the queue stays fair.
LOCK_PAIRS = """
CREATE FUNCTION lock_pairs(services bigint[], plans bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    wanted record;
    taken record;
BEGIN
    LOOP
        BEGIN
            IF taken IS NOT NULL THEN
                PERFORM pg_advisory_xact_lock_shared(taken.class, taken.slot);
            END IF;
            FOR wanted IN
                SELECT 'services_service'::regclass::oid::int AS class, (id % 1024)::int AS slot
                  FROM unnest(services) id
                 UNION ALL
                SELECT 'services_plan'::regclass::oid::int, (id % 1024)::int
                  FROM unnest(plans) id
            LOOP
                IF NOT pg_try_advisory_xact_lock_shared(wanted.class, wanted.slot) THEN
                    RAISE SQLSTATE 'PB001';
                END IF;
            END LOOP;
            RETURN;
        EXCEPTION WHEN SQLSTATE 'PB001' THEN
            taken := wanted;
        END;
    END LOOP;
END $$;
"""

SUBSCRIPTION_PRICED = """
CREATE FUNCTION subscription_priced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An unknown service or plan is the foreign key's to report, so that the message is right.
    NEW.price := coalesce(
        (SELECT price_rule(service.full_price, plan.discount_percent)
           FROM services_service service, services_plan plan
          WHERE service.id = NEW.service_id AND plan.id = NEW.plan_id),
        0);
    RETURN NEW;
END $$;

CREATE TRIGGER subscription_priced BEFORE INSERT OR UPDATE ON services_subscription
FOR EACH ROW WHEN (NEW.price IS NULL) EXECUTE FUNCTION subscription_priced();
"""

# One function for both events: an insert has no old rows, so each reads its own transition tables.
# The update inside fires the trigger again, finds nothing and ends.
SUBSCRIPTION_KEEP_RULE = """
CREATE FUNCTION subscription_keep_rule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    services bigint[];
    plans bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT service_id), array_agg(DISTINCT plan_id)
          INTO services, plans
          FROM (SELECT DISTINCT service_id, plan_id FROM new_rows) pair;
    ELSE
        SELECT array_agg(DISTINCT service_id), array_agg(DISTINCT plan_id)
          INTO services, plans
          FROM (SELECT DISTINCT new_row.service_id, new_row.plan_id
                  FROM new_rows new_row LEFT JOIN old_rows old_row USING (id)
                 WHERE (new_row.price, new_row.service_id, new_row.plan_id, new_row.ended_at)
                       IS DISTINCT FROM
                       (old_row.price, old_row.service_id, old_row.plan_id, old_row.ended_at)
               ) pair;
    END IF;
    IF services IS NULL THEN
        RETURN NULL;
    END IF;

    PERFORM lock_pairs(services, plans);

    IF TG_OP = 'INSERT' THEN
        UPDATE services_subscription subscription
           SET price = price_rule(service.full_price, plan.discount_percent)
          FROM new_rows new_row, services_service service, services_plan plan
         WHERE subscription.id = new_row.id
           AND service.id = new_row.service_id AND plan.id = new_row.plan_id
           AND (new_row.ended_at IS NULL OR new_row.ended_at > now())
           AND new_row.price <> price_rule(service.full_price, plan.discount_percent);
    ELSE
        UPDATE services_subscription subscription
           SET price = price_rule(service.full_price, plan.discount_percent)
          FROM new_rows new_row LEFT JOIN old_rows old_row USING (id),
               services_service service, services_plan plan
         WHERE subscription.id = new_row.id
           AND service.id = new_row.service_id AND plan.id = new_row.plan_id
           AND (new_row.ended_at IS NULL OR new_row.ended_at > now())
           AND new_row.price <> price_rule(service.full_price, plan.discount_percent)
           AND (new_row.price, new_row.service_id, new_row.plan_id, new_row.ended_at)
               IS DISTINCT FROM
               (old_row.price, old_row.service_id, old_row.plan_id, old_row.ended_at);
    END IF;

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

CREATE TRIGGER subscription_keep_rule_insert AFTER INSERT ON services_subscription
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION subscription_keep_rule();

CREATE TRIGGER subscription_keep_rule_update AFTER UPDATE ON services_subscription
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION subscription_keep_rule();
"""

CATALOGUE_MOVED = """
CREATE FUNCTION service_price_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_service(OLD.id, true);
    RETURN coalesce(NEW, OLD);
END $$;

CREATE TRIGGER service_price_moves BEFORE UPDATE OF id, full_price ON services_service
FOR EACH ROW WHEN ((OLD.id, OLD.full_price) IS DISTINCT FROM (NEW.id, NEW.full_price))
EXECUTE FUNCTION service_price_moves();

CREATE TRIGGER service_price_leaves BEFORE DELETE ON services_service
FOR EACH ROW EXECUTE FUNCTION service_price_moves();

CREATE FUNCTION plan_discount_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_plan(OLD.id, true);
    RETURN coalesce(NEW, OLD);
END $$;

CREATE TRIGGER plan_discount_moves BEFORE UPDATE OF id, discount_percent ON services_plan
FOR EACH ROW WHEN ((OLD.id, OLD.discount_percent) IS DISTINCT FROM (NEW.id, NEW.discount_percent))
EXECUTE FUNCTION plan_discount_moves();

CREATE TRIGGER plan_discount_leaves BEFORE DELETE ON services_plan
FOR EACH ROW EXECUTE FUNCTION plan_discount_moves();

CREATE FUNCTION service_price_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_repricing (service_id, old_value, new_value, comment, author)
    VALUES (NEW.id, OLD.full_price, NEW.full_price,
            coalesce(current_setting('pricebook.comment', true), ''),
            coalesce(nullif(current_setting('pricebook.author', true), ''), session_user));
    RETURN NULL;
END $$;

CREATE TRIGGER service_price_moved AFTER UPDATE OF id, full_price ON services_service
FOR EACH ROW WHEN ((OLD.id, OLD.full_price) IS DISTINCT FROM (NEW.id, NEW.full_price))
EXECUTE FUNCTION service_price_moved();

CREATE FUNCTION service_price_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_repricing (service_id, new_value, author)
    SELECT NEW.id, NEW.full_price,
           coalesce(nullif(current_setting('pricebook.author', true), ''), session_user)
     WHERE EXISTS (SELECT FROM services_subscription WHERE service_id = NEW.id);
    RETURN NULL;
END $$;

CREATE TRIGGER service_price_came AFTER INSERT ON services_service
FOR EACH ROW EXECUTE FUNCTION service_price_came();

CREATE FUNCTION plan_discount_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_repricing (plan_id, old_value, new_value, comment, author)
    VALUES (NEW.id, OLD.discount_percent, NEW.discount_percent,
            coalesce(current_setting('pricebook.comment', true), ''),
            coalesce(nullif(current_setting('pricebook.author', true), ''), session_user));
    RETURN NULL;
END $$;

CREATE TRIGGER plan_discount_moved AFTER UPDATE OF id, discount_percent ON services_plan
FOR EACH ROW WHEN ((OLD.id, OLD.discount_percent) IS DISTINCT FROM (NEW.id, NEW.discount_percent))
EXECUTE FUNCTION plan_discount_moved();

CREATE FUNCTION plan_discount_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_repricing (plan_id, new_value, author)
    SELECT NEW.id, NEW.discount_percent,
           coalesce(nullif(current_setting('pricebook.author', true), ''), session_user)
     WHERE EXISTS (SELECT FROM services_subscription WHERE plan_id = NEW.id);
    RETURN NULL;
END $$;

CREATE TRIGGER plan_discount_came AFTER INSERT ON services_plan
FOR EACH ROW EXECUTE FUNCTION plan_discount_came();
"""

DROP = """
DROP TRIGGER plan_discount_came ON services_plan;
DROP TRIGGER plan_discount_moved ON services_plan;
DROP TRIGGER plan_discount_leaves ON services_plan;
DROP TRIGGER plan_discount_moves ON services_plan;
DROP TRIGGER service_price_came ON services_service;
DROP TRIGGER service_price_moved ON services_service;
DROP TRIGGER service_price_leaves ON services_service;
DROP TRIGGER service_price_moves ON services_service;
DROP TRIGGER subscription_keep_rule_update ON services_subscription;
DROP TRIGGER subscription_keep_rule_insert ON services_subscription;
DROP TRIGGER subscription_priced ON services_subscription;
DROP FUNCTION plan_discount_came, plan_discount_moved, plan_discount_moves,
    service_price_came, service_price_moved, service_price_moves,
    subscription_keep_rule, subscription_priced, lock_pairs, lock_plan, lock_service, price_rule;
"""

# Room on each page for the next version of its rows: a price that moves stays on its page and
# touches no index (HOT). At 100 no update is HOT; at 90, 89 % are where a service has eight plans
# that move one after the other. So 0010 makes it 85 (docs/decisions/0003).
FILLFACTOR = "ALTER TABLE services_subscription SET (fillfactor = 90)"


class Migration(migrations.Migration):
    dependencies = [("services", "0001_initial")]

    operations = [
        migrations.RunSQL(
            [
                FILLFACTOR,
                PRICE_RULE,
                CATALOGUE_LOCKS,
                LOCK_PAIRS,
                SUBSCRIPTION_PRICED,
                SUBSCRIPTION_KEEP_RULE,
                CATALOGUE_MOVED,
            ],
            reverse_sql=[DROP, "ALTER TABLE services_subscription RESET (fillfactor)"],
        ),
    ]
