"""The clients who are to be told of a price change, and the facts of who was told, which stay."""

from django.db import migrations, models
from django.db.models import Q

import services.models.clock

NOTICES_STAY = """
CREATE FUNCTION notices_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE restrict_violation
        USING MESSAGE = 'who was told of a price change is a fact, and stays as it was written';
END $$;
CREATE TRIGGER notices_stay BEFORE UPDATE OR DELETE ON price_changes_told
    FOR EACH ROW EXECUTE FUNCTION notices_stay();
CREATE TRIGGER notices_stay BEFORE UPDATE OR DELETE ON price_changes_alltold
    FOR EACH ROW EXECUTE FUNCTION notices_stay();
CREATE TRIGGER book_changed AFTER INSERT ON price_changes_alltold
    FOR EACH STATEMENT EXECUTE FUNCTION book_changed();
"""


def number() -> models.BigAutoField:
    return models.BigAutoField(
        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
    )


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0020_rejected")]

    operations = [
        migrations.AddField("pricechange", "notice_days", models.SmallIntegerField(null=True)),
        migrations.AddField(
            "pricechange", "notice_by", models.DateField(editable=False, null=True)
        ),
        migrations.CreateModel(
            name="ToTell",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "change_id",
                        "client_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("change_id", models.BigIntegerField()),
                ("client_id", models.BigIntegerField()),
                ("rows", models.BigIntegerField()),
                ("old_total", models.DecimalField(decimal_places=2, max_digits=24)),
                ("new_total", models.DecimalField(decimal_places=2, max_digits=24)),
                ("in_time", models.BooleanField(db_default=False)),
                ("told_on", models.DateField(null=True)),
                ("told_at", models.DateTimeField(null=True)),
                ("told_by", models.CharField(db_default="", max_length=150)),
                ("way", models.CharField(db_default="", max_length=4)),
                ("note", models.CharField(db_default="", max_length=200)),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=Q(("in_time", False)),
                        fields=["change_id", "client_id"],
                        name="not_told_in_time",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Told",
            fields=[
                ("id", number()),
                ("change_id", models.BigIntegerField()),
                ("approval", models.BigIntegerField(null=True)),
                ("client_id", models.BigIntegerField()),
                ("told_on", models.DateField(null=True)),
                ("recorded_at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("recorded_by", models.CharField(max_length=150)),
                (
                    "way",
                    models.CharField(
                        choices=[("hand", "by hand"), ("file", "by a file")], max_length=4
                    ),
                ),
                ("note", models.CharField(db_default="", max_length=200)),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["change_id", "client_id"], name="told_of_client")],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(("way__in", ["hand", "file"])), name="told_way_known"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AllTold",
            fields=[
                ("id", number()),
                ("change_id", models.BigIntegerField()),
                ("approval", models.BigIntegerField()),
                ("recorded_at", models.DateTimeField(db_default=services.models.clock.Clock())),
                ("all_told", models.BooleanField()),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["change_id", "approval", "id"], name="all_told_of_change")
                ],
            },
        ),
        migrations.RunSQL(
            NOTICES_STAY,
            "DROP TRIGGER notices_stay ON price_changes_told;"
            " DROP TRIGGER notices_stay ON price_changes_alltold;"
            " DROP TRIGGER book_changed ON price_changes_alltold; DROP FUNCTION notices_stay()",
        ),
    ]
