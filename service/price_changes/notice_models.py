"""The clients who are to be told of a price change, and the facts of who was told."""

from dataclasses import dataclass
from datetime import date

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from services.models import Clock


class ToTell(models.Model):
    """A client whose price a change moves, and what it was told: its latest `Told`, copied.

    The list is made at the approval of a change with `notice_days`, and for another one when
    somebody first asks for it. It stays as it is; an approval after the change was held makes a new
    one. The totals are those of the client's subscriptions whose price the change moves.
    """

    pk = models.CompositePrimaryKey("change_id", "client_id")
    change_id = models.BigIntegerField()
    client_id = models.BigIntegerField()
    rows = models.BigIntegerField()
    old_total = models.DecimalField(max_digits=24, decimal_places=2)
    new_total = models.DecimalField(max_digits=24, decimal_places=2)
    # Told by the day that the change asks for, by a fact from before its instant. Later facts leave
    # it alone.
    in_time = models.BooleanField(db_default=False)
    told_on = models.DateField(null=True)
    told_at = models.DateTimeField(null=True)  # when the latest fact was recorded
    told_by = models.CharField(max_length=150, db_default="")
    way = models.CharField(max_length=4, db_default="")
    note = models.CharField(max_length=200, db_default="")

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(
                name="not_told_in_time",
                fields=["change_id", "client_id"],
                condition=Q(in_time=False),
            )
        ]

    def __str__(self) -> str:
        return _("client %(client_id)s to be told of price change %(change_id)s") % {
            "client_id": self.client_id,
            "change_id": self.change_id,
        }


class Told(models.Model):
    """A fact, which stays: a client was told of a price change on a day; or was not told after all.

    The latest one of a client counts, by its id: ids are drawn under the lock of the change. It is
    about the instant that one approval has given the change; another approval asks anew.
    """

    class Way(models.TextChoices):
        HAND = "hand", _lazy("by hand")
        FILE = "file", _lazy("by a file")

    change_id = models.BigIntegerField()
    approval = models.BigIntegerField(null=True)  # that of the change
    client_id = models.BigIntegerField()
    told_on = models.DateField(null=True)  # NULL: it was not told after all
    recorded_at = models.DateTimeField(db_default=Clock())
    recorded_by = models.CharField(max_length=150)
    way = models.CharField(max_length=4, choices=Way)
    note = models.CharField(max_length=200, db_default="")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(name="told_of_client", fields=["change_id", "client_id"])]
        constraints = [
            models.CheckConstraint(name="told_way_known", condition=Q(way__in=["hand", "file"])),
        ]

    def __str__(self) -> str:
        return _("client %(client_id)s told of price change %(change_id)s") % {
            "client_id": self.client_id,
            "change_id": self.change_id,
        }


class AllTold(models.Model):
    """A fact, which stays: from `recorded_at` on, all clients of a change were told in time, or no
    longer are.

    Each approval of a change with `notice_days` writes one, and each `Told` that turns it, if it is
    recorded before the instant. So a reader asks for the latest one, and reads no list.
    """

    change_id = models.BigIntegerField()
    approval = models.BigIntegerField()
    recorded_at = models.DateTimeField(db_default=Clock())
    all_told = models.BooleanField()

    class Meta:
        default_permissions = ()
        indexes = [models.Index(name="all_told_of_change", fields=["change_id", "approval", "id"])]

    def __str__(self) -> str:
        return _("all clients of price change %(change_id)s told: %(all_told)s") % {
            "change_id": self.change_id,
            "all_told": self.all_told,
        }


@dataclass(frozen=True)
class Untold:
    """The clients of a change who were not told in time, and the day by which they had to be."""

    left: int
    total: int
    by: date | None

    @property
    def told(self) -> int:
        return self.total - self.left
