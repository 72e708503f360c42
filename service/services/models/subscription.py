"""A subscription: who pays what for which service; and when its lock ends."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import Combinable
from django.db.models.fields.tuple_lookups import (  # type: ignore[import-untyped]
    Tuple,
    TupleGreaterThan,
    TupleLessThanOrEqual,
)
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from clients.models import Client
from pricebook.kit.known_elsewhere import refuse_source_alike
from pricebook.kit.names import NameField
from services.bounds import FIRST_DAY, HIGHEST_PRICE, LAST_DAY
from services.models.catalogue import Plan, Service
from services.models.clock import BookNow
from services.models.exact_fields import ExactDecimalField, is_exact
from services.models.saved_changes import ChangesQuerySet, SavesChanges
from services.pricing import RulePrice

# The reason that triggers write for the price of one that had ended, where it isn't the rule's of
# its end. Opened again, it follows.
SAID_AT_END = "Said when it had ended"


class SubscriptionQuerySet(ChangesQuerySet["Subscription"]):
    def active(self, at: datetime | Combinable | None = None) -> Self:
        """Subscriptions that have not ended by now, or had not by an instant."""
        return self.filter(Q(ended_at=None) | Q(ended_at__gt=at or BookNow()))

    def of_pair(self, service_id: int, plan_id: int, after_id: int, last_id: int) -> Self:
        """Subscriptions of one service and plan with after_id < id <= last_id, in the order of ids.

        They are one range of the index (service_id, plan_id, id): for two equalities and an order
        by id the planner may walk the primary key, through the rows of all other pairs.
        """
        pair = [F("service_id"), F("plan_id"), F("id")]
        return self.filter(
            TupleGreaterThan(Tuple(*pair), (service_id, plan_id, after_id)),
            TupleLessThanOrEqual(Tuple(*pair), (service_id, plan_id, last_id)),
        ).order_by("service_id", "plan_id", "id")

    def following(self, at: datetime | Combinable | None = None) -> Self:
        """Active subscriptions that follow the catalogue: their price must be the rule's."""
        return self.active(at).filter(price_state="follows")

    def for_api(self) -> Self:
        """The columns that the API shows, in one query: every relation is to one, so they join."""
        return self.select_related("client__user", "service", "plan").only(
            "client__company_name",
            "client__user__email",
            "service__name",
            "service__full_price",
            "plan__plan_type",
            "plan__discount_percent",
            "price",
            "price_state",
            "locked_until",
            "price_reason",
            "comment",
            "source",
            "external_id",
            "started_at",
            "ended_at",
        )

    def with_rule_price(self) -> Self:
        """Annotate `rule_price`, the rule's price by the catalogue (joins service and plan)."""
        return self.annotate(rule_price=RulePrice("service__full_price", "plan__discount_percent"))

    def mispriced(self) -> Self:
        """Followers whose price is not the rule's, whether they wait for a worker or not."""
        return self.following().with_rule_price().exclude(price=F("rule_price"))


