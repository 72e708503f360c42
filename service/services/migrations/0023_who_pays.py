"""The sum paid: for each (service, plan) that of those who have begun and have not ended.

A total is a sum of what writers have appended, and so is this one. The part that a statement adds
to it is a function of time, which moves at starts and ends only, judged by the clock then:

    what has begun and has not ended counts at once     services_subtotal, the columns paid_…
    a start that is to come counts from its instant on   services_paidboundary, with a plus
    an end that is to come counts from its instant on    services_paidboundary, with a minus

When a row is written again, its old form is subtracted and its new one added, both judged by one
clock, so it does not matter whether a boundary of the old one has passed since, and been folded:

    paid at t = sum(subtotals) + sum(boundaries with at <= t), for any t from the last write on

A reader takes the clock once, after its snapshot: so no writer whose rows it sees has a later one.
`total.fold()` takes what has passed over to the subtotals, and counts it in `changes`: the version
of the book has the newest boundary that has passed, and must not come back to what it was before.

Boundaries that cancel each other out keep their instant all the same: for one client alone they
may not cancel out.

Replaced: `late_copies`, in 0027, and `subtotal_in_force`, in 0024. services/schema.sql has what
stands now.
"""

from django.db import migrations, models

# Whoever is in the middle of a write would go on by the old functions: waited for, and kept out
# until the end of the migration.
ALONE = "LOCK TABLE services_subscription IN SHARE ROW EXCLUSIVE MODE"

# Passed ones are deleted every few seconds; the version looks at the newest of them.
VACUUM = """
ALTER TABLE services_paidboundary SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01
)
"""

BEGUN = """
    INSERT INTO services_subtotal
           (service_id, plan_id, subscriptions, amount, followers, followers_amount,
            paid_subscriptions, paid_amount, paid_followers, paid_followers_amount)
    SELECT service_id, plan_id, sum(sign), sum(sign * price),
           coalesce(sum(sign) FILTER (WHERE lasts), 0),
           coalesce(sum(sign * price) FILTER (WHERE lasts), 0),
           coalesce(sum(sign) FILTER (WHERE pays), 0),
           coalesce(sum(sign * price) FILTER (WHERE pays), 0),
           coalesce(sum(sign) FILTER (WHERE pays AND follows), 0),
           coalesce(sum(sign * price) FILTER (WHERE pays AND follows), 0)
      FROM (SELECT *, price_state = 'follows' AS follows,
                   price_state = 'follows' AND ended_at IS NULL AS lasts,
                   started_at <= clock AND (ended_at IS NULL OR ended_at > clock) AS pays
              FROM ({rows}) signed) row
     GROUP BY service_id, plan_id;"""
TO_COME = """
        INSERT INTO services_paidboundary
               (service_id, plan_id, at, subscriptions, amount, followers, followers_amount)
        SELECT service_id, plan_id, at, sum(sign * way), sum(sign * way * price),
               coalesce(sum(sign * way) FILTER (WHERE price_state = 'follows'), 0),
               coalesce(sum(sign * way * price) FILTER (WHERE price_state = 'follows'), 0)
          FROM ({rows}) signed
         CROSS JOIN LATERAL (VALUES (started_at, 1), (ended_at, -1)) boundary (at, way)
         WHERE (started_at > clock OR ended_at > clock) AND at > clock
         GROUP BY service_id, plan_id, at;"""
