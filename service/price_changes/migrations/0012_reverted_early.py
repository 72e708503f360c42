"""One that was taken back before all its copies were written is reverted when they are."""

from django.db import migrations

REPRICING_FINISHED = """
CREATE OR REPLACE FUNCTION repricing_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE price_changes_pricechange change
       SET status = CASE WHEN is_taken_back(id) THEN 'reverted' ELSE 'applied' END,
           finished_at = book_clock(),
           note = CASE WHEN NEW.kind = 'rows' AND NEW.repriced = 0
                       THEN left(concat_ws(' ', nullif(note, ''),
                            'It has moved no subscription: the outcome says why.'), 500)
                       ELSE note END
     WHERE id = NEW.change_id AND status = 'applying'
       AND NOT EXISTS (SELECT FROM services_repricing other
                        WHERE other.change_id = NEW.change_id AND other.finished_at IS NULL);
    RETURN NULL;
END $$;
"""
# By a change that has begun, and that is not taken back in turn.
IS_TAKEN_BACK = """
CREATE FUNCTION is_taken_back(change bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM price_changes_pricechange back
                    WHERE back.reverts_id = change AND back.started_at IS NOT NULL
                      AND back.status <> 'cancelled' AND NOT is_taken_back(back.id));
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0011_local_time")]
    # Not to be reversed, as those that it follows.
    operations = [migrations.RunSQL([IS_TAKEN_BACK, REPRICING_FINISHED])]
