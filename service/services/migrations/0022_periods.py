"""Starts and ends are facts: the ledger has an entry whenever one is set, moved or cleared.

Until now an entry told a price, and nothing of the period for which it is paid, so whoever billed
by the ledger went on billing what had ended. Each entry has the period of its subscription now, as
it stood when the entry was written. Where a write has said nothing but a start or an end, the entry
is `period_only` and repeats the price in force; price changes, which ask who has had the last word
on a price, look past it. `unpaid_since` is in the entry of one that was opened again: the end that
had passed, from which to the entry's instant nothing is paid. The first price holds from the start
on: a start that is put before the first entry has one with its instant.

Entries of the time before say no period. For those that have ended, or have not begun, or began
before their first entry, one is written here, so that what follows the ledger hears of it.

Replaced: `subscription_written`, in 0024, the trigger `subscription_lock_cut`, in 0026, and
`subscription_left`, in 0034. services/schema.sql has what stands now.
"""

from django.db import migrations, models

COLUMNS = [
    ("started_at", models.DateTimeField(null=True)),
    ("ended_at", models.DateTimeField(null=True)),
    ("unpaid_since", models.DateTimeField(null=True)),
    ("period_only", models.BooleanField(db_default=False)),
    ("source", models.CharField(max_length=50, null=True)),
    ("external_id", models.CharField(max_length=50, null=True)),
]

LEFT = """
CREATE OR REPLACE FUNCTION subscription_left() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := book_clock();
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price_state, started_at, ended_at,
                source, external_id, effective_at, recorded_at, change_id, author)
        SELECT id, client_id, service_id, plan_id, price_state, started_at, ended_at,
               source, external_id,
               coalesce(nullif(current_setting('pricebook.effective_at', true), '')::timestamptz,
                        clock), clock, ledger_change(), ledger_author()
          FROM old_rows;
    ELSE
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price_state, started_at, ended_at,
                source, external_id, effective_at, recorded_at, author)
        SELECT id, client_id, service_id, plan_id, price_state, started_at, ended_at,
               source, external_id, clock, clock, ledger_author()
          FROM services_subscription;
    END IF;
    RETURN NULL;
END $$;
"""

