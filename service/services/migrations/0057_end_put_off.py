"""The feed has each price of the time by which an end that has passed is put off.

An end may be moved to a later one that has passed too: then the subscription has paid the time
between, and every reader of the past says what. But no worker had entered what came after the old
end, and entries of periods from then have the price of that end. So a program that bills by the
feed billed that price up to the new end. Now the writer enters what was paid since the old end,
marked as written for a period (`period_only`). A correction of that time is put behind it by its
trigger.

Where a change for new subscriptions only has come in that time, it is left as it was (until 0061).

A worker calls it too, for a row of a set that the database refuses to copy: a correction that was
made since the set was listed has an entry of what the set said, at its end.

Replaces `subscription_written` (0056).

Replaced: `enter_since_end`, in 0061; `subscription_written`, in 0062. services/schema.sql has what
stands now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
said = import_module("services.migrations.0056_ends_of_locks_said")

SINCE_END = """
CREATE FUNCTION enter_since_end(
    ids bigint[], ends timestamptz[], clock timestamptz, writer text
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO services_ledgerentry
           (subscription_id, client_id, service_id, plan_id, price, price_state, locked_until,
            started_at, ended_at, period_only, effective_at, recorded_at, author)
    SELECT id, client_id, service_id, plan_id, price, price_state, locked_until,
           started_at, ended_at, true, at, clock, writer
      FROM (SELECT one.id, newest.client_id, newest.service_id, newest.plan_id, ruled.price,
                   CASE WHEN follows THEN 'follows' ELSE newest.price_state END AS price_state,
                   CASE WHEN NOT follows THEN newest.locked_until END AS locked_until,
                   one.started_at, one.ended_at, moment.at, billed.price AS billed,
                   lag(ruled.price) OVER (PARTITION BY one.id ORDER BY moment.at) AS before
              FROM unnest(ids, ends) asked (id, old_end)
              JOIN services_subscription one ON one.id = asked.id
             CROSS JOIN LATERAL (
                   SELECT asked.old_end AS at
                    UNION
                   SELECT unnest(ARRAY[effective_at, locked_until]) FROM entries_of(asked.id)
                    UNION
                   SELECT effective_at FROM services_correctedentry
                    WHERE subscription_id = asked.id
                    UNION
                   SELECT effective_at FROM services_cataloguevalue
                    WHERE service_id IN (SELECT service_id FROM services_ledgerentry
                                          WHERE subscription_id = asked.id)
                       OR plan_id IN (SELECT plan_id FROM services_ledgerentry
                                       WHERE subscription_id = asked.id)) moment
             CROSS JOIN LATERAL (
                   SELECT entry.*, coalesce(price_state = 'follows' OR locked_until <= moment.at,
                                            false) AS follows
                     FROM services_ledgerentry entry
                    WHERE subscription_id = asked.id AND effective_at <= moment.at
                      AND (NOT period_only OR effective_at < recorded_at)
                    ORDER BY effective_at DESC, id DESC LIMIT 1) newest
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN follows
                               THEN price_rule_at(newest.service_id, newest.plan_id, moment.at)
                               ELSE newest.price END AS price OFFSET 0) ruled
             CROSS JOIN LATERAL (
                   SELECT price
                     FROM (SELECT effective_at, id, price FROM entries_of(asked.id)
                            UNION ALL
                           SELECT effective_at, id, price FROM services_correctedentry
                            WHERE subscription_id = asked.id) told
                    WHERE effective_at <= moment.at
                    ORDER BY effective_at DESC, id DESC LIMIT 1) billed
             WHERE moment.at >= asked.old_end AND moment.at < coalesce(one.ended_at, clock)
               AND NOT EXISTS (
                   SELECT FROM services_cataloguevalue
                    WHERE for_new_only AND effective_at >= asked.old_end
                      AND effective_at < coalesce(one.ended_at, clock)
                      AND (service_id = one.service_id OR plan_id = one.plan_id))) since
     WHERE price <> billed OR price <> before
     ORDER BY id, at
$$;

-- Told to `subscription_written`, which comes after it: it need not compare each row's end.
CREATE FUNCTION subscription_ends_later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('pricebook.ends_later', 'on', true);
    RETURN NULL;
END $$;

CREATE TRIGGER subscription_ends_later AFTER UPDATE OF ended_at ON services_subscription
FOR EACH ROW WHEN (NEW.ended_at > OLD.ended_at) EXECUTE FUNCTION subscription_ends_later();
"""
WRITTEN = replaced(
    said.WRITTEN,
    (
        """    IF TG_OP = 'UPDATE' THEN
        IF current_setting('pricebook.begins_earlier', true) = 'on' THEN
""",
        """    IF TG_OP = 'UPDATE' THEN
        IF current_setting('pricebook.ends_later', true) = 'on' THEN
            PERFORM set_config('pricebook.ends_later', '', true);
            PERFORM enter_since_end(array_agg(new_row.id), array_agg(old_row.ended_at), clock,
                                    writer)
               FROM new_rows new_row JOIN old_rows old_row USING (id)
              WHERE new_row.ended_at > old_row.ended_at AND new_row.ended_at <= clock
                AND (new_row.price, new_row.price_state) = (old_row.price, old_row.price_state);
        END IF;
        IF current_setting('pricebook.begins_earlier', true) = 'on' THEN
""",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0056_ends_of_locks_said")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL([SINCE_END, WRITTEN])]
