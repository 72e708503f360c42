"""Records that other systems know: by `source`, the system, and `external_id`, their id in it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

LONGEST_ID = 50


class KnownElsewhere(models.Model):
    """A record that another system may know by an id of its own."""

    source = models.CharField(
        max_length=LONGEST_ID,
        null=True,
        blank=True,
        help_text="The system that it comes from, if any. Give its external id too.",
    )
    external_id = models.CharField(
        max_length=LONGEST_ID, null=True, blank=True, help_text="Its id in that system."
    )

    class Meta:
        abstract = True


def constraints_of_ids(name: str) -> list[models.BaseConstraint]:
    """An external id stands for one record of its source, and has one."""
    return [
        # The condition makes the index one that no foreign key can reference: an edit of these
        # columns then locks its row FOR NO KEY UPDATE, and blocks no check of a foreign key.
        models.UniqueConstraint(
            name=f"{name}_unique_external_id",
            fields=["source", "external_id"],
            condition=Q(source__isnull=False),
            violation_error_message=f"A {name} of this source and external id already exists.",
        ),
        models.CheckConstraint(
            name=f"{name}_external_id_has_source",
            condition=Q(source=None, external_id=None)
            | Q(source__isnull=False, external_id__isnull=False),
            violation_error_message="Source and external id belong together: give both.",
        ),
    ]
