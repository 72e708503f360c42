"""A number that a column can't have exactly is refused, and never rounded.

PostgreSQL rounds where a value is assigned to `numeric(12, 2)` or to an integer, before a
constraint or a trigger is asked: 9.995 became 10.00, and a discount of 60.5 % became 61 %. So the
columns that somebody may write by hand are `numeric` now, with constraints named for the rule; and
triggers have an amount written in hundredths, 9.90 for 9.9, as the type had.

`minor_unit` is the number of decimals that an amount of the book's currency has; the price rule and
the constraints round by it. It is a constant for the planner, so it costs nothing in a row.

Nothing is rewritten but the plans: to take the limits from a `numeric` is a change of the
catalogue. The constraint of the subscriptions is validated by the next migration, which lets
writers write. Views and triggers that depend on the columns are dropped, and made again as they
were found. Reversed, the columns of prices stay as wide as they are, because to narrow them would
rewrite the table; what was written to them fits.

Replaces `price_rule` (0002), `subscription_priced` (0020) and its trigger.
"""

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models

from services.bounds import HIGHEST_PRICE
from services.models.exact_fields import ExactDecimalField, WholePercentField, is_exact

MINOR_UNIT = """
CREATE FUNCTION minor_unit() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2;
"""
RULE = """
CREATE OR REPLACE FUNCTION price_rule(full_price numeric, discount_percent integer)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(full_price * (100 - discount_percent) / 100, {places});
"""

# As the type of a column wrote them. A value that doesn't fit stays, for the constraint to refuse.
SCALES = """
CREATE FUNCTION in_scale(value numeric, places integer) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value = round(value, places) THEN round(value, places) ELSE value END;

CREATE FUNCTION service_price_in_scale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.full_price := in_scale(NEW.full_price, 2);
    RETURN NEW;
END $$;

CREATE TRIGGER service_price_in_scale BEFORE INSERT OR UPDATE OF full_price ON services_service
FOR EACH ROW WHEN (scale(NEW.full_price) <> 2) EXECUTE FUNCTION service_price_in_scale();

CREATE FUNCTION plan_discount_in_scale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.discount_percent := in_scale(NEW.discount_percent, 0);
    RETURN NEW;
END $$;

CREATE TRIGGER plan_discount_in_scale BEFORE INSERT OR UPDATE OF discount_percent ON services_plan
FOR EACH ROW WHEN (scale(NEW.discount_percent) <> 0) EXECUTE FUNCTION plan_discount_in_scale();

CREATE FUNCTION catalogue_value_in_scale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.value := in_scale(NEW.value, 2);
    NEW.seen := in_scale(NEW.seen, 2);
    RETURN NEW;
END $$;

CREATE TRIGGER catalogue_value_in_scale
BEFORE INSERT OR UPDATE OF value, seen ON services_cataloguevalue
FOR EACH ROW EXECUTE FUNCTION catalogue_value_in_scale();
"""
PRICED = """
CREATE OR REPLACE FUNCTION subscription_priced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An unknown service or plan is the foreign key's to report, so that the message is right.
    NEW.price := in_scale(coalesce(NEW.price,
        price_rule_at(NEW.service_id, NEW.plan_id,
                      least(book_clock(), NEW.ended_at - interval '1 microsecond')), 0), 2);
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER subscription_priced BEFORE INSERT OR UPDATE ON services_subscription
FOR EACH ROW WHEN (NEW.price IS NULL OR scale(NEW.price) <> 2)
EXECUTE FUNCTION subscription_priced();
"""
CONSTRAINTS = """
ALTER TABLE services_service
  ADD CONSTRAINT service_full_price_exact CHECK (full_price = round(full_price, minor_unit()));

ALTER TABLE services_plan
  ADD CONSTRAINT plan_discount_percent_whole CHECK (discount_percent = round(discount_percent, 0));

ALTER TABLE services_cataloguevalue
  ADD CONSTRAINT value_exact CHECK (
      plan_id IS NULL AND value = round(value, minor_unit())
      OR plan_id IS NOT NULL AND value <= 100 AND value = round(value, 0)),
  ADD CONSTRAINT value_not_negative CHECK (value >= 0 AND value <= 9999999999.99),
  ADD CONSTRAINT value_seen_exact CHECK (
      seen >= 0 AND seen <= 9999999999.99 AND seen = round(seen, minor_unit()));

ALTER TABLE services_subscription
  ADD CONSTRAINT subscription_price_not_negative
      CHECK (price >= 0 AND price <= 9999999999.99) NOT VALID,
  ADD CONSTRAINT subscription_price_exact CHECK (price = round(price, minor_unit())) NOT VALID;
"""
WIDENED = [
    ("services_service", "full_price"),
    ("services_plan", "discount_percent"),
    ("services_cataloguevalue", "value"),
    ("services_cataloguevalue", "seen"),
    ("services_subscription", "price"),
]
# The views and triggers to drop before a column gets another type, and how each is made again.
DEPENDENTS = """
WITH columns AS (
    SELECT attrelid, attnum FROM pg_attribute
      JOIN unnest(%s::regclass[], %s::name[]) asked (relation, name)
        ON (attrelid, attname) = (relation, name)
), dependent AS (
    SELECT DISTINCT classid, objid FROM pg_depend
      JOIN columns ON refclassid = 'pg_class'::regclass
                  AND (refobjid, refobjsubid) = (attrelid, attnum)
)
SELECT format('DROP VIEW %%s', view.oid::regclass),
       format('CREATE VIEW %%s AS %%s', view.oid::regclass, pg_get_viewdef(view.oid))
       || coalesce((SELECT string_agg(
              format(' GRANT %%s ON %%s TO %%s;', privilege_type, view.oid::regclass,
                     CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END), '')
            FROM aclexplode(view.relacl) WHERE grantee <> view.relowner), '')
  FROM (SELECT DISTINCT ev_class FROM dependent
          JOIN pg_rewrite rule ON classid = 'pg_rewrite'::regclass AND rule.oid = objid) rule
  JOIN pg_class view ON view.oid = ev_class
 UNION ALL
SELECT format('DROP TRIGGER %%I ON %%s', tgname, tgrelid::regclass), pg_get_triggerdef(made.oid)
  FROM dependent JOIN pg_trigger made ON classid = 'pg_trigger'::regclass AND made.oid = objid
"""


