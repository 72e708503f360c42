"""A change for new subscriptions only keeps nobody who had ended by what was recorded by then.

An end that has passed may be put off to another one that has passed. If such a change had come in
between, `kept_entries` judged by the period that is known now, and kept the subscription; a change
is judged by the facts before its place, and by those it had ended. So the stored price depended on
whether a worker had come, and readers differed.

Since such a subscription follows, the feed has the prices of that time too: `enter_since_end` left
them out wherever a change for new subscriptions only had come.

Replaces `kept_entries` (0037) and `enter_since_end` (0057).
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
KEPT = import_module("services.migrations.0037_kept_after_a_gap").KEPT
SINCE_END = import_module("services.migrations.0057_end_put_off").SINCE_END

KEPT = replaced(
    KEPT,
    (
        """           AND value_counts(later, effective_at, known)
         ORDER BY effective_at, id LIMIT 1;
""",
        """           AND value_counts(later, effective_at, known)
           AND (SELECT told.ended_at FROM services_ledgerentry told
                 WHERE told.subscription_id = subscription
                   AND told.recorded_at < later.effective_at
                 ORDER BY told.id DESC LIMIT 1) <= later.effective_at IS NOT TRUE
         ORDER BY effective_at, id LIMIT 1;
""",
    ),
)
SINCE_END = replaced(
    SINCE_END.partition("-- Told to")[0],
    ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    (
        """
               AND NOT EXISTS (
                   SELECT FROM services_cataloguevalue
                    WHERE for_new_only AND effective_at >= asked.old_end
                      AND effective_at < coalesce(one.ended_at, clock)
                      AND (service_id = one.service_id OR plan_id = one.plan_id))""",
        "",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0060_import_mappings")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL([KEPT, SINCE_END])]
