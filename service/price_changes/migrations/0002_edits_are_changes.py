"""A plain edit of the catalogue is a price change too: immediate, and approved by its author.

The triggers of `services` leave a repricing with each edit; here the repricing gets its change.
A worker that applies a scheduled change says which one it is (`pricebook.change`); then the
repricing belongs to that, from its effective instant on.

Replaced: `repricing_has_change` and `repricing_finished`, in 0009. price_changes/schema.sql has
what stands now.
"""

from django.db import migrations

APPROVALS = "CREATE SEQUENCE price_changes_approval"

EDIT_IS_CHANGE = """
CREATE FUNCTION repricing_has_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change record;
BEGIN
    SELECT * INTO change FROM price_changes_pricechange WHERE id = ledger_change();
    IF FOUND THEN
        NEW.change_id := change.id;
        NEW.effective_at := change.effective_at;
        IF change.for_new_only THEN
            NEW.kind := 'keep';
            NEW.locked_until := change.locked_until;
        END IF;
    ELSE
        INSERT INTO price_changes_pricechange
               (kind, service_id, plan_id, old_value, new_value, comment, status, when_moved,
                effective_at, planned_by, approved_by, approved_at, approval, started_at)
        VALUES (CASE WHEN NEW.plan_id IS NULL THEN 'list_price' ELSE 'discount' END,
                NEW.service_id, NEW.plan_id, NEW.old_value, NEW.new_value, NEW.comment,
                'applying', 'current', NEW.effective_at, NEW.author, NEW.author,
                NEW.effective_at, nextval('price_changes_approval'), NEW.effective_at)
        RETURNING id INTO NEW.change_id;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER repricing_has_change BEFORE INSERT ON services_repricing
FOR EACH ROW WHEN (NEW.change_id IS NULL AND NEW.old_value IS NOT NULL)
EXECUTE FUNCTION repricing_has_change();

CREATE FUNCTION repricing_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE price_changes_pricechange change
       SET status = 'applied', finished_at = clock_timestamp()
     WHERE id = NEW.change_id AND status = 'applying'
       AND NOT EXISTS (SELECT FROM services_repricing other
                        WHERE other.change_id = NEW.change_id AND other.finished_at IS NULL);
    RETURN NULL;
END $$;

CREATE TRIGGER repricing_finished AFTER UPDATE OF finished_at ON services_repricing
FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL AND NEW.change_id IS NOT NULL)
EXECUTE FUNCTION repricing_finished();
"""

DROP = """
DROP TRIGGER repricing_finished ON services_repricing;
DROP TRIGGER repricing_has_change ON services_repricing;
DROP FUNCTION repricing_finished, repricing_has_change;
DROP SEQUENCE price_changes_approval;
"""


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0001_initial"), ("services", "0005_ledger")]
    operations = [migrations.RunSQL([APPROVALS, EDIT_IS_CHANGE], reverse_sql=DROP)]
