"""What is said of one that has ended is said, though its service comes later in the transaction.

No rule says then what it paid, and so no price is the rule's: it stayed a follower, and paid what
the service costs. Replaces `subscription_written` (0030).
"""

from importlib import import_module

from django.db import migrations

SAID = import_module("services.migrations.0029_said_when_ended")
WRITTEN = SAID.replaced(
    import_module("services.migrations.0030_moved_followers").WRITTEN,
    (f"{SAID.AT_END}), 0)\n", f"{SAID.AT_END}), -1)\n"),
    (
        f"AND price_now <> price_rule_at(service_id, plan_id, {SAID.AT_END})",
        f"AND price_now IS DISTINCT FROM price_rule_at(service_id, plan_id, {SAID.AT_END})",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0030_moved_followers")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(WRITTEN)]
