"""A price that is written to a row whose lock has ended, or that a change keeps, by whoever sees
only what is stored.

No worker has written down yet that the lock has ended: so the row follows, at the rule's price, as
it would if one had. And where a change for new subscriptions only has kept it since, the price that
is written stands upon that lock, and not upon what the row was before.

Nor does a write know of such a change that came into force while it waited for the locks of service
and plan, since its rows were judged before: it is done once more, behind the change.

Replaced: `subscription_written`, in 0029. services/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations

CUT = """
DROP TRIGGER subscription_lock_cut ON services_subscription;
CREATE TRIGGER subscription_lock_cut BEFORE UPDATE OF locked_until, price ON services_subscription
FOR EACH ROW WHEN (NEW.locked_until IS DISTINCT FROM OLD.locked_until
                   OR NEW.price IS DISTINCT FROM OLD.price
                      AND OLD.price_state = 'locked' AND NEW.price_state = 'locked'
                      AND (NEW.ended_at > NEW.locked_until) IS NOT FALSE)
EXECUTE FUNCTION subscription_lock_cut();
"""

KEPT = """
CREATE OR REPLACE FUNCTION subscription_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    judged_at timestamptz := least(book_clock(), OLD.ended_at - interval '1 microsecond',
                                   NEW.ended_at - interval '1 microsecond');
    kept services_ledgerentry;
    newest services_ledgerentry;
BEGIN
    IF current_setting('pricebook.kept', true) = 'on' OR ledger_change() IS NOT NULL THEN
        RETURN NEW;
    END IF;
    kept := enter_kept(OLD.id, judged_at);
    IF kept.id IS NULL THEN
        -- An end that is put before the change: it was never kept.
        SELECT * INTO newest FROM services_ledgerentry
         WHERE subscription_id = OLD.id AND NOT period_only
         ORDER BY effective_at DESC, id DESC LIMIT 1;
        IF OLD.price_state = 'locked' AND newest.effective_at > judged_at
           AND EXISTS (SELECT FROM services_cataloguevalue
                        WHERE change_id = newest.change_id AND for_new_only) THEN
            kept := newest;
            kept.price_state := 'follows';
        ELSE
            RETURN NEW;
        END IF;
    END IF;
    IF (NEW.service_id, NEW.plan_id) <> (OLD.service_id, OLD.plan_id) THEN
        RETURN NEW;  -- there it follows
    ELSIF kept.price_state = 'locked' AND NEW.price_state = OLD.price_state
          AND NEW.price IS NOT NULL  -- which says that it follows
    THEN
        NEW.price_state := 'locked';
        -- A price, an end or a reason of its own stays as it is written.
        IF NEW.price = OLD.price THEN
            NEW.price := kept.price;
        END IF;
        IF NEW.locked_until IS NOT DISTINCT FROM OLD.locked_until THEN
            NEW.locked_until := kept.locked_until;
        END IF;
        IF NEW.price_reason = OLD.price_reason
           AND (OLD.price_state <> 'locked' OR OLD.locked_until <= judged_at) THEN
            NEW.price_reason := kept_reason(kept);
        END IF;
    ELSIF kept.price_state = 'follows' AND (NEW.price_state, NEW.locked_until)
          IS NOT DISTINCT FROM (OLD.price_state, OLD.locked_until)
    THEN
        NEW.price := NULL;  -- which subscription_priced, a later trigger by name, fills in
        NEW.price_state := 'follows';
        NEW.locked_until := NULL;
        NEW.price_reason := '';
    ELSIF NEW.price_state = 'locked' AND NEW.price = OLD.price THEN
        NEW.price := kept.price;  -- a lock that says no price keeps that in force
    END IF;
    RETURN NEW;
END $$;
"""

WRITTEN = import_module("services.migrations.0024_kept_and_held").WRITTEN
SAYS_WHO = "    writer := ledger_author();\n"
assert WRITTEN.count(SAYS_WHO) == 1
COLUMNS = (
    "client_id, service_id, plan_id, price, price_state, locked_until, price_reason, started_at,"
    " ended_at"
)
AGAIN = f"""
        UPDATE services_subscription subscription SET ({COLUMNS}) = (
               SELECT {COLUMNS} FROM {{rows}} known WHERE known.id = subscription.id)
         WHERE id IN (SELECT id FROM {{rows}});
"""  # noqa: S608 - constants
WRITTEN = WRITTEN.replace(
    SAYS_WHO,
    f"""{SAYS_WHO}
    -- A change for new subscriptions only has come while this write waited: it is done once more.
    IF TG_OP = 'UPDATE' AND NOT keeps AND change IS NULL AND keeps_late(clock) THEN
        PERFORM set_config('pricebook.kept', 'on', true);
        {AGAIN.format(rows="old_rows").strip()}
        PERFORM set_config('pricebook.kept', '', true);
        {AGAIN.format(rows="new_rows").strip()}
        RETURN NULL;
    END IF;
""",
)


class Migration(migrations.Migration):
    dependencies = [("services", "0025_known_at")]
    # Not to be reversed, as those that it follows.
    operations = [migrations.RunSQL([CUT, KEPT, WRITTEN])]
