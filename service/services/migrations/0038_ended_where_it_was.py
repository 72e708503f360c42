"""A subscription that has ended pays last what it paid where it was then, also if a copy is late.

An end may be put into the past, before a move to another plan or service, or before a price of its
own was given up. The writer stores the price of then. While any copy was late, the list and the
totals had the rule's price for the service and the plan of now instead, until the workers came.

Replaces `subscription_in_force` and `late_copies` (0027) and `kept_amounts` (0024).

Replaced: `subscription_in_force` and `kept_amounts`, in 0045. services/schema.sql has what stands
now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
inline = import_module("services.migrations.0027_in_force_inline")
KEPT = import_module("services.migrations.0024_kept_and_held").SUBTOTALS
KEPT = KEPT[KEPT.index("CREATE FUNCTION kept_amounts") : KEPT.index("CREATE OR REPLACE VIEW")]

# The last price of one that follows now, by the entry that was in force at the end; the stored one
# if that has a price of its own, because then no copy of it can be late.
PRICE_AT_END = """
CREATE FUNCTION price_at_end(subscription bigint, service bigint, plan bigint, stored numeric,
                             ended timestamptz) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN entry.price_state <> 'follows' AND (entry.locked_until < ended) IS NOT TRUE
                THEN stored
                ELSE price_rule_at(coalesce(entry.service_id, service),
                                   coalesce(entry.plan_id, plan),
                                   ended - interval '1 microsecond') END
      FROM (SELECT) one
      LEFT JOIN LATERAL (
           SELECT service_id, plan_id, price_state, locked_until FROM services_ledgerentry
            WHERE subscription_id = subscription AND effective_at < ended AND price IS NOT NULL
            ORDER BY effective_at DESC, id DESC LIMIT 1) entry ON true
$$;
"""

RULE = f"price_rule({inline.LIST_PRICE_THEN}, {inline.DISCOUNT_THEN}::integer)"
SUBSCRIPTIONS = replaced(
    inline.SUBSCRIPTIONS,
    (
        RULE,
        f"""CASE WHEN ended_at <= (SELECT book_now())
                          THEN price_at_end(subscription.id, service_id, plan_id,
                                            subscription.price, ended_at)
                          ELSE {RULE} END""",
    ),
)
LATE_COPIES = replaced(
    inline.LATE_COPIES,
    (
        """coalesce(price_rule_at(service_id, plan_id, ended_at - interval '1 microsecond')
                        - price, 0)""",
        "coalesce(price_at_end(id, service_id, plan_id, price, ended_at) - price, 0)",
    ),
)
KEPT = replaced(
    KEPT,
    ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    (
        "price, price_state, locked_until,\n",
        "price, price_state, locked_until, ended_at,\n",
    ),
    (
        "THEN coalesce(price_rule_at(service_id, plan_id, judged_at), price)",
        """THEN coalesce(
                                  CASE WHEN ended_at <= now
                                       THEN price_at_end(id, service_id, plan_id, price, ended_at)
                                       ELSE price_rule_at(service_id, plan_id, judged_at) END,
                                  price)""",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0037_kept_after_a_gap")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL([PRICE_AT_END, SUBSCRIPTIONS, LATE_COPIES, KEPT])]
