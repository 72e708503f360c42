"""A writer also enters a move of the very instant of the newest entry, behind it.

It did so behind the entry of another move only. A plain entry of that instant, of a lock that was
cut or of a new subscription, was taken for one that has the moved price already; but the move may
have been decided after it. The prices tell: an entry that came later has the move's.

Replaces `enter_moves` (0041).
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
entered_before = import_module("services.migrations.0041_entered_before_a_write")

MOVES = replaced(
    entered_before.MOVES,
    (
        "CASE WHEN newest.change_id IS NOT NULL AND move.effective_at = newest.effective_at\n",
        "CASE WHEN move.effective_at = newest.effective_at\n",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("services", "0051_ids_elsewhere_once")]

    operations = [migrations.RunSQL(MOVES, migrations.RunSQL.noop)]
