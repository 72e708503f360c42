"""A person's word is one, though a worker has entered the same before it in the meantime.

A set that lets a row follow may be entered late, behind the instant at which somebody has told the
row to follow. By the instants his entry seemed to repeat the set's then. So a change for new
subscriptions only that came between the two kept the row for ever, by its worker. The order of
writing, in which a person's entry stands too, now decides what an entry says.

Replaces `kept_entries` (0025).

Replaced: `kept_entries`, in 0033. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
KEPT = import_module("services.migrations.0025_known_at").KEPT
KEPT = replaced(
    KEPT[: KEPT.index("$$;\n") + len("$$;\n")],
    ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    (
        """                       lag(locked_until) OVER written) AS says_something
""",
        """                       lag(locked_until) OVER written)
                   OR change_id IS NULL AND author <> '' AND
                      (price_state, service_id, plan_id) IS DISTINCT FROM
                      (lag(price_state) OVER said, lag(service_id) OVER said,
                       lag(plan_id) OVER said) AS says_something
""",
    ),
    (
        """            WINDOW written AS (ORDER BY effective_at, id)) told
""",
        """            WINDOW written AS (ORDER BY effective_at, id), said AS (ORDER BY id)) told
""",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0031_said_of_what_comes_later")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(KEPT)]
