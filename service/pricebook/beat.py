"""Beat, by a clock that nobody sets, and no further than workers can follow.

Celery's goes by the host's clock. If that is set back by an hour, nothing is sent for an hour; so
it is after a start on a host whose clock is behind that of the last one.
"""

from __future__ import annotations

import heapq
import logging
import time
from typing import Any

from celery import beat, schedules

from pricebook import queues

logger = logging.getLogger(__name__)
# Entries that come more often than that are sweeps: one that is left out has another one after it.
OFTEN = 300.0  # seconds
# Seconds until a message is sent again that the broker did not take, of whatever entry.
AGAIN = 5.0


class Scheduler(beat.PersistentScheduler):
    """Its file is only for long pauses: an hourly task is not done at each start."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sent: dict[str, float] = {}  # by name, monotonic
        super().__init__(*args, **kwargs)

    def is_due(self, entry: Any) -> schedules.schedstate:
        every = _every(entry)
        left = self._left(entry)
        return schedules.schedstate(left <= 0, every if left <= 0 else left)

    def reserve(self, entry: Any) -> Any:
        self.sent[entry.name] = time.monotonic()
        return super().reserve(entry)

    def populate_heap(self, *args: Any, **kwargs: Any) -> None:
        self._heap = [
            beat.event_t(self._when(entry, self._left(entry)), 5, entry)
            for entry in self.schedule.values()
        ]
        heapq.heapify(self._heap)

    def apply_async(
        self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        if _every(entry) < OFTEN and self._is_crowded(entry, producer or self.producer):
            logger.warning("%s is not sent: its queue is full, no worker takes it.", entry.name)
            return None
        try:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        except beat.SchedulingError:
            every = _every(entry)
            self.sent[entry.name] = time.monotonic() - every + min(every, AGAIN)
            raise

    def _when(self, entry: Any, seconds: float, *args: Any) -> float:
        if entry is not None:  # it may have to be sent again before its time
            seconds = min(seconds, self._left(entry))
        return time.monotonic() + max(0.0, seconds - 0.01)  # as Celery's, a little early

    def _left(self, entry: Any) -> float:
        """The seconds until an entry is due: no more than its interval, whatever clocks say."""
        every, now = _every(entry), time.monotonic()
        if entry.name not in self.sent:
            since = (entry.default_now() - entry.last_run_at).total_seconds()
            self.sent[entry.name] = now - min(max(since, 0.0), every)
        return self.sent[entry.name] + every - now

    def _is_crowded(self, entry: Any, producer: Any) -> bool:
        try:
            queue = queues.queue_of(entry.task)
            queue(producer.channel).queue_declare()
            return queues.waiting(producer.channel, queue.name) >= queues.MOST
        except Exception:  # each transport has errors of its own; sending connects again
            return False


def _every(entry: Any) -> float:
    seconds: float = entry.schedule.run_every.total_seconds()
    return seconds
