"""A set is in force from the commit that lists its rows, however many they are.

Its entries are written in that commit. The rows are copied afterwards, a chunk a transaction, and
readers go by a row's newest entry meanwhile (`listed_entry`). A row that somebody else writes first
is copied by that write, which is then done once more upon the copy.

`services_repricing.listed_after` and `listed_up_to` say which entries of the ledger the rows of a
set have yet to be copied from. Others may have entries among them, of rows that need no copy.

Replaces `subscription_in_force` and `kept_amounts` (0038), `subtotal_in_force` (0024),
`subscription_left` (0041) and `subscription_written` (0044).

Replaced: `subscription_written`, in 0056. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations, models

replaced = import_module("services.migrations.0029_said_when_ended").replaced
in_force = import_module("services.migrations.0038_ended_where_it_was")
left = import_module("services.migrations.0041_entered_before_a_write")
written = import_module("services.migrations.0044_prices_since_a_late_start")

# A release before this one moved a set chunk by chunk, and its list is no fact.
FINISHED = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM services_repricing WHERE finished_at IS NULL AND kind = 'rows') THEN
        RAISE EXCEPTION 'A price change of a set is applying or paused: finish or cancel it first.'
              USING HINT = 'Start the workers of the earlier release, and resume what is paused.';
    END IF;
END $$;
"""
LISTED = """
-- The numbers of the entries that rows of sets have yet to be copied from.
CREATE FUNCTION listed_late() RETURNS int8multirange LANGUAGE sql STABLE AS $$
    SELECT range_agg(int8range(listed_after, listed_up_to, '(]')) FROM services_repricing
     WHERE finished_at IS NULL AND listed_up_to IS NOT NULL
$$;

-- The newest entry of a subscription, if the row may have yet to be copied from it.
CREATE FUNCTION listed_as(subscription bigint) RETURNS SETOF services_ledgerentry
LANGUAGE plpgsql STABLE ROWS 1 AS $$
DECLARE
    listed int8multirange := listed_late();
    entry services_ledgerentry;
BEGIN
    IF listed IS NULL THEN
        RETURN;
    END IF;
    SELECT * INTO entry FROM services_ledgerentry
     WHERE subscription_id = subscription AND NOT period_only ORDER BY id DESC LIMIT 1;
    IF entry.price IS NOT NULL AND entry.id <@ listed THEN
        RETURN NEXT entry;
    END IF;
END $$;

-- The same, as it stands at an instant.
CREATE FUNCTION listed_entry(subscription bigint, at timestamptz)
RETURNS SETOF services_ledgerentry LANGUAGE plpgsql STABLE ROWS 1 AS $$
DECLARE
    entry services_ledgerentry;
BEGIN
    FOR entry IN SELECT * FROM listed_as(subscription) WHERE effective_at <= at LOOP
        IF entry.locked_until <= at THEN
            entry.price_state := 'follows';
            entry.locked_until := NULL;
        END IF;
        IF entry.price_state = 'follows' THEN
            entry.price := coalesce(price_rule_at(entry.service_id, entry.plan_id, at),
                                    entry.price);
        END IF;
        RETURN NEXT entry;
    END LOOP;
END $$;

CREATE FUNCTION listed_reason(entry services_ledgerentry) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN entry.price_state = 'follows' THEN ''
                ELSE (SELECT listed_reason FROM services_repricing
                       WHERE finished_at IS NULL
                         AND listed_after < entry.id AND listed_up_to >= entry.id
                         AND change_id = entry.change_id) END
$$;

-- For a writer who comes before the worker.
CREATE FUNCTION copy_listed(ids bigint[]) RETURNS void LANGUAGE sql AS $$
    WITH copied AS (
        UPDATE services_subscription subscription
           SET price = entry.price, price_state = entry.price_state,
               locked_until = entry.locked_until, price_reason = coalesce(reason, price_reason)
          FROM unnest(ids) asked (id)
         CROSS JOIN LATERAL listed_as(asked.id) entry
         CROSS JOIN LATERAL (SELECT listed_reason(entry) AS reason) said
         WHERE subscription.id = asked.id
           -- Not the price of a follower, which a worker may have moved since.
           AND ((subscription.price_state, subscription.locked_until)
                IS DISTINCT FROM (entry.price_state, entry.locked_until)
                OR subscription.price <> entry.price AND entry.price_state <> 'follows')
        RETURNING subscription.id, subscription.locked_until
    )
    INSERT INTO services_lockend (subscription_id, until)
    SELECT id, locked_until FROM copied WHERE locked_until IS NOT NULL
$$;

-- Writers hold it shared until their commit, and the listing of a set alone for the end of its
-- transaction: so it sees all that they have written, or they see that it has listed their rows.
CREATE FUNCTION wait_for_listing() RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock_shared('services_repricing'::regclass::oid::int, 0)
$$;
"""

