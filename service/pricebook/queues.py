"""How many messages may wait: each only wakes a worker, and finds all that is due.

So beyond some of them more do no good, and no worker for an hour leaves these, not thousands. (By
their age they can't be judged: that takes two clocks.)
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import NotFound
from celery import Task, current_app
from kombu.exceptions import ChannelError

MOST = 100


def is_crowded(task: Task) -> bool:
    """Whether MOST messages or more wait in the queue of a task, to which one was just sent.

    One question to the broker, on the connection that has taken the message.
    """
    with current_app.producer_pool.acquire(block=True) as producer:
        return waiting(producer.channel, queue_of(task.name).name) >= MOST


def queue_of(task: str) -> Any:
    return current_app.amqp.router.route({}, task)["queue"]


def waiting(channel: Any, queue: str) -> int:
    """The messages that wait in a queue; an error of AMQP if there is no such queue."""
    try:
        count: int = channel.queue_declare(queue=queue, passive=True).message_count
    except NotFound:
        raise
    except ChannelError:  # of kombu's own transports: a list of Redis that is empty is none
        return 0
    return count
