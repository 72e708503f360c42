"""Clients may have an id in another system, as subscriptions have."""

from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import migrations, models
from django.db.models import Q

INDEX = """
CREATE UNIQUE INDEX CONCURRENTLY client_unique_external_id
    ON clients_client (source, external_id) WHERE source IS NOT NULL
"""


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY, and not validated under a lock: clients go on being written

    dependencies = [("clients", "0004_logins_in_any_case")]

    operations = [
        migrations.AddField(
            "client",
            "source",
            models.CharField(
                max_length=50,
                null=True,
                blank=True,
                help_text="The system that it comes from, if any. Give its external id too.",
            ),
        ),
        migrations.AddField(
            "client",
            "external_id",
            models.CharField(
                max_length=50, null=True, blank=True, help_text="Its id in that system."
            ),
        ),
        migrations.RunSQL(
            INDEX,
            "DROP INDEX CONCURRENTLY client_unique_external_id",
            state_operations=[
                migrations.AddConstraint(
                    "client",
                    models.UniqueConstraint(
                        name="client_unique_external_id",
                        fields=["source", "external_id"],
                        condition=Q(source__isnull=False),
                        violation_error_message="A client of this source and external id already"
                        " exists.",
                    ),
                )
            ],
        ),
        AddConstraintNotValid(
            "client",
            models.CheckConstraint(
                name="client_external_id_has_source",
                condition=Q(source=None, external_id=None)
                | Q(source__isnull=False, external_id__isnull=False),
                violation_error_message="Source and external id belong together: give both.",
            ),
        ),
        ValidateConstraint("client", "client_external_id_has_source"),
    ]