SUBSCRIPTIONS = replaced(
    in_force.SUBSCRIPTIONS,
    (
        "subscription.price_state <> 'negotiated'\n",
        """(subscription.price_state <> 'negotiated'
                                                       OR (SELECT listed_late()) IS NOT NULL)
""",
    ),
    ("                kept.price,\n", "                kept.price, listed.price,\n"),
    ("            kept.price_state,\n", "            kept.price_state, listed.price_state,\n"),
    (
        "       CASE WHEN kept.id IS NOT NULL THEN kept.locked_until\n",
        """       CASE WHEN kept.id IS NOT NULL THEN kept.locked_until
            WHEN listed.id IS NOT NULL THEN listed.locked_until
""",
    ),
    (
        "            THEN kept.reason::varchar\n",
        """            THEN kept.reason::varchar
            WHEN kept.id IS NULL AND listed.id IS NOT NULL
            THEN coalesce(listed.reason::varchar, price_reason)
""",
    ),
    (
        "               OFFSET 0) story) kept ON true;\n",
        """               OFFSET 0) story) kept ON true
  LEFT JOIN LATERAL (
       SELECT (story.entry).id, (story.entry).price, (story.entry).price_state,
              (story.entry).locked_until, listed_reason(story.entry) AS reason
         FROM (SELECT listed_entry(subscription.id, judged_at) AS entry
                WHERE (SELECT listed_late()) IS NOT NULL
                  AND (ended_at > (SELECT copies_late_since(book_now()))) IS NOT FALSE
               OFFSET 0) story) listed ON true;
""",
    ),
)

SUBTOTALS = """
-- By how much the rows that are listed and not copied differ from what `late_copies` makes of them.
CREATE FUNCTION listed_amounts() RETURNS TABLE (
    service_id bigint, plan_id bigint, amount numeric, paid_amount numeric)
LANGUAGE plpgsql STABLE ROWS 10 AS $$
#variable_conflict use_column
DECLARE
    now timestamptz := book_now();
    since timestamptz;
    listed int8multirange := listed_late();
    keeps boolean;
BEGIN
    IF listed IS NULL THEN
        RETURN;
    END IF;
    since := copies_late_since(now);
    keeps := keeps_late(now);
    RETURN QUERY
        WITH entry AS MATERIALIZED (
            SELECT one.* FROM services_ledgerentry one
             WHERE id >= lower(listed) AND id < upper(listed) AND id <@ listed
               AND NOT period_only AND price IS NOT NULL
               AND EXISTS (SELECT FROM services_repricingstep step
                             JOIN services_repricing work ON work.id = repricing_id
                            WHERE listed_up_to IS NOT NULL AND step.kind = 'price'
                              AND (step.service_id, step.plan_id) = (one.service_id, one.plan_id)
                              AND after_id < subscription_id)
               AND NOT EXISTS (SELECT FROM services_ledgerentry later
                                WHERE later.subscription_id = one.subscription_id
                                  AND later.id > one.id AND NOT later.period_only)
        ), pair AS MATERIALIZED (
            SELECT service_id, plan_id, price_rule_at(service_id, plan_id, now) AS rule_price
              FROM (SELECT DISTINCT service_id, plan_id FROM entry) pair
        ), compared AS (
            SELECT subscription.*, rule_price, entry.price AS listed_price,
                   entry.price_state AS listed_state, entry.locked_until AS listed_until,
                   entry.effective_at, entry.service_id AS listed_service,
                   entry.plan_id AS listed_plan,
                   least(now, subscription.ended_at - interval '1 microsecond') AS judged_at
              FROM entry
              JOIN pair USING (service_id, plan_id)
              JOIN services_subscription subscription ON subscription.id = subscription_id
             WHERE subscription.ended_at IS NULL OR subscription.ended_at > since
        ), valued AS (
            SELECT *, CASE WHEN listed_state = 'follows' OR listed_until <= judged_at
                           THEN coalesce(
                                CASE WHEN judged_at < now
                                     THEN price_rule_at(listed_service, listed_plan, judged_at)
                                     ELSE rule_price END, listed_price)
                           ELSE listed_price END
                      - CASE WHEN price_state = 'follows' OR locked_until <= judged_at
                             THEN coalesce(
                                  CASE WHEN judged_at < now
                                       THEN price_at_end(id, service_id, plan_id, price, ended_at)
                                       WHEN (service_id, plan_id) = (listed_service, listed_plan)
                                       THEN rule_price
                                       ELSE price_rule_at(service_id, plan_id, judged_at) END,
                                  price)
                             ELSE price END AS short,
                   started_at <= now AND (ended_at IS NULL OR ended_at > now) AS pays
              FROM compared
             WHERE effective_at <= judged_at
               AND NOT (keeps AND (SELECT kept.id FROM kept_entry(compared.id, judged_at) kept)
                                  IS NOT NULL)
        )
        SELECT service_id, plan_id, sum(short), coalesce(sum(short) FILTER (WHERE pays), 0)
          FROM valued GROUP BY service_id, plan_id;
END $$;

CREATE OR REPLACE VIEW subtotal_in_force AS
SELECT service_id, plan_id, subscriptions, amount, paid_subscriptions, paid_amount, changes
  FROM services_subtotal
 UNION ALL
SELECT service_id, plan_id, 0, amount, paid_subscriptions, paid_amount, 0 FROM late_copies()
 UNION ALL
SELECT service_id, plan_id, 0, amount, 0, paid_amount, 0 FROM kept_amounts()
 UNION ALL
SELECT service_id, plan_id, 0, amount, 0, paid_amount, 0 FROM listed_amounts();
"""

