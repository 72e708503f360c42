"""Kept subscriptions and held values are known from the instant on, and without a worker.

A change of the catalogue that is for new subscriptions only locks those who follow at its instant
and were there before it, at the price of the moment before. Workers write that down, in the ledger
and in the rows, and may come late. The functions here evaluate what they will write from the same
facts: the last word of somebody on a subscription, and the changes of its service and its plan
since then. So every reader is told of the lock, writers go by it, and a worker decides nothing.

A value that was approved with `hold` is held at its instant where it finds another value than its
approver saw: whoever looks for the value in force skips it.

Replaced: `settle_kept`, in 0030; `kept_entries` and `kept_entry`, in 0025, in which
`list_price_at`, `discount_at`, `value_before` and `value_is_held` have siblings;
`subscription_kept` and `subscription_written`, in 0026; `subscription_in_force`, in 0027;
`kept_reason`, in 0033; `enter_kept`, in 0034; `kept_amounts`, in 0038;
`subscription_came_before`, in 0039; `subtotal_in_force`, in 0045. services/schema.sql has what
stands now.
"""

from importlib import import_module

from django.db import migrations, models

# The undoing of such a change is one of them: it lets those who were kept follow again.
UNDOING = """
UPDATE services_cataloguevalue undoing
   SET for_new_only = true
  FROM services_cataloguevalue undone
 WHERE undone.id = undoing.undoes_id AND undone.for_new_only;
"""

# A value that was approved with `hold` takes effect where the value just before its place is the
# one that its approver saw. `held` is NULL until a worker comes, who writes down what this says;
# as nothing is ever recorded before a place that has passed, it says the same before and after.
# Each that is not written down is judged in the order of their places, once: none by itself again.
HELD = """
CREATE FUNCTION value_is_held(value_id bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    asked services_cataloguevalue;
    each services_cataloguevalue;
    before numeric;
    found bigint[] := '{}';
BEGIN
    SELECT * INTO asked FROM services_cataloguevalue WHERE id = value_id;
    FOR each IN
        SELECT * FROM services_cataloguevalue value
         WHERE held IS NULL AND (effective_at, id) <= (asked.effective_at, asked.id)
           AND (service_id = asked.service_id OR plan_id = asked.plan_id)
           AND NOT undone @> effective_at
         ORDER BY effective_at, id
    LOOP
        SELECT value INTO before FROM services_cataloguevalue earlier
         WHERE (service_id = each.service_id OR plan_id = each.plan_id)
           AND (effective_at, id) < (each.effective_at, each.id) AND value IS NOT NULL
           AND NOT undone @> each.effective_at
           AND CASE WHEN held IS NULL THEN id <> ALL (found) ELSE NOT held END
         ORDER BY effective_at DESC, id DESC LIMIT 1;
        IF before IS DISTINCT FROM each.seen THEN
            found := found || each.id;
        END IF;
    END LOOP;
    RETURN asked.id = ANY (found);
END $$;

CREATE OR REPLACE FUNCTION list_price_at(service bigint, at timestamptz) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT value FROM services_cataloguevalue
          WHERE service_id = service AND effective_at <= at AND value IS NOT NULL
            AND NOT undone @> at AND NOT coalesce(held, value_is_held(id))
          ORDER BY effective_at DESC, id DESC LIMIT 1),
        (SELECT full_price FROM services_service WHERE id = service))
$$;

CREATE OR REPLACE FUNCTION discount_at(plan bigint, at timestamptz) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT value FROM services_cataloguevalue
          WHERE plan_id = plan AND effective_at <= at AND value IS NOT NULL
            AND NOT undone @> at AND NOT coalesce(held, value_is_held(id))
          ORDER BY effective_at DESC, id DESC LIMIT 1),
        (SELECT discount_percent FROM services_plan WHERE id = plan))::integer
$$;
"""

# Just before a place, which is (effective_at, id) of a value: a value of the service or the plan,
# the other one being NULL; and the rule's price of both.
BEFORE = """
CREATE FUNCTION value_before(service bigint, plan bigint, at timestamptz, number bigint)
RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT value FROM services_cataloguevalue
     WHERE (service_id = service OR plan_id = plan) AND (effective_at, id) < (at, number)
       AND value IS NOT NULL AND NOT undone @> at AND NOT coalesce(held, value_is_held(id))
     ORDER BY effective_at DESC, id DESC LIMIT 1
$$;

CREATE FUNCTION price_before(service bigint, plan bigint, at timestamptz, number bigint)
RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT price_rule(value_before(service, NULL, at, number),
                      value_before(NULL, plan, at, number)::integer)
$$;
"""

