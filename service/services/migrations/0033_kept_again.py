"""A subscription that a change for new subscriptions only has kept, is let go, and is kept again.

A revert of a revert keeps whom the first one has let go and nobody has touched since, as
`has_last_word` says it of a worker that came in time. While one was late, `kept_entries` said
otherwise in four cases. It kept one who had moved to another client in between. It kept nobody
whom another change had kept in between and let go, and it kept some until an end that had passed.
And it heeded a revert that was cancelled before its instant, as if that had let go and kept again.

So the story tells by which undoings the subscription was let go since its last word: it is kept
again if the last undoing of a change is one of them. The reason of its price names the change that
is for new subscriptions only, and not the revert that keeps it again.

Replaces `kept_entries` (0032) and `kept_reason` (0024).

Replaced: `kept_entries`, in 0037. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

replaced = import_module("services.migrations.0029_said_when_ended").replaced
KEPT = import_module("services.migrations.0032_said_before_it_was_entered").KEPT
# An undoing that was cancelled before its instant has another row of just that instant against it.
STANDS = """{0}.change_id IS NOT NULL AND NOT EXISTS (
                 SELECT FROM services_cataloguevalue withdrawal
                  WHERE withdrawal.undoes_id = {0}.undoes_id AND change_id IS NULL
                    AND withdrawal.effective_at = {0}.effective_at AND recorded_at <= known
                    AND withdrawal.id > {0}.id)"""
KEPT = replaced(
    KEPT,
    (
        "    since timestamptz;\n",
        """    freed bigint[] := '{}';  -- the undoings that have let it go since its last word
    since timestamptz;
""",
    ),
    (
        """(price_state, service_id, plan_id) IS DISTINCT FROM
                      (lag(price_state) OVER written, lag(service_id) OVER written,
                       lag(plan_id) OVER written)
                   OR price_state <> 'follows' AND (client_id, price, locked_until) IS DISTINCT FROM
                      (lag(client_id) OVER written, lag(price) OVER written,
                       lag(locked_until) OVER written)
""",
        """(client_id, price_state, service_id, plan_id) IS DISTINCT FROM
                      (lag(client_id) OVER written, lag(price_state) OVER written,
                       lag(service_id) OVER written, lag(plan_id) OVER written)
                   OR price_state <> 'follows' AND (price, locked_until) IS DISTINCT FROM
                      (lag(price) OVER written, lag(locked_until) OVER written)
""",
    ),
    (
        """        IF undoing.id IS NOT NULL THEN
            SELECT * INTO again FROM services_cataloguevalue value
             WHERE undoes_id = keep.id AND value.again AND effective_at >= since
               AND recorded_at <= known
               AND effective_at <= coalesce(next_keep.effective_at, at)
               AND (service_id = keep.service_id OR plan_id = keep.plan_id)
             ORDER BY effective_at, id LIMIT 1;
        END IF;
        IF again.id IS NOT NULL THEN
            next_keep := again;
""",
        f"""        IF freed <> '{{}}' THEN
            SELECT value.* INTO again
              FROM services_cataloguevalue value
              JOIN services_cataloguevalue kept ON kept.id = value.undoes_id
             WHERE value.again AND value.recorded_at <= known AND value.effective_at <= at
               AND (value.effective_at, value.id) > (since, number)
               AND (kept.locked_until > value.effective_at) IS NOT FALSE
               AND {STANDS.format("value")}
               AND (SELECT undo.id FROM services_cataloguevalue undo
                     WHERE undo.undoes_id = kept.id AND NOT undo.again
                       AND (undo.effective_at, undo.id) < (value.effective_at, value.id)
                       AND {STANDS.format("undo")}
                     ORDER BY undo.effective_at DESC, undo.id DESC LIMIT 1) = ANY (freed)
             ORDER BY value.effective_at, value.id LIMIT 1;
        END IF;
        IF (again.effective_at, again.id) < (next_keep.effective_at, next_keep.id)
           OR again.id IS NOT NULL AND next_keep.id IS NULL THEN
            next_keep := again;
            SELECT * INTO keep FROM services_cataloguevalue WHERE id = again.undoes_id;
""",  # noqa: S608 - constants
    ),
    (
        """         WHERE undoes_id = keep.id AND NOT value.again AND recorded_at <= known
""",
        f"""         WHERE undoes_id = keep.id AND NOT value.again AND recorded_at <= known
           AND {STANDS.format("value")}
""",
    ),
    (
        """            undoing := NULL;
            since := keep.locked_until;
            number := 0;
        ELSE
""",
        """            undoing := NULL;
            freed := '{}';
            since := keep.locked_until;
            number := 0;
        ELSE
            freed := freed || undoing.id;
""",
    ),
)

REASON = """
CREATE OR REPLACE FUNCTION kept_reason(entry services_ledgerentry) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN entry.price_state = 'locked'
                THEN format('Price change %s is for new subscriptions only', coalesce(
                     (SELECT kept.change_id FROM services_cataloguevalue value
                        JOIN services_cataloguevalue kept ON kept.id = value.undoes_id
                       WHERE value.change_id = entry.change_id AND value.again LIMIT 1),
                     entry.change_id))
                WHEN entry.price_state = 'follows' THEN '' END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0032_said_before_it_was_entered")]

    # Not to be reversed, as those before it.
    operations = [migrations.RunSQL(KEPT), migrations.RunSQL(REASON)]
