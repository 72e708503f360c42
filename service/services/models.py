"""What is sold, at what price, to whom.

A price is never written by this module: triggers price every subscription that is created, moved
or written against the rule, and record a `Repricing` for every change of a list price or a
discount, whoever makes it (migration `0002_price_rule`). Workers apply it (`repricing.py`).
"""

from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Self

from django.contrib.postgres.indexes import GinIndex
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now

from clients.models import Client
from services.querysets import ChangesQuerySet, RepricingQuerySet, SubscriptionQuerySet

# Bounds that PostgreSQL's types lack: NaN is a numeric, greater than every number, and one would
# make every sum NaN; `infinity` is a time, and no Python can read it.
HIGHEST_PRICE = Decimal("9999999999.99")
FIRST_DAY = datetime(1900, 1, 1, tzinfo=UTC)
LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC)


class Clock(Func):
    """The instant at which a statement runs; `Now()` is that at which its transaction began."""

    function = "clock_timestamp"
    output_field = models.DateTimeField()


class SavesChanges(models.Model):
    """A model whose `save()` writes the fields that were changed since they were loaded.

    Django writes every column, so a stale instance (or an admin form that was open meanwhile)
    would put back a price that somebody else has moved. To write a field that was not changed,
    name it in `update_fields`. Loading reads no deferred field.
    """

    _loaded: dict[str, Any]

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any]) -> Self:
        instance = super().from_db(db, field_names, values)
        instance._loaded = instance._values()
        return instance

    def save(self, *args: Any, **kwargs: Any) -> None:
        # An instance that was made by hand with a primary key is saved whole, as Django does.
        known = not self._state.adding and "_loaded" in self.__dict__
        if known and not args and kwargs.get("update_fields") is None:
            kwargs["update_fields"] = self.changed_fields()
        super().save(*args, **kwargs)
        self.mark_saved(kwargs.get("update_fields"))

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        super().refresh_from_db(*args, **kwargs)
        names = kwargs.get("fields") or (args[1] if len(args) > 1 else None)
        self._mark_loaded(self._values(names))

    def changed_fields(self) -> list[str]:
        """The fields whose value is not the one that was loaded or last committed."""
        loaded = self.__dict__.get("_loaded", {})
        return [
            name
            for name, value in self._values().items()
            if name not in loaded or value != loaded[name]
        ]

    def mark_saved(self, names: Collection[str] | None = None) -> None:
        """These fields (all by default) have just been written with the values they have."""
        saved = self._values(names)
        # Until the commit they count as changed: after a rollback they are.
        loaded = self.__dict__.get("_loaded", {})
        self._loaded = {name: value for name, value in loaded.items() if name not in saved}
        transaction.on_commit(partial(self._mark_loaded, saved), using=self._state.db)

    def _mark_loaded(self, values: dict[str, Any]) -> None:
        # A new dict: a copy of the instance shares the old one.
        self._loaded = {**self.__dict__.get("_loaded", {}), **values}

    def _values(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """The values of the fields that are not deferred; of these, if any are named."""
        return {
            field.attname: self.__dict__[field.attname]
            for field in self._meta.concrete_fields
            if not field.primary_key
            and field.attname in self.__dict__
            and (names is None or field.name in names or field.attname in names)
        }


class Service(SavesChanges):
    """A thing sold, with its list price."""

    name = models.CharField(max_length=50)
    full_price = models.DecimalField(
        "list price", max_digits=12, decimal_places=2, validators=[MinValueValidator(0)]
    )

    objects = ChangesQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        indexes = [
            # The search.
            GinIndex(name="service_name_trigrams", fields=["name"], opclasses=["gin_trgm_ops"])
        ]
        constraints = [
            # Its condition always holds, and makes the index one that no foreign key can point to:
            # an edit of these columns then locks its row FOR NO KEY UPDATE, which the foreign key
            # checks of writers, at their commit, pass. Else they and an editor, who waits for them
            # in the advisory lock, would deadlock (test_races.py).
            models.UniqueConstraint(
                name="service_unique_name",
                fields=["name"],
                condition=Q(full_price__gte=0),
                violation_error_message="A service of this name already exists.",
            ),
            models.CheckConstraint(
                name="service_full_price_not_negative",
                condition=Q(full_price__gte=0, full_price__lte=HIGHEST_PRICE),
                violation_error_message="A list price can't be negative.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Plan(SavesChanges):
    """A percentage discount: of its type, on any service."""

    class Type(models.TextChoices):
        FULL = "full"
        STUDENT = "student"
        DISCOUNT = "discount"

    plan_type = models.CharField(max_length=10, choices=Type)
    discount_percent = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(100)]
    )

    objects = ChangesQuerySet.as_manager()

    class Meta:
        ordering = ["plan_type", "discount_percent"]
        constraints = [
            # Conditional for the same reason as the service's name.
            models.UniqueConstraint(
                name="plan_unique_type_and_percent",
                fields=["plan_type", "discount_percent"],
                condition=Q(discount_percent__gte=0),
                violation_error_message="A plan of this type and discount already exists.",
            ),
            models.CheckConstraint(
                name="plan_discount_percent_0_to_100",
                condition=Q(discount_percent__gte=0, discount_percent__lte=100),
                violation_error_message="A discount is a whole number from 0 to 100.",
            ),
            models.CheckConstraint(
                name="plan_type_known",
                condition=Q(plan_type__in=["full", "student", "discount"]),
                violation_error_message="A plan type is full, student or discount.",
            ),
        ]

    def __str__(self) -> str:
        sign = "-" if self.discount_percent else ""
        return f"{self.plan_type} {sign}{self.discount_percent} %"


class Subscription(SavesChanges):
    """One client, one service, one plan, and the price that is paid.

    `price` is stored and kept by the database: leave it out when creating, the insert returns
    it. While a subscription is active (it has not ended) and follows the catalogue, its price is
    the rule's. One that is locked keeps its price until `locked_until` (NULL: until it is
    released); a negotiated one has a price of its own. `price_state.py` has the verbs. A move to
    another service or plan ends a lock and a negotiated price unless the same write sets one.
    """

    class PriceState(models.TextChoices):
        FOLLOWS = "follows"
        LOCKED = "locked"
        NEGOTIATED = "negotiated"

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="subscriptions")
    service = models.ForeignKey(
        Service, on_delete=models.PROTECT, related_name="subscriptions", db_index=False
    )
    plan = models.ForeignKey(
        Plan, on_delete=models.PROTECT, related_name="subscriptions", db_index=False
    )
    # Not indexed, in no index and no predicate: that keeps a repricing HOT (no index is touched).
    # NULL, the default, never reaches the table: a trigger puts the rule's price in its place.
    price = models.DecimalField(
        max_digits=12,
        decimal_places=2,
        db_default=None,  # type: ignore[arg-type]
        editable=False,
        blank=True,
    )
    # In no index either, for the same reason; when a lock ends stands in `LockEnd`.
    price_state = models.CharField(
        max_length=10, choices=PriceState, db_default="follows", editable=False
    )
    locked_until = models.DateTimeField(null=True, editable=False)
    price_reason = models.CharField(
        "reason of the price state", max_length=200, db_default="", blank=True, editable=False
    )
    comment = models.CharField(max_length=50, blank=True, default="")
    # The comment that the last catalogue edit stamped here. A comment that differs from it was
    # written by a person, and nothing stamps over that.
    stamp = models.CharField(max_length=50, null=True, editable=False)
    source = models.CharField(max_length=50, null=True, blank=True)
    external_id = models.CharField(max_length=50, null=True, blank=True)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        permissions = [("set_price_state", "Can lock, release and negotiate prices")]
        indexes = [
            # Pages of one service, of one plan, of both; the last is also what a repricing walks.
            models.Index(name="subscription_service", fields=["service", "id"]),
            models.Index(name="subscription_plan", fields=["plan", "id"]),
            models.Index(name="subscription_service_plan", fields=["service", "plan", "id"]),
            # The list in the order of the start; ranges of starts.
            models.Index(name="subscription_started", fields=["started_at", "id"]),
            # Those that have ended, or will; most never do, and those are not in it.
            models.Index(
                name="subscription_ended",
                fields=["ended_at", "id"],
                condition=Q(ended_at__isnull=False),
            ),
            # One index for the exact search and for the prefix, in any collation.
            models.Index(
                name="subscription_comment", fields=["comment"], opclasses=["varchar_pattern_ops"]
            ),
        ]
        constraints = [
            # The composite index of the tutorial's chapter 12 too: it serves source alone.
            models.UniqueConstraint(
                name="subscription_unique_external_id", fields=["source", "external_id"]
            ),
            models.CheckConstraint(
                name="subscription_external_id_has_source",
                condition=Q(source=None, external_id=None)
                | Q(source__isnull=False, external_id__isnull=False),
                violation_error_message="Source and external id belong together: give both.",
            ),
            models.CheckConstraint(
                name="subscription_price_not_negative",
                condition=Q(price__gte=0, price__lte=HIGHEST_PRICE),
            ),
            models.CheckConstraint(
                name="subscription_price_state_known",
                condition=Q(price_state__in=["follows", "locked", "negotiated"]),
                violation_error_message="A price follows, is locked or is negotiated.",
            ),
            models.CheckConstraint(
                name="subscription_locked_until_of_locked",
                condition=Q(locked_until=None)
                | Q(price_state="locked", locked_until__gte=FIRST_DAY, locked_until__lte=LAST_DAY),
                violation_error_message="Only a locked price is locked until a time.",
            ),
            models.CheckConstraint(
                name="subscription_ends_after_start",
                condition=Q(ended_at=None) | Q(ended_at__gt=F("started_at")),
                violation_error_message="A subscription ends after it has started.",
            ),
            models.CheckConstraint(
                name="subscription_dates_1900_to_9999",
                condition=Q(started_at__gte=FIRST_DAY, started_at__lte=LAST_DAY)
                & (Q(ended_at=None) | Q(ended_at__lte=LAST_DAY)),
                violation_error_message="A start and an end lie in the years 1900 to 9999.",
            ),
        ]

    def __str__(self) -> str:
        return f"subscription {self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and take over the price that the database has set (a query where it may differ)."""
        if self._state.adding:
            # Left out, the price comes back with the insert; given, it may have been put right.
            repriced = isinstance(self.price, Decimal | int | float | str)
        else:
            repriced = not {"service_id", "plan_id", "ended_at", "price", "price_state"}.isdisjoint(
                self.changed_fields()
            )
        super().save(*args, **kwargs)
        if repriced:
            self.refresh_from_db(fields=["price", "price_state", "locked_until", "price_reason"])