# Whether there may be a subscription of which this is not written down.
LATE = """
CREATE FUNCTION keeps_late(at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM services_cataloguevalue
                    WHERE NOT started AND for_new_only AND effective_at <= at)
        OR EXISTS (SELECT FROM services_repricing
                    WHERE finished_at IS NULL AND (kind = 'keep' OR unkeeps_change_id IS NOT NULL))
$$;
"""

# A word is an entry that says something new of how a subscription stands, and that was not written
# for a change that is for new subscriptions only. From the last one by an instant the story goes
# on: such a change that comes while the subscription follows locks it; the end of the lock, and
# the undoing of the change, let it follow again, until the next one comes.
#
# Places are compared as everywhere, by the instant and then by the number. At one instant ends of
# locks come first, and whether an entry or a change was first tells its `position`. A
# subscription that comes at the very instant of a change comes after it.
KEPT = """
CREATE FUNCTION kept_entries(subscription bigint, at timestamptz)
RETURNS SETOF services_ledgerentry LANGUAGE plpgsql STABLE ROWS 1 AS $$
DECLARE
    word record;
    entry services_ledgerentry;
    keep services_cataloguevalue;
    next_keep services_cataloguevalue;
    undoing services_cataloguevalue;
    again services_cataloguevalue;
    since timestamptz;
    number bigint;   -- of the end or the undoing from which the story goes on
    written bigint;  -- of the entry from which it does
BEGIN
    IF NOT EXISTS (SELECT FROM services_cataloguevalue
                    WHERE for_new_only AND value IS NOT NULL AND effective_at <= at) THEN
        RETURN;
    END IF;
    SELECT * INTO entry FROM services_ledgerentry
     WHERE subscription_id = subscription AND effective_at <= at
       AND (NOT period_only OR effective_at < recorded_at)
     ORDER BY effective_at DESC, id DESC LIMIT 1;
    IF entry.price IS NULL THEN
        RETURN;  -- it is not there yet, or not any more
    END IF;
    SELECT id, service_id, plan_id, price_state, locked_until, effective_at, is_first, ends_a_lock
      INTO word
      FROM (SELECT one.*, lag(id) OVER written IS NULL AS is_first,
                   price_state = 'follows'
                   AND coalesce(lag(locked_until) OVER written = effective_at, false)
                   AS ends_a_lock,
                   lag(price) OVER written IS NULL
                   OR (price_state, service_id, plan_id) IS DISTINCT FROM
                      (lag(price_state) OVER written, lag(service_id) OVER written,
                       lag(plan_id) OVER written)
                   OR price_state <> 'follows' AND (client_id, price, locked_until) IS DISTINCT FROM
                      (lag(client_id) OVER written, lag(price) OVER written,
                       lag(locked_until) OVER written) AS says_something
              FROM services_ledgerentry one
             WHERE subscription_id = subscription AND effective_at <= at
               AND (NOT period_only OR effective_at < recorded_at)
            WINDOW written AS (ORDER BY effective_at, id)) told
     WHERE says_something AND NOT EXISTS (
           SELECT FROM services_cataloguevalue value
            WHERE value.change_id = told.change_id AND for_new_only)
     ORDER BY effective_at DESC, id DESC LIMIT 1;
    IF word.price_state = 'follows' THEN
        since := word.effective_at;
        number := CASE WHEN word.ends_a_lock THEN 0 END;
        written := CASE WHEN NOT word.is_first THEN word.id END;
    ELSIF word.locked_until <= at THEN
        since := word.locked_until;
        number := 0;
    ELSE
        RETURN;
    END IF;
    LOOP
        next_keep := NULL;
        SELECT * INTO next_keep FROM services_cataloguevalue value
         WHERE for_new_only AND value IS NOT NULL AND effective_at <= at
           AND (service_id = word.service_id OR plan_id = word.plan_id)
           AND (effective_at > since
                OR effective_at = since AND (id > number OR position > written))
           AND NOT undone @> effective_at AND NOT coalesce(held, value_is_held(id))
         ORDER BY effective_at, id LIMIT 1;
        again := NULL;
        IF undoing.id IS NOT NULL THEN
            SELECT * INTO again FROM services_cataloguevalue value
             WHERE undoes_id = keep.id AND value.again AND effective_at >= since
               AND effective_at <= coalesce(next_keep.effective_at, at)
               AND (service_id = keep.service_id OR plan_id = keep.plan_id)
             ORDER BY effective_at, id LIMIT 1;
        END IF;
        IF again.id IS NOT NULL THEN
            next_keep := again;
        ELSIF next_keep.id IS NOT NULL THEN
            keep := next_keep;
        ELSE
            RETURN;
        END IF;
        entry.price_state := 'locked';
        entry.price := price_before(word.service_id, word.plan_id, keep.effective_at, keep.id);
        entry.locked_until := keep.locked_until;
        entry.effective_at := next_keep.effective_at;
        entry.recorded_at := next_keep.recorded_at;
        entry.change_id := next_keep.change_id;
        entry.author := '';
        RETURN NEXT entry;

        undoing := NULL;
        SELECT * INTO undoing FROM services_cataloguevalue value
         WHERE undoes_id = keep.id AND NOT value.again
           AND (effective_at, id) > (next_keep.effective_at, next_keep.id)
           AND (service_id = keep.service_id OR plan_id = keep.plan_id)
         ORDER BY effective_at, id LIMIT 1;
        IF keep.locked_until <= undoing.effective_at OR undoing.id IS NULL THEN
            undoing := NULL;
            since := keep.locked_until;
            number := 0;
        ELSE
            since := undoing.effective_at;
            number := undoing.id;
        END IF;
        IF since IS NULL OR since > at THEN
            RETURN;
        END IF;
        written := NULL;
        entry.price_state := 'follows';
        entry.price := price_rule_at(word.service_id, word.plan_id, since);
        entry.locked_until := NULL;
        entry.effective_at := since;
        entry.recorded_at := coalesce(undoing.recorded_at, since);
        entry.change_id := undoing.change_id;
        RETURN NEXT entry;
    END LOOP;
END $$;

-- How it stands by then, with the rule's price of then; NULL where the last word on it stands.
CREATE FUNCTION kept_entry(subscription bigint, at timestamptz) RETURNS services_ledgerentry
LANGUAGE plpgsql STABLE AS $$
DECLARE
    entry services_ledgerentry;
    last services_ledgerentry;
BEGIN
    FOR entry IN SELECT * FROM kept_entries(subscription, at) LOOP
        last := entry;
    END LOOP;
    IF last.price_state = 'follows' THEN
        last.price := price_rule_at(last.service_id, last.plan_id, at);
    END IF;
    RETURN last;
END $$;

CREATE FUNCTION kept_reason(entry services_ledgerentry) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN entry.price_state = 'locked'
                THEN format('Price change %s is for new subscriptions only', entry.change_id)
                WHEN entry.price_state = 'follows' THEN '' END
$$;
"""