# A row that is negotiated as it is written may follow, and be kept, as it is listed.
KEPT = replaced(
    in_force.KEPT,
    (
        "AND price_state <> 'negotiated' AND (ended_at",
        """AND (price_state <> 'negotiated' OR listed_late() IS NOT NULL)
                   AND (ended_at""",
    ),
)

# A deleted row needs no copy: its entry of the set stands before that of its deletion.
LEFT = replaced(
    left.LEFT,
    ("    clock timestamptz := book_clock();\n", "    clock timestamptz;\n"),
    (
        "BEGIN\n    IF TG_OP = 'DELETE' THEN\n",
        """BEGIN
    PERFORM wait_for_listing();
    clock := book_clock();
    IF TG_OP = 'DELETE' THEN
""",
    ),
)

COLUMNS = (
    "client_id, service_id, plan_id, price, price_state, locked_until, price_reason,"
    " started_at, ended_at"
)
# A price that is said goes with its state, which may be that of before the set.
SAID = """(now.price_state <> was.price_state
                          OR now.price <> was.price AND now.price_state <> 'follows')"""
AGAIN = ", ".join(
    f"""CASE WHEN {SAID} THEN now.{name} ELSE subscription.{name} END"""
    if name == "price_state"
    else f"""CASE WHEN now.{name} IS DISTINCT FROM was.{name}
                           OR {SAID} AND now.price_state <> subscription.price_state
                         THEN now.{name} ELSE subscription.{name} END"""
    if name == "locked_until"
    else f"""CASE WHEN now.{name} IS DISTINCT FROM was.{name}
                         THEN now.{name} ELSE subscription.{name} END"""
    for name in COLUMNS.split(", ")
)
WRITTEN = replaced(
    written.WRITTEN,
    (
        "    keeps boolean := coalesce(current_setting('pricebook.keeps', true), '') = 'on';\n",
        """    keeps boolean := coalesce(current_setting('pricebook.keeps', true), '') = 'on';
    listed bigint[];
""",
    ),
    (
        "    PERFORM lock_pairs(services, plans);\n",
        "    PERFORM lock_pairs(services, plans);\n    PERFORM wait_for_listing();\n",
    ),
    (
        "    -- A change for new subscriptions only has come while this write waited: it is done"
        " once more.\n",
        f"""    -- A row of a set that is listed and not copied is copied first, and written again.
    IF TG_OP = 'UPDATE' AND change IS NULL AND listed_late() IS NOT NULL THEN
        SELECT array_agg(old_row.id) INTO listed
          FROM old_rows old_row CROSS JOIN LATERAL listed_as(old_row.id) entry
         WHERE (old_row.price_state, old_row.locked_until)
               IS DISTINCT FROM (entry.price_state, entry.locked_until)
            OR old_row.price <> entry.price AND entry.price_state <> 'follows';
    END IF;
    IF listed IS NOT NULL THEN
        PERFORM set_config('pricebook.kept', 'on', true);
        UPDATE services_subscription subscription SET ({COLUMNS}) = (
               SELECT {COLUMNS} FROM old_rows known WHERE known.id = subscription.id)
         WHERE id IN (SELECT id FROM old_rows);
        PERFORM copy_listed(listed);
        PERFORM set_config('pricebook.kept', '', true);
        UPDATE services_subscription subscription SET ({COLUMNS}) = (
               SELECT {AGAIN}
                 FROM new_rows now JOIN old_rows was USING (id) WHERE id = subscription.id)
         WHERE id IN (SELECT id FROM new_rows);
        RETURN NULL;
    END IF;

    -- A change for new subscriptions only has come while this write waited: it is done once more.
""",  # noqa: S608 - constants
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0044_prices_since_a_late_start")]

    # Not to be reversed, as those before it.
    operations = [
        migrations.RunSQL(FINISHED),
        migrations.AddField("repricing", "listed_after", models.BigIntegerField(null=True)),
        migrations.AddField("repricing", "listed_up_to", models.BigIntegerField(null=True)),
        migrations.AddField(
            "repricing", "listed_reason", models.CharField(max_length=200, null=True)
        ),
        migrations.RunSQL([LISTED, SUBSCRIPTIONS, SUBTOTALS, KEPT, LEFT, WRITTEN]),
    ]
