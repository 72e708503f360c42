"""The tasks of the worker of events. A message only wakes it: what is due is in the database."""

from typing import Any

from celery import shared_task

from events import delivering, deriving, keeping
from services.tasks import DatabaseTask, wake


@shared_task(base=DatabaseTask)
def tell_events(**kwargs: Any) -> None:
    """Make events of what has happened, and wake as many deliveries as endpoints wait."""
    deriving.derive()
    for _ in range(delivering.wanted()):
        wake(deliver_events)


@shared_task(base=DatabaseTask)
def deliver_events(**kwargs: Any) -> None:
    """Send events to the endpoints that are due, one after another."""
    delivering.deliver()


@shared_task(base=DatabaseTask)
def forget_events(**kwargs: Any) -> None:
    """Delete events and deliveries of long ago."""
    keeping.forget_old()