class Subscription(SavesChanges):
    """One client, one service, one plan, and the price that is paid.

    `price` is written by the database: leave it out when creating, the insert returns it.
    While a subscription is active (it has not ended) and follows the catalogue, its price is the
    rule's. A locked one keeps its price until `locked_until` (NULL: until it is released). A
    negotiated one has a price of its own; so has an ended one for which another price was written
    after its end, until it is opened again. `price_state.py` has the verbs. A move to another
    service or plan ends a lock and a negotiated price unless the same write sets one.

    Its triggers, which `schema.sql` shows with what they call:

    - `subscription_priced`: fills in the rule's price where a write leaves the price out, and has
      each price written in hundredths
    - `subscription_moved`: ends a lock or a negotiated price at a move to another service or plan
    - `subscription_follows`: empties the lock's end and the reason where the price follows again
    - `subscription_lock_cut`: releases a lock whose end is put into the past, or has passed when a
      price is written
    - `subscription_keeps_id`: refuses a change of the id
    - `subscription_written_insert`, `subscription_written_update`: fix the prices of followers,
      write the ledger, note when locks end
    - `subscription_may_be_kept`, `subscription_kept`: before another write, lock or release a row
      as a change for new subscriptions only requires, if no worker has done so yet
    - `subscription_written_kept`: locks a new row whose start is before such a change
    - `source_came`: refuses a new source that looks like another one
    - `period_backdated`: notes that a start or an end has changed the past, and since when
    - `subscription_begins_earlier`: has the prices since an earlier start entered
    - `subscription_ends_later`: has those up to a later end entered, if that has passed too
    - `subscription_left`, `subscription_left_all`: write the ledger's last entry of a deleted row
    - `subtotal_of_insert`, `subtotal_of_update`, `subtotal_of_delete`: append to the total what
      the statement has changed
    - `subtotal_restart`: begins the total anew after a TRUNCATE
    """

    class PriceState(models.TextChoices):
        FOLLOWS = "follows", _lazy("Follows")
        LOCKED = "locked", _lazy("Locked")
        NEGOTIATED = "negotiated", _lazy("Negotiated")

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="subscriptions")
    service = models.ForeignKey(
        Service, on_delete=models.PROTECT, related_name="subscriptions", db_index=False
    )
    plan = models.ForeignKey(
        Plan, on_delete=models.PROTECT, related_name="subscriptions", db_index=False
    )
    # In no index and in no index's predicate: that keeps a repricing HOT (no index is touched).
    # NULL, the default, never reaches the table: a trigger puts the rule's price in its place.
    price = ExactDecimalField(
        max_digits=12,
        decimal_places=2,
        unbounded=True,
        db_default=None,
        editable=False,
        blank=True,
    )
    # In no index either, for the same reason; `LockEnd` has the ends of locks.
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
    source = NameField(max_length=50, null=True, blank=True)
    external_id = NameField(max_length=50, null=True, blank=True)
    started_at = models.DateTimeField(
        db_default=models.Func(function="book_now", output_field=models.DateTimeField())
    )
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        permissions = [("set_price_state", "Can lock, release and negotiate prices")]
        indexes = [
            # For pages of one service, of one plan, of both; a repricing walks the last one, too.
            models.Index(name="subscription_service", fields=["service", "id"]),
            models.Index(name="subscription_plan", fields=["plan", "id"]),
            models.Index(name="subscription_service_plan", fields=["service", "plan", "id"]),
            # For the list in the order of the start, and for ranges of starts.
            models.Index(name="subscription_started", fields=["started_at", "id"]),
            # For those that have an end; most have none, and are not in it.
            models.Index(
                name="subscription_ended",
                fields=["ended_at", "id"],
                condition=Q(ended_at__isnull=False),
            ),
            # For the exact search and for that of a prefix, in any collation.
            models.Index(
                name="subscription_comment", fields=["comment"], opclasses=["varchar_pattern_ops"]
            ),
        ]
        constraints = [
            # Also the composite index of the tutorial's chapter 12: it serves source alone.
            models.UniqueConstraint(
                name="subscription_unique_external_id", fields=["source", "external_id"]
            ),
            models.CheckConstraint(
                name="subscription_external_id_has_source",
                condition=Q(source=None, external_id=None)
                | Q(source__isnull=False, external_id__isnull=False),
                violation_error_message=_lazy("Source and external id belong together: give both."),
            ),
            models.CheckConstraint(
                name="subscription_price_not_negative",
                condition=Q(price__gte=0, price__lte=HIGHEST_PRICE),
            ),
            models.CheckConstraint(name="subscription_price_exact", condition=is_exact("price")),
            models.CheckConstraint(
                name="subscription_price_state_known",
                condition=Q(price_state__in=["follows", "locked", "negotiated"]),
                violation_error_message=_lazy("A price follows, is locked or is negotiated."),
            ),
            models.CheckConstraint(
                name="subscription_locked_until_of_locked",
                condition=Q(locked_until=None)
                | Q(price_state="locked", locked_until__gte=FIRST_DAY, locked_until__lte=LAST_DAY),
                violation_error_message=_lazy("Only a locked price is locked until a time."),
            ),
            models.CheckConstraint(
                name="subscription_ends_after_start",
                condition=Q(ended_at=None) | Q(ended_at__gt=F("started_at")),
                violation_error_message=_lazy("A subscription ends after it has started."),
            ),
            models.CheckConstraint(
                name="subscription_dates_1900_to_9999",
                condition=Q(started_at__gte=FIRST_DAY, started_at__lte=LAST_DAY)
                & (Q(ended_at=None) | Q(ended_at__lte=LAST_DAY)),
                violation_error_message=_lazy("A start and an end lie in the years 1900 to 9999."),
            ),
        ]

    def __str__(self) -> str:
        return _("subscription %(id)s") % {"id": self.pk}

    def clean(self) -> None:
        super().clean()
        refuse_source_alike(self, self.source)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and read back the price that the database has set (a query if it may differ)."""
        if self._state.adding:
            # A price that is left out comes back with the insert; one that is given may be
            # corrected.
            repriced = isinstance(self.price, Decimal | int | float | str)
        else:
            repriced = not {"service_id", "plan_id", "ended_at", "price", "price_state"}.isdisjoint(
                self.changed_fields()
            )
        super().save(*args, **kwargs)
        if repriced:
            self.refresh_from_db(fields=["price", "price_state", "locked_until", "price_reason"])


class LockEnd(models.Model):
    """The end of a lock, for the sweep: an index on `locked_until` would prevent HOT updates.

    A trigger writes a row with each lock that has an end. A lock that was moved or released leaves
    its old rows here, so the sweep looks at the subscription too.
    """

    subscription_id = models.BigIntegerField()
    until = models.DateTimeField()

    class Meta:
        indexes = [models.Index(name="lock_end_until", fields=["until"])]

    def __str__(self) -> str:
        return f"lock of subscription {self.subscription_id} until {self.until}"
