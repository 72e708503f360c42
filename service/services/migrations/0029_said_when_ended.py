"""A subscription that has ended, and is written at another price than the rule's, is negotiated.

A subscription may come when it has ended already, with what it paid; so may the price of one that
has ended be corrected. It was left a follower, and so everybody who read it had to find out from
its entries whether the rule's price was meant: the list did not, a worker who came late wrote the
rule's price over it, and what was told again behind such a copy was taken for a price of its own.
Now the row and its entry say `negotiated`, which no rule moves; and what a follower has paid is the
rule's price of then, without an exception. So copies are no facts wherever they stand, and an end
changes nothing of what was before it.

Replaces `subscription_moved` (0005), `subscription_written` (0026), `facts_between`,
`ledger_backdated`, `period_backdated` and the index `ledger_facts` (0028).

Replaced: `subscription_written`, in 0030, the trigger `ledger_backdated`, in 0036, and
`facts_between`, in 0054.
services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations, models
from django.db.models import Q

FACTS = import_module("services.migrations.0028_points").FACTS
WRITTEN = import_module("services.migrations.0026_price_over_ended_lock").WRITTEN


def replaced(sql: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert sql.count(old) == 1, old
        sql = sql.replace(old, new)
    return sql


REASON = "'Said when it had ended'"
AT_END = "ended_at - interval '1 microsecond'"
# No write that opens one again has said so: it would have said why.
FOLLOWS_AGAIN = f"""unpaid_since IS NOT NULL AND price_state = 'negotiated'
                         AND price_reason = {REASON} AND old_reason = {REASON}"""
# Also by who writes back what he had of it before the database had said that it is negotiated.
STILL_SAID = f"ended_at <= clock AND price = old_price AND old_reason = {REASON}"

WRITTEN = replaced(
    WRITTEN,
    (
        """               SET price = pair.price
              FROM new_rows new_row, pair
""",
        f"""               SET price = CASE WHEN new_row.ended_at <= clock
                                THEN subscription.price ELSE pair.price END,
                   price_state = CASE WHEN new_row.ended_at <= clock
                                      THEN 'negotiated' ELSE subscription.price_state END,
                   price_reason = CASE WHEN new_row.ended_at <= clock
                                       THEN {REASON} ELSE subscription.price_reason END
              FROM new_rows new_row, pair
""",
    ),
    (
        """               AND (new_row.ended_at IS NULL OR new_row.ended_at > clock)
               AND new_row.price <> pair.price
""",
        f"""               AND new_row.price <> CASE WHEN new_row.ended_at <= clock
                   THEN coalesce(price_rule_at(new_row.service_id, new_row.plan_id,
                                               new_row.{AT_END}), 0)
                   ELSE pair.price END
""",
    ),
    (
        "        -- And a person's lock that says none keeps the price in force.\n",
        """        -- And a person's lock that says none keeps the price in force. A price
        -- said of one that has ended is its own, until it is opened again; moved to another
        -- pair, it keeps what it paid last.
""",
    ),
    (
        "                        WHEN ended_at <= clock THEN price\n",
        f"""                        WHEN ended_at <= clock AND price = old_price
                         AND old_state = 'follows' AND (service_id, plan_id)
                             <> (old_service, old_plan)
                        THEN price_rule_at(old_service, old_plan, {AT_END})
                        WHEN ended_at <= clock AND price = old_price
                         AND price_state = 'follows' AND old_state <> 'follows'
                         AND old_reason <> {REASON}
                        THEN price_rule_at(service_id, plan_id, {AT_END})
                        WHEN ended_at <= clock THEN price
""",
    ),
    (
        "                             CASE WHEN price <> old_price THEN price\n",
        f"""                             CASE WHEN price <> old_price OR {STILL_SAID} THEN price
""",
    ),
    (
        """                   lag(started_at) OVER version AS old_start,""",
        """                   lag(price_reason) OVER version AS old_reason,
                   lag(started_at) OVER version AS old_start,""",
    ),
    (
        """                   started_at, ended_at, is_new, old_start, old_end,
                   coalesce(word.client_id""",
        """                   price_reason, old_reason, started_at, ended_at, is_new,
                   old_start, old_end,
                   coalesce(word.client_id""",
    ),
    (
        """                     WHERE price_state <> 'negotiated') pair
        ), priced AS MATERIALIZED (
""",
        f"""                     WHERE price_state <> 'negotiated'
                        OR unpaid_since IS NOT NULL AND price_reason = {REASON}) pair
        ), valued AS MATERIALIZED (
""",
    ),
    (
        "                        WHEN price_state = 'follows' THEN rule_price\n",
        f"""                        WHEN price_state = 'follows' THEN rule_price
                        WHEN {FOLLOWS_AGAIN} THEN rule_price
""",
    ),
    (
        """        ), kept AS (
            UPDATE services_subscription subscription
               SET price = price_now
              FROM priced
             WHERE subscription.id = priced.id AND priced.price <> price_now
        ), begun_before""",
        f"""        ), priced AS MATERIALIZED (
            SELECT *, CASE WHEN has_said THEN 'negotiated' WHEN follows_again THEN 'follows'
                           ELSE price_state END AS state_now
              FROM (SELECT *, coalesce(
                           price_state = 'follows' AND ended_at <= clock AND change IS NULL
                           AND (price <> old_price OR {STILL_SAID}
                                OR (service_id, plan_id) <> (old_service, old_plan))
                           AND price_now <> price_rule_at(service_id, plan_id, {AT_END}),
                           false) AS has_said, {FOLLOWS_AGAIN} AS follows_again
                      FROM valued) valued
        ), kept AS (
            UPDATE services_subscription subscription
               SET price = price_now, price_state = state_now,
                   price_reason = CASE WHEN has_said THEN {REASON} WHEN follows_again THEN ''
                                       ELSE subscription.price_reason END
              FROM priced
             WHERE subscription.id = priced.id
               AND (priced.price, priced.price_state) <> (price_now, state_now)
        ), begun_before""",  # noqa: S608 - constants
    ),
    (
        """                    THEN coalesce(rule_price, price_now) ELSE price_now END,
               price_state, locked_until,""",
        """                    THEN coalesce(rule_price, price_now) ELSE price_now END,
               state_now, locked_until,""",
    ),
    (
        """               SELECT same_terms AND unpaid_since IS NULL