# A lock whose end a person puts into the past is released by that write, and not before it.
CUT = """
CREATE FUNCTION subscription_lock_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.price_state = 'locked' AND NEW.locked_until <= book_clock()
       AND ledger_change() IS NULL AND current_setting('pricebook.kept', true) IS DISTINCT FROM 'on'
    THEN
        NEW.price_state := 'follows';
        NEW.locked_until := NULL;
        NEW.price_reason := '';
        NEW.price := NULL;  -- which subscription_priced, a later trigger by name, fills in
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER subscription_lock_cut BEFORE UPDATE OF locked_until ON services_subscription
FOR EACH ROW WHEN (NEW.locked_until IS DISTINCT FROM OLD.locked_until)
EXECUTE FUNCTION subscription_lock_cut();
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
                       started_at, ended_at
                  FROM new_rows
                EXCEPT
                SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
                       started_at, ended_at
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
                started_at, ended_at, effective_at, recorded_at, change_id, author)
        SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
               started_at, ended_at, least(since, started_at), clock, change, writer
          FROM (SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
                       started_at, ended_at
                  FROM kept
                UNION ALL
                SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
                       started_at, ended_at
                  FROM new_rows WHERE id NOT IN (SELECT id FROM kept)) written
         ORDER BY id;
    ELSE
        -- One that is given an end, or another one, waits for its change like all that have none.
        -- One whose end is put into the past ends with what was in force before it, and one that is
        -- opened again goes on with what was last said of it, unless the same write says a price.
        -- And a person's lock that says none keeps the price in force.
        -- No join of new and old rows: the plan is that of the first call, for as many as it had.
        WITH compared AS (
            SELECT *, lag(client_id) OVER version AS old_client,
                   lag(service_id) OVER version AS old_service,
                   lag(plan_id) OVER version AS old_plan, lag(price) OVER version AS old_price,
                   lag(price_state) OVER version AS old_state,
                   lag(locked_until) OVER version AS old_until,
                   lag(started_at) OVER version AS old_start, lag(ended_at) OVER version AS old_end
              FROM (SELECT *, true AS is_new FROM new_rows
                     UNION ALL
                    SELECT *, false FROM old_rows) versions
            WINDOW version AS (PARTITION BY id ORDER BY is_new)
        ), written AS MATERIALIZED (
            SELECT *,
                   CASE WHEN ended_at <= clock AND ended_at IS DISTINCT FROM old_end
                        THEN ended_at END AS ends_at,
                   CASE WHEN old_end <= clock AND (ended_at IS NULL OR ended_at > clock)
                        THEN old_end END AS unpaid_since,
                   (client_id, service_id, plan_id, price_state, locked_until) IS NOT DISTINCT FROM
                   (old_client, old_service, old_plan, old_state, old_until) AS same_terms,
                   (started_at, ended_at) IS NOT DISTINCT FROM (old_start, old_end) AS same_period
              FROM compared
             WHERE is_new
               AND (client_id, service_id, plan_id, price, price_state, locked_until,
                    started_at, ended_at) IS DISTINCT FROM
                   (old_client, old_service, old_plan, old_price, old_state, old_until,
                    old_start, old_end)
        ), pair AS MATERIALIZED (
            SELECT service_id, plan_id, price_rule_at(service_id, plan_id, clock) AS rule_price
              FROM (SELECT DISTINCT service_id, plan_id FROM written
                     WHERE price_state <> 'negotiated') pair
        ), priced AS MATERIALIZED (
            SELECT written.*, rule_price,
                   coalesce(
                   CASE WHEN ends_at IS NOT NULL THEN
                             CASE WHEN price <> old_price THEN price
                                  WHEN coalesce(word_state, price_state) <> 'follows'
                                   AND (word_until < ends_at) IS NOT TRUE THEN word_price
                                  ELSE price_rule_at(coalesce(word_service, service_id),
                                                     coalesce(word_plan, plan_id),
                                                     ends_at - interval '1 microsecond') END
                        WHEN ended_at <= clock THEN price
                        WHEN same_terms AND price = old_price AND unpaid_since IS NULL THEN price
                        WHEN price_state = 'follows' THEN rule_price
                        WHEN price_state = 'locked' AND change IS NULL AND price = old_price
                         AND (old_state = 'follows' OR old_until <= clock) THEN rule_price
                        WHEN same_terms AND price = old_price THEN word_price
                   END, price) AS price_now
              FROM written
              LEFT JOIN pair USING (service_id, plan_id)
              LEFT JOIN LATERAL (
                   (SELECT service_id AS word_service, plan_id AS word_plan, price AS word_price,
                           price_state AS word_state, locked_until AS word_until
                      FROM services_ledgerentry
                     WHERE coalesce(ends_at, written.unpaid_since) IS NOT NULL
                       AND subscription_id = written.id
                       AND (NOT period_only OR effective_at < recorded_at)
                       AND (effective_at < ends_at) IS NOT FALSE
                     ORDER BY effective_at DESC, id DESC LIMIT 1)
                    UNION ALL
                   (SELECT service_id, plan_id, price, price_state, locked_until
                      FROM services_ledgerentry
                     WHERE ends_at IS NOT NULL AND subscription_id = written.id
                     ORDER BY effective_at, id LIMIT 1)
                    LIMIT 1) word ON true
        ), kept AS (
            UPDATE services_subscription subscription
               SET price = price_now
              FROM priced
             WHERE subscription.id = priced.id AND priced.price <> price_now
        ), begun_before AS (
            INSERT INTO services_ledgerentry
                   (subscription_id, client_id, service_id, plan_id, price, price_state,
                    locked_until, started_at, ended_at, period_only,
                    effective_at, recorded_at, author)
            SELECT priced.id, first.client_id, first.service_id, first.plan_id,
                   CASE WHEN first.price_state = 'follows'
                        THEN coalesce(price_rule_at(first.service_id, first.plan_id,
                                                    priced.started_at), first.price)
                        ELSE first.price END,
                   first.price_state, first.locked_until, priced.started_at, priced.ended_at, true,
                   priced.started_at, clock, writer
              FROM priced
             CROSS JOIN LATERAL (
                   SELECT client_id, service_id, plan_id, price, price_state, locked_until,
                          effective_at
                     FROM services_ledgerentry WHERE subscription_id = priced.id
                    ORDER BY effective_at, id LIMIT 1) first
             WHERE priced.started_at < old_start AND priced.started_at < first.effective_at
        )
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
                started_at, ended_at, unpaid_since, period_only,
                effective_at, recorded_at, change_id, author)
        SELECT id, client_id, service_id, plan_id,
               CASE WHEN period_only AND (price_state = 'follows' OR locked_until <= clock)
                     AND (ended_at IS NULL OR ended_at > clock)
                    THEN coalesce(rule_price, price_now) ELSE price_now END,
               price_state, locked_until, started_at, ended_at, unpaid_since, period_only,
               CASE WHEN period_only THEN clock ELSE since END, clock,
               CASE WHEN NOT period_only THEN change END, writer
          FROM priced
         CROSS JOIN LATERAL (
               SELECT same_terms AND unpaid_since IS NULL
                  AND (price = old_price OR price_now = old_price) AS period_only) entry
         WHERE NOT (same_terms AND same_period AND price_now = old_price)
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

# Starts and ends of which the ledger has not told so far.
FILL = """
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        started_at, ended_at, period_only, effective_at, recorded_at, author)
SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
       started_at, ended_at, true, at, at, 'Pricebook'
  FROM services_subscription, (SELECT book_clock() AS at OFFSET 0) moment
 WHERE ended_at IS NOT NULL OR started_at > book_now()
 ORDER BY id
"""
BEGUN_BEFORE = """
INSERT INTO services_ledgerentry
       (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
        started_at, ended_at, period_only, effective_at, author)
SELECT subscription.id, first.client_id, first.service_id, first.plan_id,
       CASE WHEN first.price_state = 'follows'
            THEN coalesce(price_rule_at(first.service_id, first.plan_id, started_at), first.price)
            ELSE first.price END,
       first.price_state, first.locked_until, started_at, ended_at, true, started_at, 'Pricebook'
  FROM services_subscription subscription
  JOIN (SELECT DISTINCT ON (subscription_id)
               subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
               effective_at
          FROM services_ledgerentry ORDER BY subscription_id, effective_at, id) first
    ON first.subscription_id = subscription.id
 WHERE started_at < first.effective_at
 ORDER BY subscription.id
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0021_in_force")]

    # Not to be reversed, as those before it.
    operations = [
        *(migrations.AddField("ledgerentry", name, column) for name, column in COLUMNS),
        migrations.AddIndex(
            "ledgerentry",
            models.Index(
                name="ledger_left",
                fields=["subscription_id", "id"],
                condition=models.Q(price=None),
            ),
        ),
        migrations.AddIndex(
            "ledgerentry",
            models.Index(
                name="ledger_unpaid",
                fields=["subscription_id"],
                condition=models.Q(unpaid_since__isnull=False),
            ),
        ),
        migrations.RunSQL([LEFT, CUT, WRITTEN, BEGUN_BEFORE, FILL]),
    ]
