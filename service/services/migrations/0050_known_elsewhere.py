"""Services and plans may have an id in another system, as subscriptions have.

The views of what is in force show it.

Replaces the views `service_in_force` and `plan_in_force` (0027).
"""

from importlib import import_module

from django.db import migrations, models

BEFORE = import_module("services.migrations.0027_in_force_inline").CATALOGUE.replace(
    "END::numeric(12, 2) AS full_price",
    "END AS full_price",  # since 0046
)
LAST = {"service": "END AS full_price", "plan": "smallint AS discount_percent"}
CATALOGUE = BEFORE
for last in LAST.values():
    assert CATALOGUE.count(last) == 1
    CATALOGUE = CATALOGUE.replace(last, f"{last}, source, external_id")
# A view loses a column only with itself.
BACK = "DROP VIEW service_in_force; DROP VIEW plan_in_force;" + BEFORE

HELP = {
    "source": "The system that it comes from, if any. Give its external id too.",
    "external_id": "Its id in that system.",
}


class Migration(migrations.Migration):
    dependencies = [("services", "0047_prices_are_exact")]

    operations = [
        *[
            migrations.AddField(
                model,
                name,
                models.CharField(max_length=50, null=True, blank=True, help_text=said),
            )
            for model in LAST
            for name, said in HELP.items()
        ],
        migrations.RunSQL(CATALOGUE, BACK),
    ]
