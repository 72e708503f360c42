"""One that has ended and moves to a service that comes later in the transaction keeps its price.

No rule says then what it would have paid there, and so its price is not the rule's: it stayed a
follower, and paid what the service costs. Replaces `subscription_written` (0030).

Replaced: `subscription_written`, in 0034. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

SAID = import_module("services.migrations.0029_said_when_ended")
WRITTEN = SAID.replaced(
    import_module("services.migrations.0030_moved_followers").WRITTEN,
    (
        f"AND price_now <> price_rule_at(service_id, plan_id, {SAID.AT_END})",
        f"AND price_now IS DISTINCT FROM price_rule_at(service_id, plan_id, {SAID.AT_END})",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0030_moved_followers")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(WRITTEN)]