def retype(schema_editor: Any, columns: list[tuple[str, str]], kind: str) -> None:
    """Give columns another type; the views and triggers that name them stay as they were."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(DEPENDENTS, [list(names) for names in zip(*columns, strict=True)])
        dependents = cursor.fetchall()
        for drop, _ in dependents:
            cursor.execute(drop)
        for table, column in columns:
            cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}")
        for _, create in dependents:
            cursor.execute(create)


def widen(apps: Any, schema_editor: Any) -> None:
    retype(schema_editor, WIDENED, "numeric")


def narrow(apps: Any, schema_editor: Any) -> None:
    retype(schema_editor, [("services_plan", "discount_percent")], "smallint")


# A reader of hours must not make everybody queue behind this: it is tried again instead.
BRIEF = "SET LOCAL lock_timeout = '10s'"
# A constraint of a column that gets another type would be checked at once, in every row.
NOT_NOW = "ALTER TABLE services_subscription DROP CONSTRAINT subscription_price_not_negative"
# The statistics have gone with the type.
ANALYZE = "ANALYZE services_subscription (price)"

PRICED_BEFORE = """
CREATE OR REPLACE FUNCTION subscription_priced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An unknown service or plan is the foreign key's to report, so that the message is right.
    NEW.price := coalesce(
        price_rule_at(NEW.service_id, NEW.plan_id,
                      least(book_clock(), NEW.ended_at - interval '1 microsecond')), 0);
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER subscription_priced BEFORE INSERT OR UPDATE ON services_subscription
FOR EACH ROW WHEN (NEW.price IS NULL) EXECUTE FUNCTION subscription_priced();
"""
NOT_EXACT = """
ALTER TABLE services_subscription DROP CONSTRAINT subscription_price_exact;
ALTER TABLE services_cataloguevalue
  DROP CONSTRAINT value_exact, DROP CONSTRAINT value_not_negative, DROP CONSTRAINT value_seen_exact;
