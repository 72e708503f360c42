"""The feed has each price of a start that is said late, as the book has it.

A subscription may be recorded with a start in the past, or be given an earlier one. If it follows,
it has paid the rule's price of each instant since, and every reader of the past says so. But its
entry had one price from the start on, so a program that bills by the feed billed the time before
the last move of the catalogue by another price than the book had. Now its writer enters the price
at the start, and each move up to its next entry, marked as written for a start (`period_only`).
Where a change for new subscriptions only keeps the subscription from some instant on, that has
entries of its own.

Replaces `subscription_written` (0041).

Replaced: `subscription_written`, in 0045. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
entered_before = import_module("services.migrations.0041_entered_before_a_write")

SINCE_START = """
CREATE FUNCTION enter_since_start(ids bigint[], clock timestamptz, writer text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO services_ledgerentry
           (subscription_id, client_id, service_id, plan_id, price, price_state, started_at,
            ended_at, period_only, effective_at, recorded_at, author)
    SELECT begun.subscription_id, begun.client_id, begun.service_id, begun.plan_id, ruled.price,
           'follows', begun.started_at, begun.ended_at, true, move.at, clock, writer
      FROM unnest(ids) asked (id)
     CROSS JOIN LATERAL (
           SELECT * FROM services_ledgerentry
            WHERE subscription_id = asked.id AND effective_at = started_at AND effective_at < clock
            ORDER BY id DESC LIMIT 1) begun
     CROSS JOIN LATERAL (
           SELECT least(begun.ended_at, min(effective_at)) AS until
             FROM (SELECT effective_at FROM services_ledgerentry
                    WHERE subscription_id = asked.id AND effective_at > begun.effective_at
                    UNION ALL
                   SELECT effective_at FROM kept_entries(asked.id, least(clock, begun.ended_at))
                    WHERE effective_at > begun.effective_at AND price_state = 'locked') later) next
     CROSS JOIN LATERAL (
           SELECT begun.effective_at AS at
            UNION
           SELECT effective_at FROM services_cataloguevalue
            WHERE (service_id = begun.service_id OR plan_id = begun.plan_id)
              AND effective_at > begun.effective_at AND effective_at <= clock
              AND (next.until IS NULL OR effective_at < next.until)) move
     CROSS JOIN LATERAL (
           SELECT price_rule_at(begun.service_id, begun.plan_id, move.at) AS price,
                  CASE WHEN move.at = begun.effective_at THEN begun.price
                       ELSE price_rule_at(begun.service_id, begun.plan_id,
                                          move.at - interval '1 microsecond') END AS before
           OFFSET 0) ruled
     WHERE begun.price_state = 'follows' AND ruled.price <> ruled.before
     ORDER BY begun.subscription_id, move.at;
END $$;

-- Told to `subscription_written`, which comes after it: it need not compare each row's start.
CREATE FUNCTION subscription_begins_earlier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('pricebook.begins_earlier', 'on', true);
    RETURN NULL;
END $$;

CREATE TRIGGER subscription_begins_earlier AFTER UPDATE OF started_at ON services_subscription
FOR EACH ROW WHEN (NEW.started_at < OLD.started_at) EXECUTE FUNCTION subscription_begins_earlier();
"""
END = """    RETURN NULL;
END $$;
"""
WRITTEN = replaced(
    entered_before.WRITTEN,
    (
        "        -- The first price holds from the start on, however early that lies.\n",
        "        -- With the price of now; `enter_since_start` enters those before.\n",
    ),
)
assert WRITTEN.endswith(END)
WRITTEN = f"""{WRITTEN.removesuffix(END)}
    IF TG_OP = 'UPDATE' THEN
        IF current_setting('pricebook.begins_earlier', true) = 'on' THEN
            PERFORM set_config('pricebook.begins_earlier', '', true);
            PERFORM enter_since_start(array_agg(new_row.id), clock, writer)
               FROM new_rows new_row JOIN old_rows old_row USING (id)
              WHERE new_row.started_at < old_row.started_at;
        END IF;
    ELSIF EXISTS (
          SELECT FROM (SELECT service_id, plan_id, min(started_at) AS started_at FROM new_rows
                        WHERE price_state = 'follows' GROUP BY service_id, plan_id) pair
           WHERE EXISTS (SELECT FROM services_cataloguevalue
                          WHERE service_id = pair.service_id
                            AND effective_at > pair.started_at AND effective_at <= clock)
              OR EXISTS (SELECT FROM services_cataloguevalue
                          WHERE plan_id = pair.plan_id
                            AND effective_at > pair.started_at AND effective_at <= clock)) THEN
        PERFORM enter_since_start(array_agg(id), clock, writer)
           FROM new_rows WHERE price_state = 'follows';
    END IF;
{END}"""  # noqa: S608 - constants


class Migration(migrations.Migration):
    dependencies = [("services", "0043_ended_before_two_writes")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(SINCE_START), migrations.RunSQL(WRITTEN)]
