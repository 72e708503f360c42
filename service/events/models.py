"""Events: what others are told; the endpoints to which they are sent, and the log of that.

    a fact, in its transaction ──▶ Happening ─┐
                                              ├─ one deriver ──▶ Event 1, 2, 3 … ──▶ each Endpoint
    entries of the ledger's feed ─────────────┘                                      by its cursor

An endpoint's queue is its place in the events (`delivered_through`): no row is written for an event
and an endpoint, and an endpoint that fails keeps nobody waiting but itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _lazy

from services.ledger.place import Place
from services.models import Clock, book_clock
from services.models.ledger import number_of_the_ledger, writing_transaction

LONGEST_TYPE = 40


class HappeningManager(models.Manager["Happening"]):
    def note(self, type: str, **data: Any) -> Happening:
        """Note that something happens now, in the transaction in which it does. Two queries."""
        now = book_clock()
        told = {**data, "effective_at": now.isoformat().replace("+00:00", "Z")}
        return self.create(type=type, occurred_at=now, recorded_at=now, data=told)


class Happening(models.Model):
    """Something that has happened and is no event yet: written in the transaction in which it does.

    So there is none for what was rolled back, and none is lost. Its id is from the sequence of the
    ledger's entries, so it has a place in the feed. It is deleted when its event is made.
    """

    id = number_of_the_ledger()
    xact = writing_transaction()
    type = models.CharField(max_length=LONGEST_TYPE)
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Clock())
    data = models.JSONField()

    objects = HappeningManager()

    class Meta:
        indexes = [models.Index(name="happening_feed", fields=["xact", "id"])]

    def __str__(self) -> str:
        return f"{self.type} at {self.occurred_at}"


class Derived(models.Model):
    """One row: how far events are made. `deriving.LOCK` lets one at a time move it."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    # The place in the feed behind which nothing is an event yet, and the number of the last event.
    xact = models.BigIntegerField(db_default=0)
    entry_id = models.BigIntegerField(db_default=0)
    number = models.BigIntegerField(db_default=0)
    # Entries up to this id are of a server from which the book was loaded into this one.
    loaded_id = models.BigIntegerField(db_default=0)
    life = models.BigIntegerField(db_default=1)  # the database's, when events were made last

    class Meta:
        constraints = [models.CheckConstraint(name="derived_is_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"events until {self.number}"


class EventQuerySet(models.QuerySet["Event"]):
    def of_types(self, types: list[str]) -> Self:
        """Those of these types; all of them if no type is given."""
        return self.filter(type__in=types) if types else self

    def behind(self, place: Place) -> Self:
        """Those of what stands in the ledger's feed behind a place, in order."""
        behind = Q(xact__gt=place.xact) | Q(xact=place.xact, entry_id__gt=place.id)
        return self.filter(behind, xact__gte=place.xact).order_by("number")

    def recorded_since(self, instant: datetime) -> Self:
        """Those of what was recorded at an instant or later, in order."""
        return self.filter(recorded_at__gte=instant).order_by("number")


class Event(models.Model):
    """Something that others are told, once and for all: it never changes.

    Numbers have no gaps, and stand in the order of the ledger's feed: no event ever appears before
    one that was read. The text of `data` is sent as it is stored, each time.
    """

    number = models.BigIntegerField(primary_key=True)
    # "evt_" and 32 characters, drawn once: a receiver knows by it what it has had. A number may
    # come again after a restore from a backup, with something else behind it; this does not.
    webhook_id = models.CharField(max_length=40, unique=True)
    type = models.CharField(max_length=LONGEST_TYPE)
    occurred_at = models.DateTimeField()  # from when it counts: it may be still to come
    recorded_at = models.DateTimeField()
    data = models.TextField()  # JSON; amounts are decimals, as text
    xact = models.BigIntegerField()
    entry_id = models.BigIntegerField()

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["number"]
        indexes = [
            models.Index(name="event_type", fields=["type", "number"]),
            models.Index(name="event_place", fields=["xact", "entry_id"]),
            models.Index(name="event_recorded", fields=["recorded_at"]),
        ]

    def __str__(self) -> str:
        return f"event {self.number}: {self.type}"

    @property
    def place(self) -> str:
        """Its place in the ledger's feed: all that it tells stands there, and up to there."""
        return str(Place(self.xact, self.entry_id))


class EndpointQuerySet(models.QuerySet["Endpoint"]):
    def go_on_after(self, number: int) -> int:
        """Let them be sent what comes after an event, at once: for a replay, or one enabled again.

        It takes the endpoint from a worker that is sending to it, which would move the cursor.
        """
        return self.update(
            delivered_through=number,
            claimed_until=None,
            next_attempt_at=Clock(),
            attempts=0,
            failing_since=None,
        )


class Endpoint(models.Model):
    """The address of a receiver of events, and how far it has got them.

    Events after `delivered_through` wait for it. Whoever sets that, or enables or disables an
    endpoint, sets `claimed_until` to NULL: the worker that is sending then stops (`go_on_after`).
    """

    class Status(models.TextChoices):
        ENABLED = "enabled", _lazy("Enabled")
        DISABLED = "disabled", _lazy("Disabled")

    name = models.CharField(max_length=100, unique=True)
    url = models.CharField("URL", max_length=2000)
    # The types of events that it is sent; empty: all.
    types = ArrayField(models.CharField(max_length=LONGEST_TYPE), default=list, blank=True)
    # "whsec_" and base64 of 24 to 64 bytes. While it is rotated, the secret before signs too.
    secret = models.CharField(max_length=100)
    previous_secret = models.CharField(max_length=100, db_default="", default="", blank=True)
    previous_secret_until = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=8, choices=Status, db_default="enabled", default="enabled")
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=500, db_default="", default="", blank=True)
    created_by = models.CharField(max_length=150, db_default="", default="")
    created_at = models.DateTimeField(db_default=Clock())

    # The number of the last event that it has had, or that is of a type that it is not sent.
    delivered_through = models.BigIntegerField(db_default=0, default=0)
    next_attempt_at = models.DateTimeField(db_default=Clock())
    # Attempts of the event in turn; since when no attempt has succeeded.
    attempts = models.IntegerField(db_default=0, default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    # Until then a worker sends to it. It is the worker's token as well.
    claimed_until = models.DateTimeField(null=True, blank=True)
    # A test event is to be sent, whatever else waits; also to one that is disabled.
    test_requested_at = models.DateTimeField(null=True, blank=True)

    objects = EndpointQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(name="endpoint_has_name", condition=~Q(name="")),
            models.CheckConstraint(
                name="endpoint_status_known", condition=Q(status__in=["enabled", "disabled"])
            ),
            models.CheckConstraint(
                name="endpoint_disabled_has_instant",
                condition=Q(status="enabled", disabled_at=None, disabled_reason="")
                | Q(status="disabled", disabled_at__isnull=False),
            ),
            models.CheckConstraint(
                name="endpoint_previous_secret_has_end",
                condition=Q(previous_secret="", previous_secret_until=None)
                | ~Q(previous_secret="") & Q(previous_secret_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Attempt(models.Model):
    """One attempt to send an event to an endpoint, and what came back. Kept for 30 days."""

    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="log", db_index=False)
    number = models.BigIntegerField(null=True)  # of the event; NULL: a test
    webhook_id = models.CharField(max_length=40)
    type = models.CharField(max_length=LONGEST_TYPE)
    at = models.DateTimeField(db_default=Clock())
    status_code = models.SmallIntegerField(null=True)  # NULL: there was no answer
    error = models.CharField(max_length=500, db_default="", default="")  # empty: delivered
    duration_ms = models.IntegerField()
    answer = models.CharField(max_length=1000, db_default="", default="")  # its beginning

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(name="attempt_of_endpoint", fields=["endpoint", "id"]),
            models.Index(name="attempt_at", fields=["at"]),
        ]

    def __str__(self) -> str:
        return f"{self.type} to {self.endpoint_id} at {self.at}: {self.error or 'delivered'}"