# --- Readers ------------------------------------------------------------------------------------

# Each row is asked behind OFFSET 0, and so not at all where nothing of the kind is late.
SUBSCRIPTIONS = """
CREATE OR REPLACE VIEW subscription_in_force AS
SELECT subscription.id, client_id, service_id, plan_id,
       CASE WHEN (SELECT copies_late_since(book_now())) IS NULL THEN subscription.price
            WHEN ended_at <= (SELECT copies_late_since(book_now())) THEN subscription.price
            ELSE coalesce(
                kept.price,
                CASE WHEN subscription.price_state = 'follows'
                       OR subscription.locked_until IS NOT NULL
                      AND subscription.locked_until <= judged_at
                     THEN price_rule_at(service_id, plan_id, judged_at) END,
                subscription.price) END AS price,
       coalesce(
            kept.price_state,
            CASE WHEN subscription.locked_until IS NOT NULL
                  AND subscription.locked_until <= judged_at THEN 'follows'
                 ELSE subscription.price_state END) AS price_state,
       CASE WHEN kept.id IS NOT NULL THEN kept.locked_until
            WHEN subscription.locked_until IS NOT NULL
             AND subscription.locked_until <= judged_at THEN NULL
            ELSE subscription.locked_until END AS locked_until,
       CASE WHEN kept.price_state <> subscription.price_state
              OR kept.id IS NOT NULL
             AND kept.locked_until IS DISTINCT FROM subscription.locked_until
            THEN kept.reason::varchar
            WHEN subscription.locked_until IS NOT NULL
             AND subscription.locked_until <= judged_at THEN ''
            ELSE price_reason END AS price_reason,
       comment, stamp, source, external_id, started_at, ended_at
  FROM (SELECT *, least((SELECT book_now()), ended_at - interval '1 microsecond') AS judged_at
          FROM services_subscription) subscription
  LEFT JOIN LATERAL (
       SELECT (entry).id, (entry).price, (entry).price_state, (entry).locked_until,
              kept_reason(entry) AS reason
         FROM (SELECT kept_entry(subscription.id, judged_at) AS entry
                WHERE (SELECT keeps_late(book_now())) AND subscription.price_state <> 'negotiated'
                  AND (ended_at > (SELECT copies_late_since(book_now()))) IS NOT FALSE
               OFFSET 0) story) kept ON true;
"""

