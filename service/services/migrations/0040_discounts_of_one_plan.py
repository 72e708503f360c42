"""A discount of a type belongs to one plan, from the approval that decides it.

The unique index of plans compares stored copies. So a second plan could take a discount that
another one of its type had been approved for, or had in force already and not copied yet: readers
answered with the approved discount from its instant on, until a worker found that it could not
write the copy, and held the change. Now all that a plan has in force and all that is approved for
it counts, for every writer of a plan and of a value of one: who comes second is refused.

Replaced: `discounts_from_now`, in 0042. services/schema.sql has what stands now.
"""

from django.db import migrations

ONE_PLAN = """
CREATE FUNCTION discounts_from_now(plan bigint) RETURNS SETOF numeric LANGUAGE sql STABLE AS $$
    SELECT DISTINCT discount_at(plan, at)::numeric
      FROM (SELECT book_now() AS at
             UNION
            SELECT effective_at FROM services_cataloguevalue
             WHERE plan_id = plan AND effective_at > book_now()) instant
$$;

CREATE FUNCTION plan_with_discount(type text, percents numeric[], other_than bigint)
RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT id FROM services_plan plan
     WHERE plan_type = type AND id IS DISTINCT FROM other_than
       AND EXISTS (SELECT FROM services_cataloguevalue
                    WHERE plan_id = plan.id AND value = ANY (percents))
       AND EXISTS (SELECT FROM discounts_from_now(plan.id) percent WHERE percent = ANY (percents))
     ORDER BY id LIMIT 1
$$;

-- The lock makes two writers of different plans come one after the other. It is the last one that
-- a statement takes: after those of its plans.
CREATE FUNCTION refuse_discount_of_two(plan bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    type text;
    percents numeric[];
    other bigint;
BEGIN
    PERFORM pg_advisory_xact_lock('services_plan'::regclass::oid::int, -1);
    SELECT plan_type INTO type FROM services_plan WHERE id = plan;
    percents := ARRAY(SELECT discounts_from_now(plan));
    other := plan_with_discount(type, percents, plan);
    IF other IS NOT NULL THEN
        RAISE unique_violation USING
            TABLE = 'services_plan', CONSTRAINT = 'plan_unique_type_and_percent',
            MESSAGE = format('plan %s is %s with a discount of %s %% already, or will be by what is'
                             ' approved, and there can''t be two', other, type,
                             (SELECT string_agg(percent::int::text, ' or ' ORDER BY percent)
                                FROM discounts_from_now(other) percent
                               WHERE percent = ANY (percents)));
    END IF;
END $$;

CREATE FUNCTION value_of_two_plans() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_discount_of_two(NEW.plan_id);
    RETURN NULL;
END $$;

CREATE FUNCTION plan_of_another_type() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_discount_of_two(NEW.id);
    RETURN NULL;
END $$;

-- By its name after `catalogue_value_undone`.
CREATE TRIGGER catalogue_value_unique AFTER INSERT ON services_cataloguevalue
FOR EACH ROW WHEN (NEW.plan_id IS NOT NULL) EXECUTE FUNCTION value_of_two_plans();
CREATE TRIGGER plan_type_moved AFTER UPDATE OF plan_type ON services_plan
FOR EACH ROW WHEN (NEW.plan_type <> OLD.plan_type) EXECUTE FUNCTION plan_of_another_type();
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0039_earliest_first")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(ONE_PLAN)]
