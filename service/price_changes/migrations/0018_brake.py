"""The brake: the facts of it, which stay, and the question whether one holds a change.

`brake_holds` is plpgsql so that it is planned only where it is called: of the few changes whose
instant has come and that no worker has started.
"""

from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.lookups import IsNull

BRAKE_HOLDS = """
CREATE FUNCTION brake_holds(approved timestamptz, instant timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN instant > approved AND EXISTS (
        SELECT FROM price_changes_brake
         WHERE pulled_at < instant AND (released_at IS NULL OR released_at >= instant));
END $$;
"""
# Answers about the past depend on it, so all that may be written later is its release.
BRAKE_STAYS = """
CREATE FUNCTION brake_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.released_at IS NULL
       AND (NEW.id, NEW.pulled_at, NEW.pulled_by, NEW.reason)
           = (OLD.id, OLD.pulled_at, OLD.pulled_by, OLD.reason) THEN
        RETURN NEW;
    END IF;
    RAISE restrict_violation USING MESSAGE = 'a brake is a fact, and stays as it was written';
END $$;
CREATE TRIGGER brake_stays BEFORE UPDATE OR DELETE ON price_changes_brake
    FOR EACH ROW EXECUTE FUNCTION brake_stays();
CREATE TRIGGER book_changed AFTER INSERT OR UPDATE ON price_changes_brake
    FOR EACH STATEMENT EXECUTE FUNCTION book_changed();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("price_changes", "0017_who_moved_alone"),
        ("services", "0051_ids_elsewhere_once"),
    ]

    operations = [
        migrations.CreateModel(
            name="Brake",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("pulled_at", models.DateTimeField()),
                ("pulled_by", models.CharField(max_length=150)),
                ("reason", models.CharField(max_length=1000)),
                ("released_at", models.DateTimeField(null=True)),
                ("released_by", models.CharField(db_default="", max_length=150)),
                ("release_reason", models.CharField(db_default="", max_length=1000)),
            ],
            options={
                "default_permissions": (),
                "permissions": [("pull_brake", "Can pull and release the brake")],
                "constraints": [
                    models.UniqueConstraint(
                        IsNull(F("released_at"), True),
                        condition=Q(released_at=None),
                        name="brake_is_on_once",
                    ),
                    models.CheckConstraint(
                        condition=~Q(reason="")
                        & (
                            Q(released_at=None, released_by="", release_reason="")
                            | Q(released_at__gte=F("pulled_at")) & ~Q(release_reason="")
                        ),
                        name="brake_has_reasons",
                    ),
                ],
            },
        ),
        migrations.RunSQL(BRAKE_HOLDS, "DROP FUNCTION brake_holds(timestamptz, timestamptz)"),
        migrations.RunSQL(
            BRAKE_STAYS,
            "DROP TRIGGER brake_stays ON price_changes_brake;"
            " DROP TRIGGER book_changed ON price_changes_brake; DROP FUNCTION brake_stays()",
        ),
    ]
