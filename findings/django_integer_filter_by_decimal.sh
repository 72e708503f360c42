#!/bin/sh
# Django 5.2.19: a whole-number column that is compared with 12.5 answers as if it were compared with
# 12; and for ">=" and "<" a Decimal and a float get other rows.
#
# With discounts of 12 and 13 per cent: `filter(percent=12.5)` and `percent__in=[12.5]` find the 12,
# and `percent__range=(12.5, 20)` has it too. `percent__gte=12.5` and `percent__lt=12.5` are right,
# because floats are rounded up for these two lookups. `percent__gte=Decimal("12.5")` has the 12, and
# `percent__lt=Decimal("12.5")` leaves it out.
#
# Why it matters: bounds of a filter are read as Decimal wherever money is exact. Whoever looks for the
# clients "with 12.5 per cent or more off", to move their prices, gets others too, without an error.
# Way out: check that the value is whole before it reaches the query.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "Django==5.2.19"
cat > "$folder/look.py" <<'PYTHON'
from decimal import Decimal

import django
from django.conf import settings
from django.db import connection, models

memory = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
settings.configure(DATABASES={"default": memory}, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
django.setup()


class Plan(models.Model):
    percent = models.PositiveSmallIntegerField()

    class Meta:
        app_label = "look"


with connection.schema_editor() as editor:
    editor.create_model(Plan)
for percent in (12, 13):
    Plan.objects.create(percent=percent)

seen = {}
for value in (12.5, Decimal("12.5")):
    for lookup, given in (
        ("exact", value), ("in", [value]), ("range", (value, 20)),
        ("gte", value), ("lt", value), ("gt", value), ("lte", value),
    ):
        found = Plan.objects.filter(**{f"percent__{lookup}": given}).order_by("percent")
        rows = list(found.values_list("percent", flat=True))
        seen[type(value).__name__, lookup] = rows
        print(f"{type(value).__name__:8} {lookup:6} {rows}")
wrong = {"exact": [12], "in": [12], "range": [12, 13]}
right = {"gt": [13], "lte": [12]}
assert {name: rows for (kind, name), rows in seen.items() if kind == "float"} == {
    **wrong, **right, "gte": [13], "lt": [12],
}, seen
assert {name: rows for (kind, name), rows in seen.items() if kind == "Decimal"} == {
    **wrong, **right, "gte": [12, 13], "lt": [],
}, seen
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
