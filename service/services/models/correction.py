"""Corrections: in an interval that has passed, a subscription should have paid another price."""

from django.db import models
from django.db.models import F, Q

from services.bounds import HIGHEST_PRICE
from services.models.clock import Clock
from services.models.exact_fields import ExactDecimalField
from services.models.ledger import Entry, number_of_the_ledger, request_id, writing_transaction


class Correction(models.Model):
    """A fact: in [`since`, `until`) the price is this one, whatever else is recorded of it.

    If several cover an instant, the one that was recorded last counts. It says nothing of any other
    instant, nor of the price state: so no price change, lock or end looks at it. Append-only.
    Triggers note that points after `since` hold no more, and count it for the version of the book.
    """

    subscription_id = models.BigIntegerField()
    since = models.DateTimeField()
    until = models.DateTimeField()
    price = ExactDecimalField(max_digits=12, decimal_places=2)
    reason = models.CharField(max_length=200)
    author = models.CharField(max_length=150)
    # Drawn under the row's lock: a later correction of a subscription has a greater id.
    recorded_at = models.DateTimeField(db_default=Clock())
    xact = writing_transaction()  # by this it is sealed; 0: of the time before seals

    class Meta:
        indexes = [
            models.Index(name="correction_subscription", fields=["subscription_id", "id"]),
            models.Index(name="correction_sealed", fields=["xact", "id"]),
            # For the instants at which it changes what is paid: see `facts_between`.
            models.Index(name="correction_since", fields=["since", "subscription_id"]),
            models.Index(name="correction_until", fields=["until", "subscription_id"]),
        ]
        constraints = [
            models.CheckConstraint(
                name="correction_of_the_past",
                condition=Q(since__lt=F("until"), until__lte=F("recorded_at")),
            ),
            models.CheckConstraint(
                name="correction_price_not_negative",
                condition=Q(price__gte=0, price__lte=HIGHEST_PRICE),
            ),
        ]

    def __str__(self) -> str:
        return f"subscription {self.subscription_id} at {self.price} from {self.since}"


class CorrectedEntry(Entry):
    """An entry that a correction adds to the feed and to a history, and to no reader of prices.

    The corrected price stands at the beginning of the interval and wherever an entry lies in it;
    and at its end what is paid from then on. So who reads prices by (effective instant, number)
    reads the corrected ones. An entry that a late worker writes inside of the interval is followed
    by another one of these, by a trigger. Append-only.
    """

    id = number_of_the_ledger()
    xact = writing_transaction()
    correction_id = models.BigIntegerField()
    request_id = request_id()

    class Meta(Entry.Meta):
        abstract = False
        verbose_name_plural = "corrected entries"
        indexes = [
            models.Index(name="corrected_feed", fields=["xact", "id"]),
            models.Index(name="corrected_subscription", fields=["subscription_id", "id"]),
        ]
