"""Triggers note what happens to price changes and to the brake, in the transaction of that.

So a change that SQL, a worker or another trigger moves on is noted too.
"""

from django.db import migrations, models

BRIEF = "SET LOCAL lock_timeout = '10s'"

# As the API writes an instant, whatever the time zone of the session is.
EVENT_INSTANT = """
CREATE FUNCTION event_instant(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
    || CASE WHEN at = date_trunc('second', at) THEN ''
            ELSE to_char(at AT TIME ZONE 'UTC', '.US') END
    || 'Z';
"""

# An amount has the decimals of the currency, so that a text that says 10.00 goes on to say it.
PRICE_CHANGE_HAPPENS = """
CREATE FUNCTION price_change_happens() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    happened text[] := '{}';
    what text;
    decided_by text;
    noted_at timestamptz := book_clock();
    decimals integer := CASE WHEN NEW.plan_id IS NULL THEN minor_unit() ELSE 0 END;
BEGIN
    IF TG_OP = 'INSERT' AND NEW.status = 'planned' THEN
        happened := happened || 'planned'::text;
    END IF;
    IF NEW.approved_at IS DISTINCT FROM OLD.approved_at AND NEW.approved_at IS NOT NULL THEN
        happened := happened || 'approved'::text;
        IF NEW.status = 'scheduled' AND NEW.effective_at > NEW.approved_at THEN
            happened := happened || 'scheduled'::text;
        END IF;
    END IF;
    IF NEW.status IS DISTINCT FROM OLD.status THEN
        IF NEW.status IN ('applying', 'applied')
           AND (OLD.status IS NULL OR OLD.status = 'scheduled') THEN
            happened := happened || 'started'::text;
        END IF;
        IF NEW.status IN ('held', 'applied', 'cancelled', 'reverted') THEN
            happened := happened || NEW.status::text;
        END IF;
    END IF;
    IF NEW.needs_another <> '' AND coalesce(OLD.needs_another, '') = ''
       AND NEW.approved_at IS NOT NULL THEN
        happened := happened || 'not_approved'::text;
    END IF;
    IF NEW.accepted_at IS DISTINCT FROM OLD.accepted_at AND NEW.accepted_at IS NOT NULL THEN
        happened := happened || 'accepted'::text;
    END IF;
    FOREACH what IN ARRAY happened LOOP
        decided_by := CASE what
            WHEN 'planned' THEN NEW.planned_by
            WHEN 'approved' THEN NEW.approved_by
            WHEN 'scheduled' THEN NEW.approved_by
            WHEN 'accepted' THEN NEW.accepted_by
            WHEN 'cancelled' THEN NEW.cancelled_by
            ELSE '' END;
        INSERT INTO events_happening (type, occurred_at, recorded_at, data)
        VALUES ('price_change.' || what,
                CASE WHEN what IN ('scheduled', 'started', 'held')
                     THEN coalesce(NEW.effective_at, noted_at) ELSE noted_at END,
                noted_at,
                jsonb_build_object(
                    'price_change', NEW.id, 'title', NEW.title, 'reason', NEW.reason,
                    'kind', NEW.kind, 'status', NEW.status,
                    'service', NEW.service_id, 'plan', NEW.plan_id,
                    'old_value', round(NEW.old_value, decimals)::text,
                    'new_value', round(NEW.new_value, decimals)::text,
                    'adjustment', NEW.adjustment,
                    'operand', CASE WHEN NEW.adjustment IN ('amount', 'add')
                                    THEN round(NEW.operand, minor_unit())
                                    ELSE trim_scale(NEW.operand) END::text,
                    'for_new_only', NEW.for_new_only,
                    'locked_until', event_instant(NEW.locked_until),
                    'reverts', NEW.reverts_id,
                    'effective_at', event_instant(NEW.effective_at),
                    'author', decided_by,
                    'note', CASE WHEN what = 'not_approved' THEN NEW.needs_another
                                 ELSE NEW.note END));
    END LOOP;
    RETURN NULL;
END $$;

CREATE TRIGGER price_change_happens
AFTER INSERT OR UPDATE OF status, approved_at, needs_another, accepted_at
ON price_changes_pricechange FOR EACH ROW EXECUTE FUNCTION price_change_happens();
"""

BRAKE_HAPPENS = """
CREATE FUNCTION brake_happens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO events_happening (type, occurred_at, data)
        VALUES ('brake.pulled', NEW.pulled_at,
                jsonb_build_object('brake', NEW.id, 'author', NEW.pulled_by, 'reason', NEW.reason,
                                   'effective_at', event_instant(NEW.pulled_at)));
    ELSIF OLD.released_at IS NULL AND NEW.released_at IS NOT NULL THEN
        INSERT INTO events_happening (type, occurred_at, data)
        VALUES ('brake.released', NEW.released_at,
                jsonb_build_object('brake', NEW.id, 'author', NEW.released_by,
                                   'reason', NEW.release_reason,
                                   'effective_at', event_instant(NEW.released_at)));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER brake_happens AFTER INSERT OR UPDATE ON price_changes_brake
    FOR EACH ROW EXECUTE FUNCTION brake_happens();
"""

# Nothing that was recorded before there were events is told: also not in a server to which the book
# was loaded, which comes to the places of the first one later (`deriving.LOADED`).
FROM_NOW_ON = """
WITH server AS (SELECT pg_snapshot_xmin(now)::text::bigint AS oldest,
                       pg_snapshot_xmax(now)::text::bigint AS next
                  FROM pg_current_snapshot() now)
INSERT INTO events_derived (id, xact, loaded_id)
SELECT 1, oldest, greatest(0,
           (SELECT max(id) FROM services_ledgerentry WHERE xact > next),
           (SELECT max(id) FROM services_movedfollowers WHERE xact > next),
           (SELECT max(id) FROM services_correctedentry WHERE xact > next))
  FROM server
"""

DROP = """
DROP TRIGGER brake_happens ON price_changes_brake;
DROP TRIGGER price_change_happens ON price_changes_pricechange;
DROP FUNCTION brake_happens, price_change_happens, event_instant;
"""


class Migration(migrations.Migration):
    dependencies = [("events", "0001_events"), ("price_changes", "0019_who_accepted")]

    operations = [
        migrations.AddField("derived", "loaded_id", models.BigIntegerField(db_default=0)),
        migrations.RunSQL(
            [BRIEF, EVENT_INSTANT, PRICE_CHANGE_HAPPENS, BRAKE_HAPPENS], reverse_sql=DROP
        ),
        migrations.RunSQL(FROM_NOW_ON, reverse_sql="DELETE FROM events_derived"),
    ]
