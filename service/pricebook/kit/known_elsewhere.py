"""Records that other systems know: by `source`, the system, and `external_id`, their id in it."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from pricebook.kit.names import NameField

LONGEST_ID = 50
# Another source of a table that looks like this one, which no other record has than these ids.
SOURCE_ALIKE = "SELECT other FROM sources_alike(%s::regclass, ARRAY[%s]::text[], %s, %s)"
ALREADY_THERE = {
    "client": _lazy("A client of this source and external id already exists."),
    "service": _lazy("A service of this source and external id already exists."),
    "plan": _lazy("A plan of this source and external id already exists."),
}


class KnownElsewhere(models.Model):
    """A record that another system may know by an id of its own."""

    source = NameField(
        max_length=LONGEST_ID,
        null=True,
        blank=True,
        help_text=_lazy("The system that it comes from, if any. Give its external id too."),
    )
    external_id = NameField(
        max_length=LONGEST_ID, null=True, blank=True, help_text=_lazy("Its id in that system.")
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        super().clean()
        refuse_source_alike(self, self.source)


def constraints_of_ids(name: str) -> list[models.BaseConstraint]:
    """An external id stands for one record of its source, and has one."""
    return [
        # The condition makes the index one that no foreign key can reference: an edit of these
        # columns then locks its row FOR NO KEY UPDATE, and blocks no check of a foreign key.
        models.UniqueConstraint(
            name=f"{name}_unique_external_id",
            fields=["source", "external_id"],
            condition=Q(source__isnull=False),
            violation_error_message=ALREADY_THERE[name],
        ),
        models.CheckConstraint(
            name=f"{name}_external_id_has_source",
            condition=Q(source=None, external_id=None)
            | Q(source__isnull=False, external_id__isnull=False),
            violation_error_message=_lazy("Source and external id belong together: give both."),
        ),
    ]


def refuse_source_alike(record: models.Model, source: str | None) -> None:
    """Refuse a source that differs from another one of its table in case or blanks alone.

    A ValidationError for forms; the database refuses it from everybody. One query if it has one.
    """
    if not source:
        return
    id = record.pk or 0
    with connection.cursor() as cursor:
        cursor.execute(SOURCE_ALIKE, [record._meta.db_table, source, id, id])
        found = cursor.fetchone()
    if found is not None:
        raise ValidationError(
            {
                "source": _("It differs in case or blanks alone from %(found)s, which is there.")
                % {"found": repr(found[0])}
            }
        )