# By how much the rows of such changes differ from what `late_copies` makes of them.
SUBTOTALS = """
CREATE FUNCTION kept_amounts() RETURNS TABLE (
    service_id bigint, plan_id bigint, amount numeric, paid_amount numeric)
LANGUAGE plpgsql STABLE ROWS 10 AS $$
#variable_conflict use_column
DECLARE
    now timestamptz := book_now();
    since timestamptz;
    services bigint[];
    plans bigint[];
BEGIN
    IF NOT keeps_late(now) THEN
        RETURN;
    END IF;
    since := copies_late_since(now);
    SELECT array_agg(service_id), array_agg(plan_id) INTO services, plans
      FROM (SELECT service_id, plan_id FROM services_cataloguevalue
             WHERE NOT started AND for_new_only AND effective_at <= now
             UNION
            SELECT service_id, plan_id FROM services_repricing
             WHERE finished_at IS NULL AND (kind = 'keep' OR unkeeps_change_id IS NOT NULL)) late;
    RETURN QUERY
        SELECT service_id, plan_id, short, CASE WHEN pays THEN short ELSE 0 END
          FROM (SELECT id, service_id, plan_id, price, price_state, locked_until,
                       least(now, ended_at - interval '1 microsecond') AS judged_at,
                       started_at <= now AND (ended_at IS NULL OR ended_at > now) AS pays
                  FROM services_subscription
                 WHERE (service_id = ANY (services) OR plan_id = ANY (plans))
                   AND price_state <> 'negotiated' AND (ended_at IS NULL OR ended_at > since)
                OFFSET 0) subscription
         CROSS JOIN LATERAL (SELECT entry.price AS kept_price
                               FROM kept_entry(id, judged_at) entry) kept
         CROSS JOIN LATERAL (
               SELECT kept_price
                      - CASE WHEN price_state = 'follows' OR locked_until <= judged_at
                             THEN coalesce(price_rule_at(service_id, plan_id, judged_at), price)
                             ELSE price END AS short) difference
         WHERE kept_price IS NOT NULL;
END $$;

CREATE OR REPLACE VIEW subtotal_in_force AS
SELECT service_id, plan_id, subscriptions, amount, paid_subscriptions, paid_amount, changes
  FROM services_subtotal
 UNION ALL
SELECT service_id, plan_id, 0, amount, paid_subscriptions, paid_amount, 0 FROM late_copies()
 UNION ALL
SELECT service_id, plan_id, 0, amount, 0, paid_amount, 0 FROM kept_amounts();
"""

# --- Writers ------------------------------------------------------------------------------------

