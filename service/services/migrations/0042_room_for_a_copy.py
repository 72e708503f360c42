"""A late copy of a discount makes room for another plan's, and a write that leaves one is no taker.

Plans may exchange discounts while no worker comes: one leaves 20 % for 30 %, another takes it and
leaves 10 %, and the first takes that. Each approval was right, but the copies of such a circle
can't be written one after another under their unique index: the change was held, and its value
withdrawn, which the other plan's discount refused; so no worker could start anything. `make_room`
puts the copy that is in the way where it is to be, or aside until its worker comes: nobody reads it
until then.

And a discount from now on was judged by the instant of the statement, which is before that of the
value that the statement writes. So what a plan was just leaving counted as its own: an edit that
ended a conflict of two plans was refused for it.

Replaces `plan_discount_moved` (0020) and `discounts_from_now` (0040).
"""

from django.db import migrations

ROOM = """
CREATE OR REPLACE FUNCTION discounts_from_now(plan bigint) RETURNS SETOF numeric
LANGUAGE sql STABLE AS $$
    WITH clock AS MATERIALIZED (SELECT book_clock() AS now)
    SELECT DISTINCT discount_at(plan, at)::numeric
      FROM (SELECT now AS at FROM clock
             UNION
            SELECT effective_at FROM services_cataloguevalue
             WHERE plan_id = plan AND effective_at > (SELECT now FROM clock)) instant
$$;

CREATE FUNCTION make_room(plan bigint, percent integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    type text := (SELECT plan_type FROM services_plan WHERE id = plan);
    other bigint := (SELECT id FROM services_plan
                      WHERE plan_type = type AND discount_percent = percent AND id <> plan);
    in_force integer;
BEGIN
    IF other IS NULL THEN
        RETURN;
    END IF;
    PERFORM lock_plan(other, true);
    in_force := discount_at(other, book_clock());
    IF in_force = percent THEN
        RETURN;  -- two have it, and the index refuses the second copy
    END IF;
    PERFORM set_config('pricebook.aside', other::text, true);
    UPDATE services_plan SET discount_percent = (
        SELECT free FROM generate_series(0, 100) free
         WHERE free NOT IN (SELECT discount_percent FROM services_plan WHERE plan_type = type)
         ORDER BY free = in_force DESC, free DESC LIMIT 1)
     WHERE id = other;
    PERFORM set_config('pricebook.aside', '', true);
END $$;

CREATE OR REPLACE FUNCTION plan_discount_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    in_force numeric := discount_at(OLD.id, book_clock());
    edit record;
BEGIN
    IF OLD.id <> NEW.id THEN
        PERFORM plan_discount_is(NEW.id, NEW.discount_percent);
    ELSIF NEW.discount_percent = in_force
            OR NEW.id::text = current_setting('pricebook.aside', true) THEN
        RETURN NULL;  -- a copy
    END IF;
    INSERT INTO services_repricing (plan_id, old_value, new_value, comment, author)
    VALUES (NEW.id, in_force, NEW.discount_percent,
            coalesce(current_setting('pricebook.comment', true), ''),
            coalesce(nullif(current_setting('pricebook.author', true), ''), session_user))
    RETURNING effective_at, change_id, author INTO edit;
    IF OLD.id = NEW.id THEN
        INSERT INTO services_cataloguevalue
               (plan_id, value, effective_at, change_id, author, started)
        VALUES (NEW.id, NEW.discount_percent, edit.effective_at, edit.change_id, edit.author, true);
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0041_entered_before_a_write")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(ROOM)]
