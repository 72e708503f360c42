"""Price changes: decisions to move prices, from the plan to the outcome.

      plan ──▶ planned ──approve──▶ scheduled ──instant──▶ applying ──▶ applied ──▶ reverted
                  │                  │   ▲                  │    ▲                 (by another
                  │                  │   └─approve─ held ◀──┤    │                  change)
                  │                  │               │  pause  resume
                  ▼                  ▼               ▼      ▼    │
              cancelled          cancelled      cancelled  paused┘──cancel──▶ cancelled, reverted

`services` knows nothing of them but their number (`change_id`).
"""

from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.lookups import IsNull
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy

from price_changes import notes
from price_changes.notice_models import AllTold, Told, ToTell, Untold
from pricebook.words.stored import shown
from services.bounds import HIGHEST_PRICE
from services.models import Clock, Plan, Service, Subscription
from services.models.exact_fields import ExactDecimalField, is_exact

__all__ = ["AllTold", "Brake", "ListedRows", "MovedAlone", "PriceChange", "SetMember", "ToTell"]
__all__ += ["Told", "Untold"]
AMOUNTS = ["old_value", "new_value", "floor", "ceiling", "rounding_step"]
LONGEST_REASON = Subscription._meta.get_field("price_reason").max_length


class PriceChange(models.Model):
    """One decision to move prices.

    A change of the catalogue has `service` or `plan`, with the old and the new value. A change of a
    set of subscriptions has `filter`, and an `adjustment` with its `operand`. A trigger writes one
    for each plain edit of the catalogue too, approved by its author at the instant of the edit.
    """

    class Kind(models.TextChoices):
        LIST_PRICE = "list_price", _lazy("list price")
        DISCOUNT = "discount", _lazy("discount")
        SET = "set", _lazy("set of subscriptions")
        REVERT = "revert", _lazy("revert of a set")

    class Adjustment(models.TextChoices):
        AMOUNT = "amount", _lazy("a new amount")
        ADD = "add", _lazy("plus or minus an amount")
        PERCENT = "percent", _lazy("plus or minus a percentage")
        LOCK = "lock", _lazy("lock at the price it has")
        RELEASE = "release", _lazy("release the lock")
        FOLLOW = "follow", _lazy("follow the catalogue")

    class Status(models.TextChoices):
        PLANNED = "planned", pgettext_lazy("price change", "Planned")
        SCHEDULED = "scheduled", pgettext_lazy("price change", "Scheduled")
        HELD = "held", pgettext_lazy("price change", "Held")
        APPLYING = "applying", pgettext_lazy("price change", "Applying")
        PAUSED = "paused", pgettext_lazy("price change", "Paused")
        APPLIED = "applied", pgettext_lazy("price change", "Applied")
        CANCELLED = "cancelled", pgettext_lazy("price change", "Cancelled")
        REVERTED = "reverted", pgettext_lazy("price change", "Reverted")

    class WhenMoved(models.TextChoices):
        HOLD = "hold", _lazy("hold the change and ask again")
        FROZEN = "frozen", _lazy("move the approved rows that nobody moved")
        CURRENT = "current", _lazy("move what matches then")

    title = models.CharField(max_length=100, db_default="")
    reason = models.CharField(max_length=1000, db_default="")
    comment = models.CharField("comment to stamp", max_length=50, db_default="")
    kind = models.CharField(max_length=10, choices=Kind)
    # No constraints: the record of a change outlives its service and its plan.
    service = models.ForeignKey(
        Service, models.DO_NOTHING, null=True, related_name="+", db_constraint=False
    )
    plan = models.ForeignKey(
        Plan, models.DO_NOTHING, null=True, related_name="+", db_constraint=False
    )
    old_value = ExactDecimalField(max_digits=12, decimal_places=2, unbounded=True, null=True)
    new_value = ExactDecimalField(max_digits=12, decimal_places=2, unbounded=True, null=True)
    for_new_only = models.BooleanField("for new subscriptions only", db_default=False)
    filter = models.JSONField(null=True)
    adjustment = models.CharField(max_length=7, choices=Adjustment, db_default="")
    operand = ExactDecimalField(max_digits=14, decimal_places=4, unbounded=True, null=True)
    floor = ExactDecimalField(max_digits=12, decimal_places=2, unbounded=True, null=True)
    ceiling = ExactDecimalField(max_digits=12, decimal_places=2, unbounded=True, null=True)
    rounding_step = ExactDecimalField(max_digits=12, decimal_places=2, unbounded=True, null=True)
    locked_until = models.DateTimeField(null=True)
    # Whether `SetMember` has the members of an approved set whose filter has no history.
    has_members = models.BooleanField(db_default=False, editable=False)
    # A decision about the one subscription of its filter, made on its page or by its verb: it moves
    # it whatever its state, and its reason becomes that of the price.
    for_one = models.BooleanField(db_default=False, editable=False)
    reverts = models.ForeignKey(
        "self", models.PROTECT, null=True, related_name="reverted_by", db_index=False
    )

    status = models.CharField(max_length=9, choices=Status, db_default="planned")
    # NULL before the approval: it will come into force at the approval.
    effective_at = models.DateTimeField(null=True)
    # An instant that was given as local time: the time that clocks show, in ISO 8601 without an
    # offset, and their IANA zone. Rules of zones change, and the instant does not.
    effective_local = models.CharField(max_length=26, db_default="")
    effective_zone = models.CharField(max_length=64, db_default="")
    # The person who decided that the instant stays, though the zone's rules give another one now.
    instant_kept_by = models.CharField(max_length=150, db_default="")
    when_moved = models.CharField(max_length=7, choices=WhenMoved, db_default="")
    # All clients whose price it moves are to be told so many days before its instant, by this day
    # (set at the approval); else it is held. NULL: nobody has to be. See `planning.noticed`.
    notice_days = models.SmallIntegerField(null=True)
    notice_by = models.DateField(null=True, editable=False)
    planned_by = models.CharField(max_length=150)
    planned_at = models.DateTimeField(db_default=Clock())
    preview = models.JSONField(null=True)
    fingerprint = models.CharField(max_length=32, db_default="")
    previewed_at = models.DateTimeField(null=True)
    # The seed of the digest of its rows, drawn anew for each preview. It is shown nowhere: whoever
    # knew it could choose rows with the fingerprint of others. NULL: from before there were seeds.
    preview_seed = models.BigIntegerField(null=True, editable=False)
    # The transactions that the preview could see; and for a change of the catalogue, how many
    # subscriptions were written between the preview and the start.
    preview_snapshot = models.TextField(null=True)
    # The life of the database in which it was made; NULL: the first one.
    preview_life = models.BigIntegerField(null=True, editable=False)
    drift = models.BigIntegerField(null=True)
    approved_by = models.CharField(max_length=150, db_default="")
    approved_at = models.DateTimeField(null=True)
    # The order of approvals, which decides between changes of one instant.
    approval = models.BigIntegerField(null=True)
    note = models.CharField(max_length=500, db_default="")  # why it is held, what drifted
    # Why it takes another person: of a plan that waits for one, and of an edit by SQL or the ORM
    # that nobody has approved. Empty otherwise.
    needs_another = models.CharField(max_length=500, db_default="")
    # False for a plain edit until a door or a worker has compared it with the limits.
    judged = models.BooleanField(db_default=True, editable=False)
    # Another person who has approved such an edit after it had moved prices.
    accepted_by = models.CharField(max_length=150, db_default="")
    accepted_at = models.DateTimeField(null=True)
    # The last pause, and its end.
    paused_by = models.CharField(max_length=150, db_default="")
    paused_at = models.DateTimeField(null=True)
    resumed_by = models.CharField(max_length=150, db_default="")
    resumed_at = models.DateTimeField(null=True)
    cancelled_by = models.CharField(max_length=150, db_default="")
    # Why somebody rejected a plan, which is cancelled by that.
    rejected_because = models.CharField(max_length=1000, db_default="")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    # Set by `status_now.refresh`, and not stored: the brake that holds it, or will; and for a
    # scheduled change of the catalogue the value that it finds before it by what is known now.
    # `untold`: those of its clients who are still to be told in time (`planning.noticed`).
    # `will_be_held`: by any of them.
    brake: "Brake | None" = None
    untold: Untold | None = None
    finds: Decimal | None = None
    will_be_held = False
    has_come = False

    class Meta:
        ordering = ["-id"]
        permissions = [("approve_pricechange", "Can approve price changes")]
        indexes = [
            models.Index(
                name="price_change_due",
                fields=["effective_at", "approval"],
                condition=Q(status="scheduled"),
            ),
            models.Index(name="price_change_of_service", fields=["service", "effective_at"]),
            models.Index(name="price_change_of_plan", fields=["plan", "effective_at"]),
            models.Index(name="price_change_not_judged", fields=["id"], condition=Q(judged=False)),
            models.Index(
                name="price_change_needs_another",
                fields=["id"],
                condition=~Q(needs_another=""),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="price_change_reverted_once",
                fields=["reverts"],
                condition=~Q(status="cancelled") & ~Q(status="reverted"),
                violation_error_message=_lazy("This change is being reverted already."),
            ),
            models.CheckConstraint(
                name="price_change_values_exact",
                condition=Q(*map(is_exact, AMOUNTS))
                & is_exact("operand", 4)
                & (Q(plan=None) | is_exact("new_value", 0)),
            ),
            models.CheckConstraint(
                name="price_change_values_in_bounds",
                condition=Q(
                    *[
                        Q(**{f"{name}__range": (-HIGHEST_PRICE, HIGHEST_PRICE)})
                        for name in (*AMOUNTS, "operand")
                    ]
                ),
            ),
            models.CheckConstraint(
                name="price_change_status_known",
                condition=Q(
                    status__in=[
                        "planned",
                        "scheduled",
                        "held",
                        "applying",
                        "paused",
                        "applied",
                        "cancelled",
                        "reverted",
                    ]
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.title or _("price change %(pk)s") % {"pk": self.pk}

    @property
    def remark(self) -> str:
        """The remark on its state: who has paused it, and the note; or empty."""
        paused = self.status == self.Status.PAUSED and self.paused_by
        by = _("Paused by %(person)s.") % {"person": self.paused_by} if paused else ""
        return " ".join(filter(None, [by, shown(self.note)]))

    @property
    def why_another(self) -> str:
        """Why it takes another person, in the reader's language; or empty."""
        return shown(self.needs_another)

    @property
    def not_approved(self) -> bool:
        """Whether it has moved prices beyond a limit, and no other person has approved that."""
        return bool(self.needs_another) and self.approved_at is not None

    @property
    def has_approvable_preview(self) -> bool:
        """Whether it has a preview that is not from before there were seeds."""
        return bool(self.fingerprint) and self.preview_seed is not None

    @property
    def why(self) -> str:
        """The reason that it writes with a price state, as short as possible: "Price change 7" or
        "".

        A row that grows has to leave its page, which ends HOT updates. So only locks name the
        change; the reason for a negotiated price is in the ledger alone.
        """
        if self.for_one:
            return self.reason[:LONGEST_REASON]
        of_lock = self.adjustment == self.Adjustment.LOCK
        return notes.BY_CHANGE % {"number": self.pk} if of_lock else ""

    @property
    def first(self) -> "PriceChange":
        """The change that this one takes back, or brings back; itself if it does neither.

        One query for each revert between the two.
        """
        return self if self.reverts is None else self.reverts.first

    @property
    def counts_again(self) -> bool:
        """Whether it is a revert that brings a change back, by taking back its revert. Queries as
        `first`."""
        return self.reverts is not None and (
            self.reverts.reverts is not None and not self.reverts.counts_again
        )


class SetMember(models.Model):
    """A subscription that matched a set's filters without a history, as of the set's approval.

    It is stored from the approval until the rows are listed.
    """

    pk = models.CompositePrimaryKey("change_id", "subscription_id")
    change_id = models.BigIntegerField()
    subscription_id = models.BigIntegerField()

    def __str__(self) -> str:
        return _("subscription %(subscription_id)s of price change %(change_id)s") % {
            "subscription_id": self.subscription_id,
            "change_id": self.change_id,
        }


class ListedRows(models.Model):
    """A stretch of the subscriptions of one (service, plan) that a change of a set is to move.

    It has how each stood, and what each is to become: arrays, and not a row for each subscription,
    so that listing a million and deleting them costs a tenth. Made at the approval (`frozen`) or at
    the effective instant; deleted by the chunk that reaches its end.
    """

    change_id = models.BigIntegerField()
    service_id = models.BigIntegerField()
    plan_id = models.BigIntegerField()
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField()
    rows = models.BigIntegerField()
    ids = ArrayField(models.BigIntegerField())
    prices = ArrayField(models.DecimalField(max_digits=12, decimal_places=2))
    price_states = ArrayField(models.CharField(max_length=10))
    # NULL in lists from before there was this column.
    untils = ArrayField(models.DateTimeField(null=True), null=True)
    new_prices = ArrayField(models.DecimalField(max_digits=12, decimal_places=2))
    new_states = ArrayField(models.CharField(max_length=10))
    new_untils = ArrayField(models.DateTimeField(null=True))

    class Meta:
        indexes = [
            models.Index(
                name="listed_rows", fields=["change_id", "service_id", "plan_id", "first_id"]
            )
        ]

    def __str__(self) -> str:
        return _("%(rows)s rows of price change %(change_id)s") % {
            "rows": self.rows,
            "change_id": self.change_id,
        }


class MovedAlone(models.Model):
    """A move of prices that one person decided without another one: what it adds to that person's
    sum of 24 hours.

    It is written in the transaction of the move, under a lock of the person, and stays. `who` is
    "person 3", or "unknown" for all who are not known to be a person: see `running.limits`.
    """

    who = models.CharField(max_length=30)
    author = models.CharField(max_length=150)
    at = models.DateTimeField(db_default=Clock())
    rows = models.BigIntegerField()
    movement = models.DecimalField(max_digits=24, decimal_places=2)
    # NULL: from a price of 0, or not counted.
    percent = models.DecimalField(max_digits=30, decimal_places=10, null=True)
    names = models.JSONField(default=dict)  # as `services.moves.Move` has them
    change_ids = ArrayField(models.BigIntegerField(), default=list)  # price changes

    class Meta:
        indexes = [models.Index(name="moved_alone_by", fields=["who", "at"])]

    def __str__(self) -> str:
        return _("%(rows)s rows by %(author)s") % {"rows": self.rows, "author": self.author}


class Brake(models.Model):
    """One time for which no price change started: who pulled the brake and released it, and why.

    A fact, which stays: a change that was approved for a later instant is held by it if its instant
    comes after `pulled_at`, and not after `released_at`. See `planning.braked`.
    """

    pulled_at = models.DateTimeField()
    pulled_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=1000)
    released_at = models.DateTimeField(null=True)  # NULL: it is on
    released_by = models.CharField(max_length=150, db_default="")
    release_reason = models.CharField(max_length=1000, db_default="")

    class Meta:
        default_permissions = ()
        permissions = [("pull_brake", "Can pull and release the brake")]
        constraints = [
            models.UniqueConstraint(
                IsNull(F("released_at"), True),
                name="brake_is_on_once",
                condition=Q(released_at=None),
            ),
            models.CheckConstraint(
                name="brake_has_reasons",
                condition=~Q(reason="")
                & (
                    Q(released_at=None, released_by="", release_reason="")
                    | Q(released_at__gte=F("pulled_at")) & ~Q(release_reason="")
                ),
            ),
        ]

    def __str__(self) -> str:
        return _("brake %(pk)s, pulled by %(pulled_by)s") % {
            "pk": self.pk,
            "pulled_by": self.pulled_by,
        }
