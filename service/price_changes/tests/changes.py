"""A change from its plan to its outcome, by the functions that people and workers call."""

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F

from price_changes.models import PriceChange
from price_changes.planning import definition
from price_changes.running import lifecycle, outcomes, starting
from price_changes.running.lifecycle import preview
from services import repricing
from services.models import CatalogueValue, Repricing, Subscription, WholeLedger

SECOND = timedelta(seconds=1)


def planned(**values) -> PriceChange:
    """A planned change with its preview; a set is the whole book unless it is given a filter."""
    if values.get("kind") == "set":
        values.setdefault("filter", {})
    return preview(definition.plan(values, "ann").pk)


def approved(change: PriceChange, when_moved: str | None = None) -> PriceChange:
    return lifecycle.approve(change.pk, change.fingerprint, "bob", when_moved)


def scheduled(at: datetime, when_moved: str | None = None, **values) -> PriceChange:
    """A change that was due at an instant of the past, with no worker since.

    It is planned for the future, as it must be; then the clock moves on.
    """
    change = approved(planned(**values, effective_at=clock() + 3600 * SECOND), when_moved)
    move_instant(change, at)
    return change


def move_instant(change: PriceChange, at: datetime) -> None:
    """Change the data as if it had been approved for another instant, whichever it is."""
    PriceChange.objects.filter(pk=change.pk).update(effective_at=at)
    CatalogueValue.objects.filter(change_id=change.pk).update(effective_at=at)
    change.refresh_from_db()


def drained() -> None:
    """Do the work of two sweeps."""
    repricing.reprice()
    repricing.stamp()
    repricing.reprice()


def applied(change: PriceChange, when_moved: str | None = None) -> PriceChange:
    approved(change, when_moved)
    drained()
    change.refresh_from_db()
    return change


def reverted(change: PriceChange) -> PriceChange:
    """Revert a change and apply the revert; returns the revert."""
    back = lifecycle.revert(change.pk, "carl", approve_too=True)
    drained()
    change.refresh_from_db()
    back.refresh_from_db()
    return back


def started() -> bool:
    return starting.start_due()


def clock() -> datetime:
    """The database's time; later writes are after it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return now


def accounted(change: PriceChange) -> bool:
    """Assert applied + skipped + failed = rows; for a set, as many rows as were listed."""
    outcome = outcomes.outcome(change)
    skipped = sum(outcome["skipped"].values())
    of_lists = Repricing.objects.filter(change_id=change.pk, kind=Repricing.Mode.ROWS)
    finished = of_lists.filter(finished_at__isnull=False)
    return (
        outcome["applied"] + skipped + outcome["failed"] == outcome["rows"]
        and not finished.exclude(checked=F("subscriptions")).exists()
    )


def stands(subscription: Subscription) -> tuple[object, ...]:
    """All that a price change may write: price, state, end, reason, comment, stamp."""
    return Subscription.objects.values_list(
        "price", "price_state", "locked_until", "price_reason", "comment", "stamp"
    ).get(pk=subscription.pk)


def paid(subscription: Subscription, at: datetime) -> object:
    """The price at an instant by all that is known now; None if it was not there."""
    entries = WholeLedger.objects.filter(subscription_id=subscription.pk, effective_at__lte=at)
    return entries.order_by("-id").values_list("price", flat=True).first()