""",
        """               SELECT same_terms AND unpaid_since IS NULL AND NOT has_said
""",
    ),
)

FACTS = replaced(
    FACTS[: FACTS.index("-- The subscriptions of these facts")],
    ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    ("OR change_id IS NULL OR ended_at <= recorded_at)", "OR change_id IS NULL)"),
)
BACKDATED = """
DROP TRIGGER ledger_backdated ON services_ledgerentry;
CREATE TRIGGER ledger_backdated AFTER INSERT ON services_ledgerentry
FOR EACH ROW WHEN (NEW.effective_at < NEW.recorded_at
                   AND (NEW.price_state <> 'follows' OR NEW.change_id IS NULL))
EXECUTE FUNCTION ledger_backdated();

CREATE OR REPLACE FUNCTION period_backdated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz;
    first timestamptz;
BEGIN
    IF NEW.started_at IS DISTINCT FROM OLD.started_at THEN
        since := least(coalesce(OLD.started_at, '-infinity'),
                       coalesce(NEW.started_at, '-infinity'));
    END IF;
    IF NEW.ended_at IS DISTINCT FROM OLD.ended_at THEN
        since := least(since, OLD.ended_at, NEW.ended_at);
    END IF;
    IF since < book_clock() THEN
        -- Nobody has paid before the first entry.
        SELECT min(effective_at) INTO first FROM services_ledgerentry
         WHERE subscription_id = NEW.id;
        PERFORM backdate(greatest(first, since));
    END IF;
    RETURN NULL;
END $$;
"""

MOVED = f"""
CREATE OR REPLACE FUNCTION subscription_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.price_reason = {REASON} AND NEW.ended_at <= book_clock() THEN
        RETURN NEW;  -- it has paid what was said
    END IF;
    NEW.price_state := 'follows';
    NEW.locked_until := NULL;
    NEW.price_reason := '';
    NEW.price := NULL;  -- which subscription_priced, the next trigger by name, fills in
    RETURN NEW;
END $$;
"""

# Those who came so, by their first entry, which stays what it was told as: what it paid.
SAID = f"""
CREATE TEMP TABLE said ON COMMIT DROP AS
SELECT first.id, subscription_id
  FROM (SELECT DISTINCT ON (subscription_id) *
          FROM services_ledgerentry
         WHERE subscription_id IN (SELECT subscription_id FROM services_ledgerentry
                                    WHERE ended_at <= recorded_at)
         ORDER BY subscription_id, id) first
 WHERE price_state = 'follows' AND ended_at <= recorded_at AND change_id IS NULL
   AND price <> price_rule_at(service_id, plan_id, {AT_END});

DROP TRIGGER ledger_append_only ON services_ledgerentry;
UPDATE services_ledgerentry SET price_state = 'negotiated' WHERE id IN (SELECT id FROM said);
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON services_ledgerentry
FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();

SET CONSTRAINTS ALL IMMEDIATE;
-- And those who have ended at another price than the rule's, as they stand; their entry comes now.
UPDATE services_subscription
   SET price_state = 'negotiated', price_reason = {REASON}
 WHERE price_state = 'follows' AND ended_at <= book_clock()
   AND price <> price_rule_at(service_id, plan_id, {AT_END})
   AND id IN (SELECT subscription_id FROM said);
"""  # noqa: S608 - constants


class Migration(migrations.Migration):
    dependencies = [("services", "0028_points")]

    # Not to be reversed, as those before it.
    operations = [
        migrations.RemoveIndex("ledgerentry", "ledger_facts"),
        migrations.AddIndex(
            "ledgerentry",
            models.Index(
                name="ledger_facts",
                fields=["effective_at", "subscription_id"],
                condition=~Q(price_state="follows") | Q(change_id=None),
            ),
        ),
        migrations.RunSQL([MOVED, WRITTEN, FACTS, BACKDATED, SAID]),
    ]
