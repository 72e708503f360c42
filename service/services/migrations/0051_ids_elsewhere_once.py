"""An id in another system stands for one service or plan, and has its system beside it."""

from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import migrations, models
from django.db.models import Q

INDEX = """
CREATE UNIQUE INDEX CONCURRENTLY {model}_unique_external_id
    ON services_{model} (source, external_id) WHERE source IS NOT NULL
"""


def constraints(model: str) -> list[migrations.operations.base.Operation]:
    unique = models.UniqueConstraint(
        name=f"{model}_unique_external_id",
        fields=["source", "external_id"],
        condition=Q(source__isnull=False),
        violation_error_message=f"A {model} of this source and external id already exists.",
    )
    whole = models.CheckConstraint(
        name=f"{model}_external_id_has_source",
        condition=Q(source=None, external_id=None)
        | Q(source__isnull=False, external_id__isnull=False),
        violation_error_message="Source and external id belong together: give both.",
    )
    return [
        migrations.RunSQL(
            INDEX.format(model=model),
            f"DROP INDEX CONCURRENTLY {model}_unique_external_id",
            state_operations=[migrations.AddConstraint(model, unique)],
        ),
        AddConstraintNotValid(model, whole),
        ValidateConstraint(model, whole.name),
    ]


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY: the catalogue goes on being written

    dependencies = [("services", "0050_known_elsewhere")]

    operations = [*constraints("service"), *constraints("plan")]