# A row in which nothing has moved that counts (only a comment) tells no boundary again.
TRIGGERS = """
CREATE OR REPLACE FUNCTION subtotal_of_insert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := book_clock();
BEGIN{insert}
    IF EXISTS (SELECT FROM new_rows WHERE started_at > clock OR ended_at > clock)
    THEN{insert_to_come}
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION subtotal_of_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := book_clock();
BEGIN
    -- Also where nothing moved between the pairs: a comment is part of the book.{update}
    IF EXISTS (SELECT FROM new_rows WHERE started_at > clock OR ended_at > clock)
       OR EXISTS (SELECT FROM old_rows WHERE started_at > clock OR ended_at > clock)
    THEN{update_to_come}
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION subtotal_of_delete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := book_clock();
BEGIN{delete}
    IF EXISTS (SELECT FROM old_rows WHERE started_at > clock OR ended_at > clock)
    THEN{delete_to_come}
    END IF;
    RETURN NULL;
END $$;
"""
CAME = "SELECT *, 1 AS sign FROM new_rows"
GONE = "SELECT *, -1 AS sign FROM old_rows"
WRITTEN = """
              SELECT service_id, plan_id, price, price_state, started_at, ended_at, 1 AS sign
                FROM new_rows
               UNION ALL
              SELECT service_id, plan_id, price, price_state, started_at, ended_at, -1
                FROM old_rows"""
MOVED = """
              SELECT *, 1 AS sign
                FROM (SELECT id, service_id, plan_id, price, price_state, started_at, ended_at
                        FROM new_rows
                      EXCEPT
                      SELECT id, service_id, plan_id, price, price_state, started_at, ended_at
                        FROM old_rows) came
               UNION ALL
              SELECT *, -1
                FROM (SELECT id, service_id, plan_id, price, price_state, started_at, ended_at
                        FROM old_rows
                      EXCEPT
                      SELECT id, service_id, plan_id, price, price_state, started_at, ended_at
                        FROM new_rows) gone"""
TRIGGERS = TRIGGERS.format(
    insert=BEGUN.format(rows=CAME),
    insert_to_come=TO_COME.format(rows=CAME),
    update=BEGUN.format(rows=WRITTEN),
    update_to_come=TO_COME.format(rows=MOVED),
    delete=BEGUN.format(rows=GONE),
    delete_to_come=TO_COME.format(rows=GONE),
)

RESTART = """
CREATE OR REPLACE FUNCTION subtotal_restart() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM services_subtotal;
    DELETE FROM services_paidboundary;
    INSERT INTO services_subtotal (subscriptions, amount, changes)
    VALUES (0, 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    RETURN NULL;
END $$;
"""

# Beside what nobody has copied yet, the starts and ends that nobody has folded.
BOUNDARY = """
CREATE FUNCTION newest_boundary_of_book(at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE
AS $$
    SELECT greatest(
        newest_boundary($1),
        (SELECT max(boundary.at) FROM services_paidboundary boundary WHERE boundary.at <= $1))
$$;
"""

# The rows that are there already, each as if it were written now.
FILL = """
DO $$
DECLARE
    clock timestamptz := book_clock();
BEGIN
    INSERT INTO services_subtotal
           (service_id, plan_id, paid_subscriptions, paid_amount, paid_followers,
            paid_followers_amount)
    SELECT service_id, plan_id, count(*), sum(price),
           count(*) FILTER (WHERE price_state = 'follows'),
           coalesce(sum(price) FILTER (WHERE price_state = 'follows'), 0)
      FROM services_subscription
     WHERE started_at <= clock AND (ended_at IS NULL OR ended_at > clock)
     GROUP BY service_id, plan_id;{to_come}
END $$;
""".format(to_come=TO_COME.format(rows="SELECT *, 1 AS sign FROM services_subscription"))  # noqa: S608

