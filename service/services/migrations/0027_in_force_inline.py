"""Values and prices in force are looked up in place.

A function whose body has a subquery can't be inlined: a call costs several times what its subquery
does, and a page of 100 rows made 400 while a list price was due. So the views and `late_copies`
have the subqueries of `list_price_at` and `discount_at` themselves, and the views ask the clock
once. And `late_copies` is planned once a session. Its plan knows no instant, and would take each
"later than" for a third of the table: so it reads by the indexes, whatever it takes that to cost.

Replaced: `late_copies`, in 0038; `service_in_force` and `plan_in_force`, in 0050.
services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

VALUE = """coalesce(
                (SELECT value FROM services_cataloguevalue
                  WHERE {thing} AND effective_at <= {at} AND value IS NOT NULL
                    AND NOT undone @> {at} AND NOT coalesce(held, value_is_held(id))
                  ORDER BY effective_at DESC, id DESC LIMIT 1),
                {stored})"""
NOW = "(SELECT book_now())"
LIST_PRICE = VALUE.format(thing="service_id = service.id", at=NOW, stored="full_price")
DISCOUNT = VALUE.format(thing="plan_id = plan.id", at=NOW, stored="discount_percent")

CATALOGUE = f"""
CREATE OR REPLACE VIEW service_in_force AS
SELECT id, name,
       CASE WHEN (SELECT catalogue_late(book_now()))
            THEN {LIST_PRICE}
            ELSE full_price END::numeric(12, 2) AS full_price
  FROM services_service service;

CREATE OR REPLACE VIEW plan_in_force AS
SELECT id, plan_type,
       CASE WHEN (SELECT catalogue_late(book_now()))
            THEN {DISCOUNT}
            ELSE discount_percent END::smallint AS discount_percent
  FROM services_plan plan;
"""  # noqa: S608 - constants

SUBSCRIPTIONS = import_module("services.migrations.0024_kept_and_held").SUBSCRIPTIONS
RULE = "price_rule_at(service_id, plan_id, judged_at)"
assert RULE in SUBSCRIPTIONS
LIST_PRICE_THEN = VALUE.format(
    thing="service_id = subscription.service_id",
    at="judged_at",
    stored="(SELECT full_price FROM services_service WHERE id = subscription.service_id)",
)
DISCOUNT_THEN = VALUE.format(
    thing="plan_id = subscription.plan_id",
    at="judged_at",
    stored="(SELECT discount_percent FROM services_plan WHERE id = subscription.plan_id)",
)
SUBSCRIPTIONS = SUBSCRIPTIONS.replace(
    RULE, f"price_rule({LIST_PRICE_THEN}, {DISCOUNT_THEN}::integer)"
)

LATE_COPIES = import_module("services.migrations.0023_who_pays").SUBTOTALS
LATE_COPIES = LATE_COPIES[
    LATE_COPIES.index("CREATE FUNCTION late_copies") : LATE_COPIES.index("CREATE VIEW")
].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
OPTIONS = "LANGUAGE plpgsql STABLE ROWS 10 AS"
assert OPTIONS in LATE_COPIES
LATE_COPIES = LATE_COPIES.replace(
    OPTIONS,
    "LANGUAGE plpgsql STABLE ROWS 10"
    " SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS",
)
for called, thing, stored, kind in (
    ("list_price_at(id, now)", "service_id = services_service.id", "full_price", "numeric"),
    ("discount_at(id, now)", "plan_id = services_plan.id", "discount_percent", "integer"),
):
    assert called in LATE_COPIES, called
    value = VALUE.format(thing=thing, at="now", stored=stored)
    LATE_COPIES = LATE_COPIES.replace(called, f"{value}::{kind}")


class Migration(migrations.Migration):
    dependencies = [("services", "0026_price_over_ended_lock")]
    # Not to be reversed, as those that it follows.
    operations = [migrations.RunSQL([CATALOGUE, SUBSCRIPTIONS, LATE_COPIES])]
