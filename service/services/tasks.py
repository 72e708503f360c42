"""The tasks of workers. A message only wakes a worker: what is due is in the database.

So a message may be lost, come twice, or come late, and no task keeps a result. Arguments are
optional and more may come (`**kwargs`), so that old workers survive new publishers.
"""

import logging
import time
from typing import Any

from celery import Task, shared_task
from django.db import close_old_connections

from pricebook import queues
from pricebook.kit import host_clock
from services import jobs, repricing, sweeps
from services.audit import book_check
from services.hooks import price_changes
from services.ledger import points, seals
from services.models import renew_clock
from services.reading import total

logger = logging.getLogger(__name__)

# After a dead or hung broker has cost one request its time-out, the next ones don't try for 5 s.
PAUSE = 5.0


# How often a message is tried, if the broker refuses it at once. It does when a queue's leader is
# lost, for a moment; Celery's own tries come without a pause, and are over before it.
TRIES = 3
# Seconds before the next try, and those after which none begins: the request waits meanwhile.
BREATH, LONGEST = 0.05, 0.1


class DatabaseTask(Task):
    """A task that survives a restart of the database: its connection is checked first."""

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Send a message: for now, since a host's clock would judge another time.

        A retry is such a message too. The database has what is due later, and the sweep finds it.
        """
        if timed := {"countdown", "eta", "expires"} & {
            name for name, value in options.items() if value is not None
        }:
            raise TypeError(f"{self.name} takes no {timed.pop()}: no message waits for a time.")
        return super().apply_async(*args, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.request.called_directly:
            close_old_connections()
            host_clock.compare_now_and_then()
        return super().__call__(*args, **kwargs)


@shared_task(base=DatabaseTask)
def set_price(subscription_id: int | None = None, **kwargs: Any) -> None:
    """Bring the price of one subscription, or all prices that are due, in line with the rule."""
    if subscription_id is None:
        sweeps.note()
        repricing.reprice()
        price_changes().judge_edits()
    else:
        repricing.reprice_one(subscription_id)


@shared_task(base=DatabaseTask)
def set_comment(
    subscription_id: int | None = None, comment: str | None = None, **kwargs: Any
) -> None:
    """Stamp one subscription, or all that are due, with the comment of the catalogue's edit."""
    if subscription_id is None:
        repricing.stamp()
    else:
        repricing.stamp_one(subscription_id, comment)


@shared_task(base=DatabaseTask)
def fold_total(all_to_come: bool = False, **kwargs: Any) -> None:
    """Merge the parts that writers have appended to the total, and the near starts and ends."""
    renew_clock()
    total.fold(ahead=None if all_to_come else total.HOUR)


@shared_task(base=DatabaseTask)
def make_points(**kwargs: Any) -> None:
    """Make the points that are due, so that totals of the past stay as fast as today's."""
    points.make(seconds=1.0)


@shared_task(base=DatabaseTask)
def seal_ledger(**kwargs: Any) -> None:
    """Seal what was recorded since the last block, for 5 s at most: the next run goes on."""
    seals.seal(seconds=5.0)


@shared_task(base=DatabaseTask)
def run_jobs(**kwargs: Any) -> None:
    """Run the jobs that are due, one after another, unless another worker does."""
    jobs.run()


@shared_task(base=DatabaseTask)
def check_book(**kwargs: Any) -> None:
    """Prove price = rule and total = rows; a difference is logged as an error.

    The home page shows the result.
    """
    report = book_check.check()
    book_check.remember(report)
    if report.differs:
        logger.error("The book differs: %s. Fix it: manage check_book --repair", report)


_quiet_until = 0.0


def wake(*tasks: Task) -> None:
    """Tell a worker that something is due; never raises, never holds a request up.

    Called after the commit. When the broker doesn't take the message the sweep (beat) finds the
    work within seconds, so no more than a moment is spent here. Nor does the message say until when
    it is good: the worker's host would judge that by its own clock, and throw it away. Where many
    wait, the next ones are not sent.
    """
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return
    try:
        for task in tasks:
            _send(task)
            if queues.is_crowded(task):
                _quiet_until = time.monotonic() + PAUSE
    except Exception as error:  # each transport has errors of its own
        _quiet_until = time.monotonic() + PAUSE
        logger.warning("The broker took no message (%s); the sweep will find the work.", error)


def _send(task: Task) -> None:
    """Send a message, and again if that fails; the last error after TRIES or LONGEST."""
    began = time.monotonic()
    for left in reversed(range(TRIES)):
        try:
            task.apply_async()
            return
        except Exception:  # each transport has errors of its own
            if not left or time.monotonic() - began > LONGEST:
                raise
            time.sleep(BREATH)
