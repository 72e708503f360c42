"""The values of a price change are refused if they don't fit, and never rounded.

As `services.0046_values_that_do_not_fit` does for the book. Reversed, the columns stay as wide.
"""

from django.db import migrations, models

from services.bounds import HIGHEST_PRICE
from services.models.exact_fields import ExactDecimalField, is_exact

AMOUNTS = ["old_value", "new_value", "floor", "ceiling", "rounding_step"]
COLUMNS = [*AMOUNTS, "operand"]
EXACT = " AND ".join(f"{name} = round({name}, minor_unit())" for name in AMOUNTS)
IN_BOUNDS = " AND ".join(f"{name} BETWEEN -9999999999.99 AND 9999999999.99" for name in COLUMNS)

WIDEN = f"""
SET LOCAL lock_timeout = '10s';

ALTER TABLE price_changes_pricechange
  {", ".join(f"ALTER COLUMN {name} TYPE numeric" for name in COLUMNS)},
  ADD CONSTRAINT price_change_values_exact CHECK (
      {EXACT} AND operand = round(operand, 4)
      AND (plan_id IS NULL OR new_value = round(new_value, 0))),
  ADD CONSTRAINT price_change_values_in_bounds CHECK ({IN_BOUNDS});

CREATE FUNCTION price_change_in_scale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {" ".join(f"NEW.{name} := in_scale(NEW.{name}, 2);" for name in AMOUNTS)}
    NEW.operand := in_scale(NEW.operand, 4);
    RETURN NEW;
END $$;

CREATE TRIGGER price_change_in_scale
BEFORE INSERT OR UPDATE OF {", ".join(COLUMNS)} ON price_changes_pricechange
FOR EACH ROW EXECUTE FUNCTION price_change_in_scale();
"""
NARROW = """
DROP FUNCTION price_change_in_scale CASCADE;
ALTER TABLE price_changes_pricechange
  DROP CONSTRAINT price_change_values_exact, DROP CONSTRAINT price_change_values_in_bounds;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("price_changes", "0015_set_members"),
        ("services", "0046_values_that_do_not_fit"),
    ]

    operations = [
        migrations.RunSQL(
            WIDEN,
            NARROW,
            state_operations=[
                *[
                    migrations.AlterField(
                        "pricechange",
                        name,
                        ExactDecimalField(
                            max_digits=12, decimal_places=2, unbounded=True, null=True
                        ),
                    )
                    for name in AMOUNTS
                ],
                migrations.AlterField(
                    "pricechange",
                    "operand",
                    ExactDecimalField(max_digits=14, decimal_places=4, unbounded=True, null=True),
                ),
                migrations.AddConstraint(
                    "pricechange",
                    models.CheckConstraint(
                        name="price_change_values_exact",
                        condition=models.Q(*map(is_exact, AMOUNTS))
                        & is_exact("operand", 4)
                        & (models.Q(plan=None) | is_exact("new_value", 0)),
                    ),
                ),
                migrations.AddConstraint(
                    "pricechange",
                    models.CheckConstraint(
                        name="price_change_values_in_bounds",
                        condition=models.Q(
                            *[
                                models.Q(**{f"{name}__range": (-HIGHEST_PRICE, HIGHEST_PRICE)})
                                for name in COLUMNS
                            ]
                        ),
                    ),
                ),
            ],
        )
    ]
