"""The sums of what one person moves alone, and the edits that nobody has compared with the limits.

A plain edit is judged by its door, or later by a worker. Those from before this migration count as
judged: a limit does not reach back.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import Q

import services.models.clock

EDIT_IS_CHANGE = """
CREATE OR REPLACE FUNCTION repricing_has_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO price_changes_pricechange
           (kind, service_id, plan_id, old_value, new_value, comment, status, when_moved,
            effective_at, planned_by, approved_by, approved_at, approval, started_at{judged})
    VALUES (CASE WHEN NEW.plan_id IS NULL THEN 'list_price' ELSE 'discount' END,
            NEW.service_id, NEW.plan_id, NEW.old_value, NEW.new_value, NEW.comment,
            'applying', 'current', NEW.effective_at, NEW.author, NEW.author,
            NEW.effective_at, nextval('price_changes_approval'), NEW.effective_at{false})
    RETURNING id INTO NEW.change_id;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0016_values_that_do_not_fit")]

    operations = [
        migrations.CreateModel(
            name="MovedAlone",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("who", models.CharField(max_length=30)),
                ("author", models.CharField(max_length=150)),
                ("at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("rows", models.BigIntegerField()),
                ("movement", models.DecimalField(decimal_places=2, max_digits=24)),
                ("percent", models.DecimalField(decimal_places=10, max_digits=30, null=True)),
                ("names", models.JSONField(default=dict)),
                (
                    "change_ids",
                    ArrayField(base_field=models.BigIntegerField(), default=list, size=None),
                ),
            ],
            options={"indexes": [models.Index(fields=["who", "at"], name="moved_alone_by")]},
        ),
        migrations.AddField(
            "pricechange", "for_one", models.BooleanField(db_default=False, editable=False)
        ),
        migrations.AddField(
            "pricechange", "needs_another", models.CharField(db_default="", max_length=500)
        ),
        migrations.AddField(
            "pricechange", "judged", models.BooleanField(db_default=True, editable=False)
        ),
        migrations.AddIndex(
            "pricechange",
            models.Index(
                condition=Q(("judged", False)), fields=["id"], name="price_change_not_judged"
            ),
        ),
        migrations.AddIndex(
            "pricechange",
            models.Index(
                condition=Q(("needs_another", ""), _negated=True),
                fields=["id"],
                name="price_change_needs_another",
            ),
        ),
        migrations.RunSQL(
            EDIT_IS_CHANGE.format(judged=", judged", false=", false"),
            reverse_sql=EDIT_IS_CHANGE.format(judged="", false=""),
        ),
    ]