class LedgerEntry(models.Model):
    """One price that a subscription has had, and what decided it. Append-only.

    Triggers write it with each write of a price, of its state, or of whose price it is
    (migration `0005_ledger`), and the database refuses to change or delete it. `price` is NULL in
    the entry of a subscription that was deleted. `ledger.py` reads it.
    """

    # Taken under the row's lock, so of one subscription the later entry has the greater id.
    # And under the catalogue's locks: see `Repricing.position`.
    id = models.BigAutoField(primary_key=True)
    # The transaction that wrote it: the feed's order, since ids are visible out of order.
    xact = models.BigIntegerField()
    subscription_id = models.BigIntegerField()
    client_id = models.BigIntegerField()
    service_id = models.BigIntegerField()
    plan_id = models.BigIntegerField()
    price = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    price_state = models.CharField(max_length=10, choices=Subscription.PriceState)
    locked_until = models.DateTimeField(null=True)
    # From when the price is in force, and when it was written: a worker may come late.
    effective_at = models.DateTimeField(db_default=Clock())
    recorded_at = models.DateTimeField(db_default=Clock())
    change_id = models.BigIntegerField("price change", null=True)
    author = models.CharField(max_length=150, db_default="")

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(name="ledger_subscription", fields=["subscription_id", "id"]),
            models.Index(name="ledger_feed", fields=["xact", "id"]),
            # Who was ever a client's: no price change gives a subscription to another client, so
            # this one knows all of them, and a repricing leaves it alone.
            models.Index(
                name="ledger_client",
                fields=["client_id", "subscription_id"],
                condition=Q(change_id=None),
            ),
            models.Index(
                name="ledger_change",
                fields=["change_id", "subscription_id"],
                condition=Q(change_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"subscription {self.subscription_id} at {self.price} from {self.effective_at}"


class LockEnd(models.Model):
    """When a lock ends, for the sweep: an index on `locked_until` would end HOT updates.

    Written by a trigger with each lock that has an end. A lock that was moved or released leaves
    its old rows here; who takes one looks at the subscription.
    """

    subscription_id = models.BigIntegerField()
    until = models.DateTimeField()

    class Meta:
        indexes = [models.Index(name="lock_end_until", fields=["until"])]

    def __str__(self) -> str:
        return f"lock of subscription {self.subscription_id} until {self.until}"


class StampedComment(models.Model):
    """What a price change has written over beside the price, to be put back by its revert.

    The comment under its stamp, and the reason of the price state if there was one.
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


class Repricing(models.Model):
    """The application of one price change: the work that follows from it.

    For an edit of the catalogue it is written by a trigger in the edit's transaction, so it is
    there however the edit was made. `service` alone: its list price moved; `plan` alone: its
    discount; both: the prices of this pair have to be looked at again; none: a change of a set
    of subscriptions. `comment` is stamped on the subscriptions it concerns.
    """

    class Kind(models.TextChoices):
        CATALOGUE = "catalogue"  # followers move to the rule's price
        KEEP = "keep"  # followers are locked at the price they have
        ROWS = "rows"  # the rows of a list: `price_changes.ListedRows`

    kind = models.CharField(max_length=9, choices=Kind, db_default="catalogue")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, null=True, related_name="+")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, null=True, related_name="+")
    change_id = models.BigIntegerField("price change", null=True)
    # From when the new value is in force: a plain edit's is when it held the catalogue lock.
    effective_at = models.DateTimeField(db_default=Clock())
    # Of the ledger's sequence, taken under the catalogue's lock: an entry with a greater id was
    # written by somebody who saw the new value, one with a smaller id by somebody who did not.
    position = models.BigIntegerField(
        db_default=Func(
            Value("services_ledgerentry_id_seq"),
            function="nextval",
            output_field=models.BigIntegerField(),
        )
    )
    locked_until = models.DateTimeField("followers are locked until", null=True)
    # The revert of a change puts back the comments that its stamp has written over.
    unstamps_change_id = models.BigIntegerField(null=True)
    # And the price states, where that one was for new subscriptions only.
    unkeeps_change_id = models.BigIntegerField(null=True)
    paused_at = models.DateTimeField(null=True)
    old_value = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    new_value = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    comment = models.CharField(max_length=50, db_default="")
    author = models.CharField(max_length=150, db_default="")
    requested_at = models.DateTimeField(db_default=Now())
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
            # The catalogue's history.
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
            return f"{self.service}, {self.plan}: look again"
        if self.service_id:
            return f"{self.service}: list price {self.old_value} → {self.new_value}"
        if self.plan_id:
            return f"{self.plan}: discount {self.old_value} → {self.new_value} %"
        return f"price change {self.change_id}"


class Skip(models.Model):
    """Subscriptions that a repricing looked at and did not move, and why. Appended, chunk by chunk.

    A reason that follows from what the subscription is (locked, ended) is counted, `rows` of a
    chunk in one; one that is somebody's business has a row a subscription.
    """

    class Reason(models.TextChoices):
        LOCKED = "locked"
        NEGOTIATED = "negotiated"
        ENDED = "ended"
        UNCHANGED = "unchanged"
        MOVED_SINCE = "moved_since", "moved since the approval"
        SUPERSEDED = "superseded", "held by a later change"
        TOUCHED_SINCE = "touched_since", "touched since the change"
        DELETED = "deleted"
        CANCELLED = "cancelled"
        FAILED = "failed"
        NOT_STAMPED = "not_stamped", "the comment could not be stamped"

    repricing = models.ForeignKey(Repricing, on_delete=models.CASCADE, related_name="skips")
    reason = models.CharField(max_length=13, choices=Reason)
    rows = models.BigIntegerField(db_default=1)
    subscription_id = models.BigIntegerField(null=True)
    by_change_id = models.BigIntegerField("superseded by the price change", null=True)
    detail = models.CharField(max_length=500, db_default="")

    class Meta:
        ordering = ["id"]
        indexes = [
            # Those that are named, a page at a time.
            models.Index(
                name="skip_named",
                fields=["repricing", "subscription_id"],
                condition=Q(subscription_id__isnull=False),
            ),
            # What a later change holds of others; few skips have one.
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

    One rule price holds for the whole pair, and walking a table pair by pair keeps updates HOT.
    Deleted when done; `after_id` is the cursor of the chunks, `checked` counts rows behind it.
    """

    class Kind(models.TextChoices):
        PRICE = "price"
        COMMENT = "comment"

    repricing = models.ForeignKey(Repricing, on_delete=models.CASCADE, related_name="steps")
    kind = models.CharField(max_length=7, choices=Kind)
    # The repricing's: steps of a pair are done in the order of instants, whoever came first.
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


class Subtotal(models.Model):
    """A part of the total: the rows of one (service, plan) add up to its count and amount.

    Triggers append a row for every statement that changes the book (migration `0003_total`), so
    that no writer waits for another's counter; `total.fold()` merges rows and changes no sum.
    `changes` counts statements: its sum over the table is the version of the book.
    """

    service_id = models.BigIntegerField(null=True)
    plan_id = models.BigIntegerField(null=True)
    subscriptions = models.BigIntegerField(db_default=0)
    amount = models.DecimalField(max_digits=20, decimal_places=2, db_default=0)
    changes = models.BigIntegerField(db_default=1)

    def __str__(self) -> str:
        return f"subtotal of service {self.service_id}, plan {self.plan_id}"
