"""How long events and the log of deliveries are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Min, QuerySet

from events.models import Attempt, Endpoint, Event
from services.models import book_clock

LOG_KEPT = timedelta(days=30)
AT_ONCE = 10_000  # rows of a statement


def forget_old() -> int:
    """Delete old events and attempts, a few thousand at a time; returns how many events.

    An event that an enabled endpoint has not had is kept, and so are all after one that is kept:
    numbers have no gap, and they stand in another order than the instants do.
    """
    now = book_clock()
    enabled = Endpoint.objects.filter(status=Endpoint.Status.ENABLED)
    had = enabled.aggregate(through=Min("delivered_through"))["through"]
    since = now - timedelta(days=settings.EVENTS_KEPT_DAYS)
    kept = Event.objects.filter(recorded_at__gte=since).aggregate(first=Min("number"))["first"]
    old = Event.objects.filter(recorded_at__lt=since)
    if kept is not None:
        old = old.filter(number__lt=kept)
    if had is not None:
        old = old.filter(number__lte=had)
    log = Attempt.objects.filter(at__lt=now - LOG_KEPT)
    while _some(log.order_by("at")):
        pass
    forgotten = 0
    while some := _some(old.order_by("number")):
        forgotten += some
    return forgotten


def _some(old: QuerySet[Any]) -> int:
    """Delete the first of them; returns how many."""
    some = old.model._default_manager.filter(pk__in=old.values("pk")[:AT_ONCE])
    deleted: int = some.delete()[0]
    return deleted
