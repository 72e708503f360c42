"""The state in force, for every reader: the tables, with what is due and not copied yet.

`price`, `full_price` and `discount_percent` are stored copies, which workers write, a chunk a
transaction. From the instant of a change until the last copy is written the views say what the
facts say, row by row; else they hand the copies on, for the price of one look: is anything due?
Whoever reads by SQL reads these; the tables themselves are for writers.

Replaced: `subtotal_of_insert`, `subtotal_of_update`, `subtotal_of_delete`, `late_copies` and the
view `subtotal_in_force`, in 0023; `subscription_in_force` in 0024 and, with `service_in_force` and
`plan_in_force`, in 0027, and these two in 0050; `catalogue_late`, in 0039. services/schema.sql has
what stands now.
"""

from django.db import migrations, models

# The earliest instant from which a copy may be late; NULL when all are written. Whoever ended
# before it, or was asked for before it, has the price that is stored.
LATE = """
CREATE FUNCTION copies_late_since(at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT least(
        (SELECT min(effective_at) FROM services_cataloguevalue
          WHERE NOT started AND effective_at <= at),
        (SELECT min(effective_at) FROM services_repricing WHERE finished_at IS NULL),
        (SELECT min(until) FROM services_lockend WHERE until <= at))
$$;

CREATE FUNCTION catalogue_late(at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM services_cataloguevalue WHERE NOT started AND effective_at <= at)
$$;
"""

# The newest instant that has passed and that nobody has written down yet: an answer from before it
# is another one than an answer from after it, though nothing in the tables has moved.
BOUNDARY = """
CREATE FUNCTION newest_boundary(at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT greatest(
        (SELECT max(effective_at) FROM services_cataloguevalue
          WHERE NOT started AND effective_at <= at),
        (SELECT max(until) FROM services_lockend WHERE until <= at))
$$;
"""

CATALOGUE = """
CREATE VIEW service_in_force AS
SELECT id, name,
       CASE WHEN (SELECT catalogue_late(book_now())) THEN list_price_at(id, book_now())
            ELSE full_price END::numeric(12, 2) AS full_price
  FROM services_service;

CREATE VIEW plan_in_force AS
SELECT id, plan_type,
       CASE WHEN (SELECT catalogue_late(book_now())) THEN discount_at(id, book_now())
            ELSE discount_percent END::smallint AS discount_percent
  FROM services_plan;
"""

# Without a lock the clock is not asked: each look at it costs as much as to read ten rows.
# A lock that has ended is none, unless the subscription ended before it; the rule's price of one
# that has ended is that of the moment before its end.
SUBSCRIPTIONS = """
CREATE VIEW subscription_in_force AS
SELECT id, client_id, service_id, plan_id,
       CASE WHEN (SELECT copies_late_since(book_now())) IS NULL THEN price
            WHEN ended_at <= (SELECT copies_late_since(book_now())) THEN price
            WHEN price_state = 'follows'
              OR locked_until IS NOT NULL AND locked_until <= judged_at
            THEN coalesce(price_rule_at(service_id, plan_id, judged_at), price)
            ELSE price END AS price,
       CASE WHEN locked_until IS NOT NULL AND locked_until <= judged_at THEN 'follows'
            ELSE price_state END AS price_state,
       CASE WHEN locked_until IS NOT NULL AND locked_until <= judged_at THEN NULL
            ELSE locked_until END AS locked_until,
       CASE WHEN locked_until IS NOT NULL AND locked_until <= judged_at THEN ''
            ELSE price_reason END AS price_reason,
       comment, stamp, source, external_id, started_at, ended_at
  FROM (SELECT *, least((SELECT book_now()), ended_at - interval '1 microsecond') AS judged_at
          FROM services_subscription) subscription;
"""

