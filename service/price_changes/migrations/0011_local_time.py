"""The words of a person are kept beside the instant, where it was given as local time.

A plan is dated by the clock of the book. And a set that ends without having moved a row says so.

Replaced: `repricing_finished`, in 0012. price_changes/schema.sql has what stands now.
"""

from importlib import import_module

from django.db import migrations, models

from services.models import Clock

EDIT_IS_CHANGE = import_module("price_changes.migrations.0009_decided_values").EDIT_IS_CHANGE
BEFORE = (
    "CREATE OR REPLACE FUNCTION repricing_finished"
    + EDIT_IS_CHANGE.partition("CREATE OR REPLACE FUNCTION repricing_finished")[2]
)

REPRICING_FINISHED = """
CREATE OR REPLACE FUNCTION repricing_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE price_changes_pricechange change
       SET status = 'applied', finished_at = book_clock(),
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


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0010_last_word_on_prices")]
    operations = [
        migrations.AddField(
            model_name="pricechange",
            name="effective_local",
            field=models.CharField(db_default="", max_length=26),
        ),
        migrations.AddField(
            model_name="pricechange",
            name="effective_zone",
            field=models.CharField(db_default="", max_length=64),
        ),
        migrations.AddField(
            model_name="pricechange",
            name="instant_kept_by",
            field=models.CharField(db_default="", max_length=150),
        ),
        migrations.AlterField(
            model_name="pricechange",
            name="planned_at",
            field=models.DateTimeField(db_default=Clock()),
        ),
        migrations.RunSQL(REPRICING_FINISHED, reverse_sql=BEFORE),
    ]
