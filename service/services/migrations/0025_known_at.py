"""Answers as known at an instant: by the facts that were recorded by then, and no others.

`as_of` and `explain` answer by all facts that are recorded. With `known_at` they answer by those
that were recorded by an instant: of the ledger's entries, of the catalogue's values and of what
undoes them, and of the periods, which stand in the entries. A late worker writes copies only,
so it makes no difference whether they were recorded by then.

The row of today does not say what was known: which instants are taken from a value (`undone`),
whether it is held, when a subscription starts and ends. So these functions, siblings of those for
what is known now, count from the facts. `kept_entries` has one body for both.

Replaced: `kept_entries`, in 0032. services/schema.sql has what stands now.
"""

from django.db import migrations, models

# The last word of those that were recorded by then, of a value at an instant.
UNDONE = """
CREATE FUNCTION value_undone(value_id bigint, at timestamptz, known timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT NOT again FROM services_cataloguevalue
          WHERE undoes_id = value_id AND effective_at <= at AND recorded_at <= known
          ORDER BY id DESC LIMIT 1), false)
$$;
"""

# Where nothing was recorded later that stands before the value, the verdict is that of today, which
# a worker may have written down. Otherwise all that were approved with `hold`, and so have `seen`
# another value, are judged in the order of their places, by what was known.
HELD = """
CREATE FUNCTION value_is_held(value_id bigint, known timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    asked services_cataloguevalue;
    each services_cataloguevalue;
    before numeric;
    found bigint[] := '{}';
BEGIN
    SELECT * INTO asked FROM services_cataloguevalue WHERE id = value_id;
    IF NOT EXISTS (SELECT FROM services_cataloguevalue later
                    WHERE (service_id = asked.service_id OR plan_id = asked.plan_id)
                      AND effective_at <= asked.effective_at AND recorded_at > known) THEN
        RETURN coalesce(asked.held, value_is_held(value_id));
    END IF;
    FOR each IN
        SELECT * FROM services_cataloguevalue value
         WHERE seen IS NOT NULL AND recorded_at <= known
           AND (effective_at, id) <= (asked.effective_at, asked.id)
           AND (service_id = asked.service_id OR plan_id = asked.plan_id)
           AND NOT value_undone(id, effective_at, known)
         ORDER BY effective_at, id
    LOOP
        SELECT value INTO before FROM services_cataloguevalue earlier
         WHERE (service_id = each.service_id OR plan_id = each.plan_id)
           AND (effective_at, id) < (each.effective_at, each.id) AND value IS NOT NULL
           AND recorded_at <= known AND NOT value_undone(id, each.effective_at, known)
           AND id <> ALL (found)
         ORDER BY effective_at DESC, id DESC LIMIT 1;
        IF before IS DISTINCT FROM each.seen THEN
            found := found || each.id;
        END IF;
    END LOOP;
    RETURN asked.id = ANY (found);
END $$;

-- Whether a value counts at an instant; known by 'infinity' as it says itself.
CREATE FUNCTION value_counts(value services_cataloguevalue, at timestamptz, known timestamptz)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN known = 'infinity'
                THEN NOT value.undone @> at AND NOT coalesce(value.held, value_is_held(value.id))
                ELSE value.recorded_at <= known AND NOT value_undone(value.id, at, known)
                 AND NOT value_is_held(value.id, known) END
$$;
"""

# A first value holds from ever on, whenever it was recorded. A service or plan that is gone since
# was known then.
IN_FORCE = """
CREATE FUNCTION list_price_at(service bigint, at timestamptz, known timestamptz) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT value FROM services_cataloguevalue each
          WHERE service_id = service AND effective_at <= at AND value IS NOT NULL
            AND value_counts(each, at, known)
          ORDER BY effective_at DESC, id DESC LIMIT 1),
        (SELECT value FROM services_cataloguevalue
          WHERE service_id = service AND value IS NOT NULL ORDER BY effective_at, id LIMIT 1))
$$;

CREATE FUNCTION discount_at(plan bigint, at timestamptz, known timestamptz) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT value FROM services_cataloguevalue each
          WHERE plan_id = plan AND effective_at <= at AND value IS NOT NULL
            AND value_counts(each, at, known)
          ORDER BY effective_at DESC, id DESC LIMIT 1),
        (SELECT value FROM services_cataloguevalue
          WHERE plan_id = plan AND value IS NOT NULL ORDER BY effective_at, id LIMIT 1))::integer
$$;

CREATE FUNCTION price_rule_at(service bigint, plan bigint, at timestamptz, known timestamptz)
RETURNS numeric LANGUAGE sql STABLE
RETURN price_rule(list_price_at(service, at, known), discount_at(plan, at, known));

CREATE FUNCTION value_before(
    service bigint, plan bigint, at timestamptz, number bigint, known timestamptz
) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT value FROM services_cataloguevalue each
     WHERE (service_id = service OR plan_id = plan) AND (effective_at, id) < (at, number)
       AND value IS NOT NULL AND value_counts(each, at, known)
     ORDER BY effective_at DESC, id DESC LIMIT 1
$$;
"""