# Writes down what workers have not yet written of a subscription; gives how it stands then.
ENTER = """
CREATE FUNCTION enter_kept(subscription bigint, at timestamptz) RETURNS services_ledgerentry
LANGUAGE plpgsql AS $$
DECLARE
    entry services_ledgerentry;
    last services_ledgerentry;
BEGIN
    FOR entry IN SELECT * FROM kept_entries(subscription, at) LOOP
        INSERT INTO services_ledgerentry
               (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
                started_at, ended_at, effective_at, recorded_at, change_id, author)
        SELECT entry.subscription_id, entry.client_id, entry.service_id, entry.plan_id, entry.price,
               entry.price_state, entry.locked_until, one.started_at, one.ended_at,
               entry.effective_at, book_clock(), entry.change_id, entry.author
          FROM services_subscription one
         WHERE one.id = entry.subscription_id AND NOT EXISTS (
               SELECT FROM services_ledgerentry known
                WHERE known.subscription_id = entry.subscription_id
                  AND known.effective_at = entry.effective_at
                  AND known.price_state = entry.price_state
                  AND known.change_id IS NOT DISTINCT FROM entry.change_id);
        last := entry;
    END LOOP;
    IF last.price_state = 'follows' THEN
        last.price := price_rule_at(last.service_id, last.plan_id, at);
    END IF;
    RETURN last;
END $$;

-- The same for rows of whose catalogue the caller has the locks; and the rows brought in line.
CREATE FUNCTION settle_kept(ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := book_clock();
    row services_subscription;
    kept services_ledgerentry;
    outer_setting text := current_setting('pricebook.kept', true);
BEGIN
    PERFORM set_config('pricebook.kept', 'on', true);
    FOR row IN SELECT * FROM services_subscription WHERE id = ANY (ids) ORDER BY id LOOP
        kept := enter_kept(row.id, least(clock, row.ended_at - interval '1 microsecond'));
        IF kept.price_state = 'follows' THEN
            -- A move that has come since, and has no entry yet, brings its own.
            SELECT price INTO kept.price FROM services_ledgerentry
             WHERE subscription_id = row.id AND NOT period_only
             ORDER BY effective_at DESC, id DESC LIMIT 1;
        END IF;
        IF (kept.price, kept.price_state) <> (row.price, row.price_state)
           OR kept.price_state = 'locked' AND kept.locked_until IS DISTINCT FROM row.locked_until
        THEN
            UPDATE services_subscription
               SET price = kept.price, price_state = kept.price_state,
                   locked_until = kept.locked_until, price_reason = kept_reason(kept)
             WHERE id = row.id;
            INSERT INTO services_lockend (subscription_id, until)
            SELECT row.id, kept.locked_until WHERE kept.locked_until IS NOT NULL;
        END IF;
    END LOOP;
    PERFORM set_config('pricebook.kept', coalesce(outer_setting, ''), true);
END $$;
"""

# A writer of a row that is kept writes that down as it stands, where no worker has done so.
# Each statement asks once whether there is any such row.
TRIGGERS = """
CREATE FUNCTION subscription_may_be_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Not even the clock is asked where nothing is scheduled that keeps anybody.
    PERFORM set_config('pricebook.keeps', CASE
        WHEN coalesce(current_setting('pricebook.kept', true), '') <> 'on'
         AND keeps_late('infinity') AND ledger_change() IS NULL AND keeps_late(book_clock())
        THEN 'on' ELSE '' END, true);
    RETURN NULL;
END $$;

CREATE TRIGGER subscription_may_be_kept BEFORE UPDATE ON services_subscription
FOR EACH STATEMENT EXECUTE FUNCTION subscription_may_be_kept();

CREATE FUNCTION subscription_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    judged_at timestamptz := least(book_clock(), OLD.ended_at - interval '1 microsecond',
                                   NEW.ended_at - interval '1 microsecond');
    kept services_ledgerentry;
    newest services_ledgerentry;
BEGIN
    IF current_setting('pricebook.kept', true) = 'on' OR ledger_change() IS NOT NULL THEN
        RETURN NEW;
    END IF;
    kept := enter_kept(OLD.id, judged_at);
    IF kept.id IS NULL THEN
        -- An end that is put before the change: it was never kept.
        SELECT * INTO newest FROM services_ledgerentry
         WHERE subscription_id = OLD.id AND NOT period_only
         ORDER BY effective_at DESC, id DESC LIMIT 1;
        IF OLD.price_state = 'locked' AND newest.effective_at > judged_at
           AND EXISTS (SELECT FROM services_cataloguevalue
                        WHERE change_id = newest.change_id AND for_new_only) THEN
            kept := newest;
            kept.price_state := 'follows';
        ELSE
            RETURN NEW;
        END IF;
    END IF;
    IF (NEW.service_id, NEW.plan_id) <> (OLD.service_id, OLD.plan_id) THEN
        RETURN NEW;  -- there it follows
    ELSIF kept.price_state = 'locked'
          AND (NEW.price, NEW.price_state) IS NOT DISTINCT FROM (OLD.price, OLD.price_state)
    THEN
        NEW.price := kept.price;
        NEW.price_state := 'locked';
        -- An end or a reason of its own stays as it is written.
        IF NEW.locked_until IS NOT DISTINCT FROM OLD.locked_until THEN
            NEW.locked_until := kept.locked_until;
        END IF;
        IF NEW.price_reason = OLD.price_reason AND OLD.price_state <> 'locked' THEN
            NEW.price_reason := kept_reason(kept);
        END IF;
    ELSIF kept.price_state = 'follows' AND (NEW.price, NEW.price_state, NEW.locked_until)
          IS NOT DISTINCT FROM (OLD.price, OLD.price_state, OLD.locked_until)
    THEN
        NEW.price := NULL;  -- which subscription_priced, a later trigger by name, fills in
        NEW.price_state := 'follows';
        NEW.locked_until := NULL;
        NEW.price_reason := '';
    ELSIF NEW.price_state = 'locked' AND NEW.price = OLD.price THEN
        NEW.price := kept.price;  -- a lock that says no price keeps that in force
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER subscription_kept BEFORE UPDATE ON services_subscription
FOR EACH ROW WHEN (current_setting('pricebook.keeps', true) = 'on'
                   OR OLD.price_state = 'locked' AND NEW.ended_at IS DISTINCT FROM OLD.ended_at)
EXECUTE FUNCTION subscription_kept();
"""