# For each pair: how many follow that have no end, and the prices stored for them. With these a
# total is right though no copy of theirs is. The others that a late copy can concern are found by
# indexes: those that end, by when; those whose lock has ended, by its end.
FOLLOWERS = """
CREATE OR REPLACE FUNCTION subtotal_of_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_subtotal
           (service_id, plan_id, subscriptions, amount, followers, followers_amount)
    SELECT service_id, plan_id, count(*), sum(price), count(*) FILTER (WHERE follows),
           coalesce(sum(price) FILTER (WHERE follows), 0)
      FROM (SELECT *, price_state = 'follows' AND ended_at IS NULL AS follows FROM new_rows) row
     GROUP BY service_id, plan_id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION subtotal_of_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Also where nothing moved between the pairs: a comment is part of the book.
    INSERT INTO services_subtotal
           (service_id, plan_id, subscriptions, amount, followers, followers_amount)
    SELECT service_id, plan_id, sum(sign), sum(sign * price),
           coalesce(sum(sign) FILTER (WHERE follows), 0),
           coalesce(sum(sign * price) FILTER (WHERE follows), 0)
      FROM (SELECT service_id, plan_id, price, 1 AS sign,
                   price_state = 'follows' AND ended_at IS NULL AS follows FROM new_rows
             UNION ALL
            SELECT service_id, plan_id, price, -1,
                   price_state = 'follows' AND ended_at IS NULL FROM old_rows) row
     GROUP BY service_id, plan_id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION subtotal_of_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_subtotal
           (service_id, plan_id, subscriptions, amount, followers, followers_amount)
    SELECT service_id, plan_id, -count(*), -sum(price), -count(*) FILTER (WHERE follows),
           -coalesce(sum(price) FILTER (WHERE follows), 0)
      FROM (SELECT *, price_state = 'follows' AND ended_at IS NULL AS follows FROM old_rows) row
     GROUP BY service_id, plan_id;
    RETURN NULL;
END $$;

INSERT INTO services_subtotal (service_id, plan_id, followers, followers_amount)
SELECT service_id, plan_id, count(*), sum(price) FROM services_subscription
 WHERE price_state = 'follows' AND ended_at IS NULL GROUP BY service_id, plan_id;
"""

# A function and no part of the view, so that no reader plans it, and it is left at once where no
# copy is late. OFFSET 0: a value is looked up once for each service and each plan, and not for each
# pair of them; and those whose lock has ended are few, and looked up one by one.
SUBTOTALS = """
CREATE FUNCTION late_copies() RETURNS TABLE (service_id bigint, plan_id bigint, amount numeric)
LANGUAGE plpgsql STABLE ROWS 10 AS $$
#variable_conflict use_column
DECLARE
    now timestamptz := book_now();
    since timestamptz := copies_late_since(now);
BEGIN
    IF since IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT service_id, plan_id,
               followers * price_rule(full_price, discount_percent) - amount
          FROM (SELECT service_id, plan_id, sum(followers) AS followers, sum(amount) AS amount
                  FROM (SELECT service_id, plan_id, followers, followers_amount AS amount
                          FROM services_subtotal WHERE service_id IS NOT NULL
                         UNION ALL
                        SELECT service_id, plan_id, 1, price FROM services_subscription
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
                        - price, 0)
          FROM services_subscription
         WHERE price_state = 'follows' AND ended_at > since AND ended_at <= now
         UNION ALL
        SELECT service_id, plan_id,
               coalesce(price_rule_at(service_id, plan_id, judged_at) - price, 0)
          FROM (SELECT DISTINCT subscription_id FROM services_lockend WHERE until <= now) ended
         CROSS JOIN LATERAL (
               SELECT *, least(now, ended_at - interval '1 microsecond') AS judged_at
                 FROM services_subscription WHERE id = subscription_id OFFSET 0) locked
         WHERE locked_until <= judged_at;
END $$;

CREATE VIEW subtotal_in_force AS
SELECT service_id, plan_id, subscriptions, amount, changes FROM services_subtotal
 UNION ALL
SELECT service_id, plan_id, 0, amount, 0 FROM late_copies();
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0020_catalogue_values")]
    # Not to be reversed, as the one that it follows.
    operations = [
        migrations.AddField("subtotal", "followers", models.BigIntegerField(db_default=0)),
        migrations.AddField(
            "subtotal",
            "followers_amount",
            models.DecimalField(db_default=0, decimal_places=2, max_digits=20),
        ),
        migrations.RunSQL([LATE, BOUNDARY, CATALOGUE, SUBSCRIPTIONS, FOLLOWERS, SUBTOTALS]),
    ]