# The period by the last entry that was recorded by then. Entries of the time before they had one
# leave it to the first that has: its start, and its end if the migration wrote it, for those that
# had an end; all others had none.
PERIOD = """
CREATE FUNCTION period_known(subscription bigint, known timestamptz)
RETURNS TABLE (started_at timestamptz, ended_at timestamptz) LANGUAGE sql STABLE ROWS 1 AS $$
    (SELECT started_at, ended_at FROM services_ledgerentry
      WHERE subscription_id = subscription AND started_at IS NOT NULL AND recorded_at <= known
      ORDER BY id DESC LIMIT 1)
     UNION ALL
    (SELECT started_at, CASE WHEN period_only AND author = 'Pricebook' THEN ended_at END
       FROM services_ledgerentry
      WHERE subscription_id = subscription AND started_at IS NOT NULL
      ORDER BY id LIMIT 1)
     UNION ALL
    (SELECT started_at, NULL FROM services_subscription WHERE id = subscription)
      LIMIT 1
$$;
"""

KEPT = """
CREATE FUNCTION kept_entries(subscription bigint, at timestamptz, known timestamptz)
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
     WHERE subscription_id = subscription AND effective_at <= at AND recorded_at <= known
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
             WHERE subscription_id = subscription AND effective_at <= at AND recorded_at <= known
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
        SELECT * INTO next_keep FROM services_cataloguevalue later
         WHERE for_new_only AND value IS NOT NULL AND effective_at <= at
           AND (service_id = word.service_id OR plan_id = word.plan_id)
           AND (effective_at > since
                OR effective_at = since AND (id > number OR position > written))
           AND value_counts(later, effective_at, known)
         ORDER BY effective_at, id LIMIT 1;
        again := NULL;
        IF undoing.id IS NOT NULL THEN
            SELECT * INTO again FROM services_cataloguevalue value
             WHERE undoes_id = keep.id AND value.again AND effective_at >= since
               AND recorded_at <= known
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
        entry.price := CASE WHEN known = 'infinity'
            THEN price_before(word.service_id, word.plan_id, keep.effective_at, keep.id)
            ELSE price_rule(
                value_before(word.service_id, NULL, keep.effective_at, keep.id, known),
                value_before(NULL, word.plan_id, keep.effective_at, keep.id, known)::integer) END;
        entry.locked_until := keep.locked_until;
        entry.effective_at := next_keep.effective_at;
        entry.recorded_at := next_keep.recorded_at;
        entry.change_id := next_keep.change_id;
        entry.author := '';
        RETURN NEXT entry;

        undoing := NULL;
        SELECT * INTO undoing FROM services_cataloguevalue value
         WHERE undoes_id = keep.id AND NOT value.again AND recorded_at <= known
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
        entry.price := CASE WHEN known = 'infinity'
            THEN price_rule_at(word.service_id, word.plan_id, since)
            ELSE price_rule_at(word.service_id, word.plan_id, since, known) END;
        entry.locked_until := NULL;
        entry.effective_at := since;
        entry.recorded_at := coalesce(undoing.recorded_at, since);
        entry.change_id := undoing.change_id;
        RETURN NEXT entry;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION kept_entries(subscription bigint, at timestamptz)
RETURNS SETOF services_ledgerentry LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT * FROM kept_entries(subscription, at, 'infinity')
$$;

CREATE FUNCTION kept_entry(subscription bigint, at timestamptz, known timestamptz)
RETURNS services_ledgerentry LANGUAGE plpgsql STABLE AS $$
DECLARE
    entry services_ledgerentry;
    last services_ledgerentry;
BEGIN
    FOR entry IN SELECT * FROM kept_entries(subscription, at, known) LOOP
        last := entry;
    END LOOP;
    IF last.price_state = 'follows' THEN
        last.price := CASE WHEN known = 'infinity'
            THEN price_rule_at(last.service_id, last.plan_id, at)
            ELSE price_rule_at(last.service_id, last.plan_id, at, known) END;
    END IF;
    RETURN last;
END $$;

CREATE OR REPLACE FUNCTION kept_entry(subscription bigint, at timestamptz)
RETURNS services_ledgerentry LANGUAGE sql STABLE AS $$
    SELECT kept_entry(subscription, at, 'infinity')
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0024_kept_and_held")]
    # Not to be reversed, as those that it follows.
    operations = [
        migrations.AddIndex(
            "cataloguevalue",
            models.Index(
                name="value_undoes",
                fields=["undoes_id"],
                condition=models.Q(undoes_id__isnull=False),
            ),
        ),
        migrations.RunSQL([UNDONE, HELD, IN_FORCE, PERIOD, KEPT]),
    ]
