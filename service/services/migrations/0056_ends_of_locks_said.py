"""An end of a lock that is written over a set says the lock too.

A set that is listed and not copied may have made a row follow that is still stored as locked. A
write that gave it another end gave it an end and no lock, which a constraint refuses.

Replaces `subscription_written` (0045).

Replaced: `subscription_written`, in 0057. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
listed = import_module("services.migrations.0045_listed_is_in_force")

# A price or an end that is said goes with its state, which may be that of before the set.
SAID = """(now.price_state <> was.price_state
                          OR now.locked_until IS DISTINCT FROM was.locked_until
                          OR now.price <> was.price AND now.price_state <> 'follows')"""
OF_STATE = ("price_state", "locked_until")
AGAIN = ", ".join(
    f"""CASE WHEN now.{name} IS DISTINCT FROM was.{name}
                           OR {SAID} AND now.price_state <> subscription.price_state
                         THEN now.{name} ELSE subscription.{name} END"""
    if name in OF_STATE
    else f"""CASE WHEN now.{name} IS DISTINCT FROM was.{name}
                         THEN now.{name} ELSE subscription.{name} END"""
    for name in listed.COLUMNS.split(", ")
)
WRITTEN = replaced(listed.WRITTEN, (listed.AGAIN, AGAIN))


class Migration(migrations.Migration):
    dependencies = [("services", "0055_jobs")]

    operations = [migrations.RunSQL(WRITTEN, migrations.RunSQL.noop)]
