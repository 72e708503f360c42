"""The work that follows from a price change: its steps, the skipped rows, the stamped comments."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Func, Q, Value
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from pricebook.kit.figures import amount, percent
from services.models.catalogue import Plan, Service
from services.models.clock import Clock
from services.models.exact_fields import ExactDecimalField


class RepricingQuerySet(models.QuerySet["Repricing"]):
    def due(self) -> Self:
        """Repricings with work left."""
        return self.filter(finished_at=None)

    def concerning(self, service_id: int, plan_id: int) -> Self:
        """Repricings of the catalogue that concern the subscriptions of this service and plan."""
        return self.exclude(kind="rows").filter(
            Q(service=service_id) | Q(service=None), Q(plan=plan_id) | Q(plan=None)
        )


class Repricing(models.Model):
    """The application of one price change: the work that follows from it.

    For an edit of the catalogue a trigger writes it in the edit's transaction, so it exists however
    the edit was made. With `service` alone its list price moved; with `plan` alone its discount;
    with both, the prices of this pair are to be looked at again; with none, it is a change of a set
    of subscriptions. `comment` is stamped on the subscriptions it concerns.
    """

    class Mode(models.TextChoices):
        CATALOGUE = "catalogue", _lazy("Catalogue")  # followers move to the rule's price
        KEEP = "keep", _lazy("Keep")  # followers are locked at the price they have
        ROWS = "rows", _lazy("Rows")  # the rows of a list: `price_changes.ListedRows`

    kind = models.CharField(max_length=9, choices=Mode, db_default="catalogue")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, null=True, related_name="+")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, null=True, related_name="+")
    change_id = models.BigIntegerField("price change", null=True)
    # When the new value comes into force: for a plain edit, when it held the catalogue lock.
    effective_at = models.DateTimeField(db_default=Clock())
    # From the ledger's sequence, drawn under the catalogue's lock: the writer of an entry with a
    # greater id saw the new value, the writer of one with a smaller id did not.
    position = models.BigIntegerField(
        db_default=Func(
            Value("services_ledgerentry_id_seq"),
            function="nextval",
            output_field=models.BigIntegerField(),
        )
    )
    locked_until = models.DateTimeField("followers are locked until", null=True)
    # The change that is reverted, if its stamp has overwritten comments, which are put back.
    unstamps_change_id = models.BigIntegerField(null=True)
    # And if it was for new subscriptions only: the price states are given back.
    unkeeps_change_id = models.BigIntegerField(null=True)
    # A set's rows are entered into the ledger when they are listed: their entries have numbers
    # from behind the one to the other, and its locks this reason (null: that of before, which a
    # revert restores).
    listed_after = models.BigIntegerField(null=True)
    listed_up_to = models.BigIntegerField(null=True)
    listed_reason = models.CharField(max_length=200, null=True)
    paused_at = models.DateTimeField(null=True)
    old_value = ExactDecimalField(max_digits=12, decimal_places=2, null=True)
    new_value = ExactDecimalField(max_digits=12, decimal_places=2, null=True)
    comment = models.CharField(max_length=50, db_default="")
    author = models.CharField(max_length=150, db_default="")
    requested_at = models.DateTimeField(db_default=Clock())
    planned_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    subscriptions = models.BigIntegerField("subscriptions to look at", db_default=0)
    checked = models.BigIntegerField("subscriptions looked at", db_default=0)
    repriced = models.BigIntegerField("prices moved", db_default=0)
    failed = models.BigIntegerField("prices that could not be moved", db_default=0)
    stamped = models.BigIntegerField("comments stamped", db_default=0)

    objects = RepricingQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(name="repricing_due", fields=["id"], condition=Q(finished_at=None)),
            # For the catalogue's history.
            models.Index(name="repricing_of_service", fields=["service", "effective_at"]),
            models.Index(name="repricing_of_plan", fields=["plan", "effective_at"]),
            models.Index(
                name="repricing_of_change",
                fields=["change_id"],
                condition=Q(change_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        if self.service_id and self.plan_id:
            subject = {"service": self.service, "plan": self.plan}
            return _("%(service)s, %(plan)s: look again") % subject
        if self.service_id:
            return _("%(service)s: list price %(before)s → %(after)s") % {
                "service": self.service,
                "before": amount(self.old_value),
                "after": amount(self.new_value),
            }
        if self.plan_id:
            return _("%(plan)s: discount %(before)s → %(after)s") % {
                "plan": self.plan,
                "before": percent(self.old_value),
                "after": percent(self.new_value),
            }
        return _("price change %(id)s") % {"id": self.change_id}


class Skip(models.Model):
    """Subscriptions that a repricing looked at and did not move, and why. Appended, chunk by chunk.

    A reason that follows from the subscription's state (locked, ended) is only counted, in one row
    for `rows` subscriptions of a chunk; a reason that a person has to know of has a row for each
    subscription.
    """

    class Reason(models.TextChoices):
        LOCKED = "locked", _lazy("Locked")
        NEGOTIATED = "negotiated", _lazy("Negotiated")
        ENDED = "ended", _lazy("Ended")
        UNCHANGED = "unchanged", _lazy("Unchanged")
        AGAINST_SIGN = "against_sign", _lazy("a bound or the rounding would move it the other way")
        BECOMES_FREE = "becomes_free", _lazy("the rounding would make it free")
        MOVED_SINCE = "moved_since", _lazy("moved since the approval")
        SUPERSEDED = "superseded", _lazy("held by a later change")
        TOUCHED_SINCE = "touched_since", _lazy("touched since the change")
        DELETED = "deleted", _lazy("Deleted")
        CANCELLED = "cancelled", _lazy("Cancelled")
        FAILED = "failed", _lazy("Failed")
        NOT_STAMPED = "not_stamped", _lazy("the comment could not be stamped")

    repricing = models.ForeignKey(Repricing, on_delete=models.CASCADE, related_name="skips")
    reason = models.CharField(max_length=13, choices=Reason)
    rows = models.BigIntegerField(db_default=1)
    subscription_id = models.BigIntegerField(null=True)
    by_change_id = models.BigIntegerField("superseded by the price change", null=True)
    detail = models.CharField(max_length=500, db_default="")

    class Meta:
        ordering = ["id"]
        indexes = [
            # For the skipped subscriptions that are named, a page at a time.
            models.Index(
                name="skip_named",
                fields=["repricing", "subscription_id"],
                condition=Q(subscription_id__isnull=False),
            ),
            # For the rows that a later change holds of others; few skips have one.
            models.Index(
                name="skip_by_change",
                fields=["by_change_id"],
                condition=Q(by_change_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rows} {self.reason}"


class RepricingStep(models.Model):
    """The part of a repricing that concerns one (service, plan): what a worker takes at a time.

    The whole pair has one rule price, and walking a table pair by pair keeps updates HOT. A step is
    deleted when done; `after_id` is the cursor of the chunks, `checked` counts the rows up to it.
    """

    class Lane(models.TextChoices):
        PRICE = "price", _lazy("Price")
        COMMENT = "comment", _lazy("Comment")

    repricing = models.ForeignKey(Repricing, on_delete=models.CASCADE, related_name="steps")
    kind = models.CharField(max_length=7, choices=Lane)
    # The repricing's: steps of a pair are done in the order of their instants, not of their
    # arrival.
    effective_at = models.DateTimeField(db_default=Clock())
    service_id = models.BigIntegerField()
    plan_id = models.BigIntegerField()
    subscriptions = models.BigIntegerField()
    checked = models.BigIntegerField(db_default=0)
    after_id = models.BigIntegerField(db_default=0)
    last_id = models.BigIntegerField()

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(
                name="repricing_step_pair",
                fields=["kind", "service_id", "plan_id", "effective_at", "id"],
            ),
            models.Index(name="repricing_step_next", fields=["kind", "effective_at", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of service {self.service_id}, plan {self.plan_id}"


class StampedComment(models.Model):
    """The texts of a subscription that a price change has overwritten, for its revert to put back.

    They are the comment that its stamp replaced, and the reason of the price state if any.
    """

    change_id = models.BigIntegerField()
    subscription_id = models.BigIntegerField()
    comment = models.CharField(max_length=50)
    stamp = models.CharField(max_length=50, null=True)
    price_reason = models.CharField(max_length=200, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="stamped_comment_once", fields=["change_id", "subscription_id"]
            )
        ]

    def __str__(self) -> str:
        return f"comment of subscription {self.subscription_id} before change {self.change_id}"
