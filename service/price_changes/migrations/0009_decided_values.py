"""An approved value of the catalogue is a fact from its approval on: also those of open changes.

The values of the time before stand in `services_cataloguevalue` as their repricings told
(services 0020). Here what is scheduled gets its value, with the instant that is still to come, and
a revert, applied or scheduled, becomes what it is: not a value, but one that does not count.

A plain edit leaves a change as before; a worker that copies a value now records its work itself.

Replaced: `repricing_finished`, in 0011, and `repricing_has_change`, in 0016.
price_changes/schema.sql has what stands now.
"""

from django.db import migrations

DECIDED = """
INSERT INTO services_cataloguevalue
       (service_id, plan_id, value, effective_at, recorded_at, change_id, author, for_new_only,
        locked_until)
SELECT service_id, plan_id, new_value, effective_at, approved_at, id, approved_by, for_new_only,
       CASE WHEN for_new_only THEN locked_until END
  FROM price_changes_pricechange
 WHERE status = 'scheduled' AND kind IN ('list_price', 'discount') AND reverts_id IS NULL
 ORDER BY effective_at, approval;
"""

# In the order of their making, so that a revert of a revert finds what it brings back.
TAKEN_BACK = """
DELETE FROM services_cataloguevalue value USING price_changes_pricechange back
 WHERE value.change_id = back.id AND back.reverts_id IS NOT NULL;

WITH RECURSIVE back AS (
    SELECT id, reverts_id AS first_id, false AS again, service_id, plan_id, effective_at,
           approved_at, approved_by, status, started_at
      FROM price_changes_pricechange
     WHERE kind IN ('list_price', 'discount') AND reverts_id IS NOT NULL
       AND reverts_id IN (SELECT id FROM price_changes_pricechange WHERE reverts_id IS NULL)
    UNION ALL
    SELECT later.id, back.first_id, NOT back.again, later.service_id, later.plan_id,
           later.effective_at, later.approved_at, later.approved_by, later.status,
           later.started_at
      FROM price_changes_pricechange later JOIN back ON later.reverts_id = back.id
)
INSERT INTO services_cataloguevalue
       (service_id, plan_id, undoes_id, again, effective_at, recorded_at, change_id, author,
        started)
SELECT back.service_id, back.plan_id, value.id, back.again, back.effective_at, back.approved_at,
       back.id, back.approved_by, back.status <> 'scheduled'
  FROM back JOIN services_cataloguevalue value ON value.change_id = back.first_id
 WHERE value.value IS NOT NULL
   AND (back.status = 'scheduled' OR back.started_at IS NOT NULL)
 ORDER BY back.id;
"""

EDIT_IS_CHANGE = """
CREATE OR REPLACE FUNCTION repricing_has_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO price_changes_pricechange
           (kind, service_id, plan_id, old_value, new_value, comment, status, when_moved,
            effective_at, planned_by, approved_by, approved_at, approval, started_at)
    VALUES (CASE WHEN NEW.plan_id IS NULL THEN 'list_price' ELSE 'discount' END,
            NEW.service_id, NEW.plan_id, NEW.old_value, NEW.new_value, NEW.comment,
            'applying', 'current', NEW.effective_at, NEW.author, NEW.author,
            NEW.effective_at, nextval('price_changes_approval'), NEW.effective_at)
    RETURNING id INTO NEW.change_id;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION repricing_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE price_changes_pricechange change
       SET status = 'applied', finished_at = book_clock()
     WHERE id = NEW.change_id AND status = 'applying'
       AND NOT EXISTS (SELECT FROM services_repricing other
                        WHERE other.change_id = NEW.change_id AND other.finished_at IS NULL);
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0008_preview_seed"), ("services", "0020_catalogue_values")]

    # Not to be reversed, as the one that it follows.
    operations = [migrations.RunSQL([DECIDED, TAKEN_BACK, EDIT_IS_CHANGE])]
