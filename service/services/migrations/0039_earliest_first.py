"""Whether anything has come is asked of the earliest, which an index finds.

`EXISTS (… effective_at <= now)` read every value of the catalogue that was still to come, because
the planner expects to find one soon, and an instant that is compared with the volatile clock is
compared row by row. Both cost a reader and a writer time for each change that is scheduled.

Replaces `catalogue_late` (0021) and `subscription_came_before` (0024).
"""

from django.db import migrations

EARLIEST = """
CREATE OR REPLACE FUNCTION catalogue_late(at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT (SELECT min(effective_at) FROM services_cataloguevalue
             WHERE NOT started AND effective_at <= at) IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION subscription_came_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM services_cataloguevalue
                WHERE for_new_only AND value IS NOT NULL AND effective_at <= (SELECT book_clock())
                  AND effective_at > (SELECT min(started_at) FROM new_rows)) THEN
        PERFORM settle_kept(array_agg(id)) FROM new_rows WHERE price_state = 'follows';
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0038_ended_where_it_was")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(EARLIEST)]
