"""A subscription that is opened again follows from then on, whatever came in the gap.

Its end had passed at the instant of a change for new subscriptions only, so that change keeps
nothing of it. `kept_entries` did not see the opening, which says nothing else than a price: so it
told that the subscription was kept since the instant. `explain` said so at once, and the next write
of the row, or a worker that came late, locked it at the price of before the gap.

Replaces `kept_entries` (0033).

Replaced: `kept_entries`, in 0061. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
KEPT = import_module("services.migrations.0033_kept_again").KEPT
KEPT = replaced(
    KEPT,
    (
        """ AS says_something
""",
        """
                   OR price_state = 'follows' AND change_id IS NULL AND NOT period_only AND
                      (SELECT ended_at FROM services_ledgerentry earlier
                        WHERE earlier.subscription_id = subscription AND earlier.id < one.id
                        ORDER BY earlier.id DESC LIMIT 1) <= effective_at AS says_something
""",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0036_noted_once")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(KEPT)]