# The written row is compared with the last word on it, where the row did not have that.
WRITTEN = import_module("services.migrations.0022_periods").WRITTEN
for was, becomes in (
    (
        "    writer text;\nBEGIN",
        "    writer text;\n"
        "    keeps boolean := coalesce(current_setting('pricebook.keeps', true), '') = 'on';\n"
        "BEGIN",
    ),
    (
        "                  FROM old_rows) changed;",
        "                  FROM old_rows WHERE NOT keeps) changed;",
    ),
    (
        "        ), written AS MATERIALIZED (",
        """        ), told AS (
            SELECT compared.id, compared.client_id, compared.service_id, compared.plan_id,
                   compared.price, compared.price_state, compared.locked_until,
                   started_at, ended_at, is_new, old_start, old_end,
                   coalesce(word.client_id, old_client) AS old_client,
                   coalesce(word.service_id, old_service) AS old_service,
                   coalesce(word.plan_id, old_plan) AS old_plan,
                   coalesce(word.price, old_price) AS old_price,
                   coalesce(word.price_state, old_state) AS old_state,
                   CASE WHEN word.id IS NULL THEN old_until ELSE word.locked_until END AS old_until
              FROM compared
              LEFT JOIN LATERAL (
                   SELECT id, client_id, service_id, plan_id, price, price_state, locked_until
                     FROM services_ledgerentry
                    WHERE keeps AND subscription_id = compared.id AND NOT period_only
                    ORDER BY effective_at DESC, id DESC LIMIT 1) word ON true
             WHERE is_new
        ), written AS MATERIALIZED (""",
    ),
    (
        "              FROM compared\n             WHERE is_new\n",
        "              FROM told\n             WHERE is_new\n",
    ),
):
    assert was in WRITTEN, was
    WRITTEN = WRITTEN.replace(was, becomes)

# Whoever comes with a start before such a change is kept at once, be it written down or not.
COMES = """
CREATE FUNCTION subscription_came_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM services_cataloguevalue
                WHERE for_new_only AND value IS NOT NULL AND effective_at <= book_clock()
                  AND effective_at > (SELECT min(started_at) FROM new_rows)) THEN
        PERFORM settle_kept(array_agg(id)) FROM new_rows WHERE price_state = 'follows';
    END IF;
    RETURN NULL;
END $$;

-- By its name after the one that writes the ledger.
CREATE TRIGGER subscription_written_kept AFTER INSERT ON services_subscription
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION subscription_came_before();
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0023_who_pays")]
    # Not to be reversed, as those that it follows.
    operations = [
        migrations.AddField(
            "cataloguevalue",
            "position",
            models.BigIntegerField(
                db_default=models.Func(
                    models.Value("services_ledgerentry_id_seq"),
                    function="nextval",
                    output_field=models.BigIntegerField(),
                )
            ),
        ),
        migrations.AddField(
            "cataloguevalue",
            "seen",
            models.DecimalField(decimal_places=2, max_digits=12, null=True),
        ),
        # Changes approved before this were approved to take effect whatever they find.
        migrations.AddField(
            "cataloguevalue", "held", models.BooleanField(db_default=False, null=True)
        ),
        migrations.AddIndex(
            "cataloguevalue",
            models.Index(
                name="value_not_judged",
                fields=["effective_at"],
                condition=models.Q(held__isnull=True),
            ),
        ),
        migrations.AddIndex(
            "cataloguevalue",
            models.Index(
                name="value_for_new_only",
                fields=["effective_at"],
                condition=models.Q(for_new_only=True),
            ),
        ),
        migrations.RunSQL(
            [
                UNDOING, HELD, BEFORE, LATE, KEPT, SUBSCRIPTIONS, SUBTOTALS, ENTER, TRIGGERS,
                WRITTEN, COMES,
            ]
        ),
    ]  # fmt: skip