ALTER TABLE services_plan DROP CONSTRAINT plan_discount_percent_whole;
ALTER TABLE services_service DROP CONSTRAINT service_full_price_exact;
"""
WITHOUT_SCALES = """
DROP FUNCTION service_price_in_scale, plan_discount_in_scale, catalogue_value_in_scale CASCADE;
DROP FUNCTION in_scale, minor_unit;
"""


PRICE = {"max_digits": 12, "decimal_places": 2}


class Migration(migrations.Migration):
    dependencies = [("services", "0045_listed_is_in_force")]

    operations = [
        # In the reverse order if it is reversed.
        migrations.RunSQL(BRIEF, WITHOUT_SCALES),
        migrations.RunSQL(
            [MINOR_UNIT, RULE.format(places="minor_unit()"), SCALES, NOT_NOW],
            [PRICED_BEFORE, RULE.format(places="2")],
        ),
        migrations.RunPython(widen, narrow),
        migrations.RunSQL([PRICED, CONSTRAINTS, ANALYZE], [BRIEF, NOT_EXACT]),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    "service",
                    "full_price",
                    ExactDecimalField(
                        "list price", unbounded=True, validators=[MinValueValidator(0)], **PRICE
                    ),
                ),
                migrations.AlterField(
                    "plan",
                    "discount_percent",
                    WholePercentField(default=0, validators=[MaxValueValidator(100)]),
                ),
                migrations.AlterField(
                    "subscription",
                    "price",
                    ExactDecimalField(
                        unbounded=True, db_default=None, editable=False, blank=True, **PRICE
                    ),
                ),
                *[
                    migrations.AlterField(
                        "cataloguevalue",
                        name,
                        ExactDecimalField(unbounded=True, null=True, **PRICE),
                    )
                    for name in ("value", "seen")
                ],
                *[
                    migrations.AlterField(model, name, ExactDecimalField(null=True, **PRICE))
                    for model, name in (
                        ("ledgerentry", "price"),
                        ("repricing", "old_value"),
                        ("repricing", "new_value"),
                    )
                ],
                *[
                    migrations.AlterField("movedfollowers", name, ExactDecimalField(**PRICE))
                    for name in ("price", "old_price")
                ],
                migrations.AddConstraint(
                    "service",
                    models.CheckConstraint(
                        name="service_full_price_exact",
                        condition=is_exact("full_price"),
                        violation_error_message="A list price has at most two decimals.",
                    ),
                ),
                migrations.AddConstraint(
                    "plan",
                    models.CheckConstraint(
                        name="plan_discount_percent_whole",
                        condition=is_exact("discount_percent", 0),
                        violation_error_message="A discount is a whole number from 0 to 100.",
                    ),
                ),
                migrations.AddConstraint(
                    "subscription",
                    models.CheckConstraint(
                        name="subscription_price_exact", condition=is_exact("price")
                    ),
                ),
                migrations.AddConstraint(
                    "cataloguevalue",
                    models.CheckConstraint(
                        name="value_exact",
                        condition=(models.Q(plan_id=None) & is_exact("value"))
                        | (models.Q(plan_id__isnull=False, value__lte=100) & is_exact("value", 0)),
                    ),
                ),
                migrations.AddConstraint(
                    "cataloguevalue",
                    models.CheckConstraint(
                        name="value_not_negative",
                        condition=models.Q(value__gte=0, value__lte=HIGHEST_PRICE),
                    ),
                ),
                migrations.AddConstraint(
                    "cataloguevalue",
                    models.CheckConstraint(
                        name="value_seen_exact",
                        condition=models.Q(seen__gte=0, seen__lte=HIGHEST_PRICE) & is_exact("seen"),
                    ),
                ),
            ],
        ),
    ]