# `late_copies` has more to add now: the boundaries that have passed and are not folded, and the sum
# by which late copies fall short for those who pay. That sum needs the number of followers, too:
# one that ends, or begins, is known by its boundary.
SUBTOTALS = """
DROP VIEW subtotal_in_force;
DROP FUNCTION late_copies();

CREATE FUNCTION late_copies() RETURNS TABLE (
    service_id bigint, plan_id bigint, amount numeric, paid_subscriptions bigint,
    paid_amount numeric)
LANGUAGE plpgsql STABLE ROWS 10 AS $$
#variable_conflict use_column
DECLARE
    now timestamptz := book_now();
    since timestamptz := copies_late_since(now);
    clock timestamptz := book_clock();  -- later than that of each writer whose rows are seen
BEGIN
    RETURN QUERY
        SELECT service_id, plan_id, 0::numeric, subscriptions, amount
          FROM services_paidboundary WHERE at <= clock;
    IF since IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT service_id, plan_id,
               followers * price_rule(full_price, discount_percent) - amount, 0::bigint,
               paid_followers * price_rule(full_price, discount_percent) - paid_amount
          FROM (SELECT service_id, plan_id, sum(followers) AS followers, sum(amount) AS amount,
                       sum(paid_followers) AS paid_followers, sum(paid_amount) AS paid_amount
                  FROM (SELECT service_id, plan_id, followers, followers_amount AS amount,
                               paid_followers, paid_followers_amount AS paid_amount
                          FROM services_subtotal WHERE service_id IS NOT NULL
                         UNION ALL
                        SELECT service_id, plan_id, 0, 0, followers, followers_amount
                          FROM services_paidboundary WHERE at <= clock
                         UNION ALL
                        SELECT service_id, plan_id, 1, price, 0, 0 FROM services_subscription
                         WHERE price_state = 'follows' AND ended_at > now) follower
                 GROUP BY service_id, plan_id) pair
          JOIN (SELECT id, list_price_at(id, now) AS full_price
                  FROM services_service OFFSET 0) service ON service.id = service_id
          JOIN (SELECT id, discount_at(id, now) AS discount_percent
                  FROM services_plan OFFSET 0) plan ON plan.id = plan_id
         WHERE followers <> 0
         UNION ALL
        SELECT service_id, plan_id,
               coalesce(price_rule_at(service_id, plan_id, ended_at - interval '1 microsecond')
                        - price, 0), 0, 0
          FROM services_subscription
         WHERE price_state = 'follows' AND ended_at > since AND ended_at <= now
         UNION ALL
        SELECT service_id, plan_id, short, 0,
               CASE WHEN started_at <= clock AND (ended_at IS NULL OR ended_at > clock)
                    THEN short ELSE 0 END
          FROM (SELECT DISTINCT subscription_id FROM services_lockend WHERE until <= now) ended
         CROSS JOIN LATERAL (
               SELECT *, coalesce(price_rule_at(service_id, plan_id, judged_at) - price, 0) AS short
                 FROM (SELECT *, least(now, ended_at - interval '1 microsecond') AS judged_at
                         FROM services_subscription WHERE id = subscription_id OFFSET 0) locked
                WHERE locked_until <= judged_at OFFSET 0) released;
END $$;

CREATE VIEW subtotal_in_force AS
SELECT service_id, plan_id, subscriptions, amount, paid_subscriptions, paid_amount, changes
  FROM services_subtotal
 UNION ALL
SELECT service_id, plan_id, 0, amount, paid_subscriptions, paid_amount, 0 FROM late_copies();
"""

ZERO = models.DecimalField(db_default=0, decimal_places=2, max_digits=20)


class Migration(migrations.Migration):
    dependencies = [("services", "0022_periods")]
    # Not to be reversed, as the one that it follows.
    operations = [
        migrations.RunSQL(ALONE),
        *[
            migrations.AddField("subtotal", name, field)
            for name, field in {
                "paid_subscriptions": models.BigIntegerField(db_default=0),
                "paid_amount": ZERO,
                "paid_followers": models.BigIntegerField(db_default=0),
                "paid_followers_amount": ZERO,
            }.items()
        ],
        migrations.CreateModel(
            "PaidBoundary",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("service_id", models.BigIntegerField()),
                ("plan_id", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                ("subscriptions", models.BigIntegerField(db_default=0)),
                ("amount", ZERO),
                ("followers", models.BigIntegerField(db_default=0)),
                ("followers_amount", ZERO),
            ],
            options={"indexes": [models.Index(name="paid_boundary_at", fields=["at"])]},
        ),
        migrations.RunSQL([VACUUM, TRIGGERS, RESTART, BOUNDARY, FILL, SUBTOTALS]),
    ]
