"""How many messages may wait: each only wakes a worker, and finds all that is due.

So beyond some of them more do no good, and no worker for an hour leaves these, not thousands. (By
their age they can't be judged: that takes two clocks.)
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import NotFound
from celery import Task, current_app
from celery.app import amqp
from kombu import Queue
from kombu.exceptions import ChannelError

from pricebook.kit.amqp import quorum_queue

MOST = 100


class Queues(amqp.Queues):
    """Celery's, except that a quorum queue that is asked for by name is as ours are."""

    create_missing_queue_type: str

    def new_missing(self, name: str) -> Queue:
        if self.create_missing_queue_type == "quorum":
            return quorum_queue(name)
        made: Queue = super().new_missing(name)
        return made


class AMQP(amqp.AMQP):
    queues_cls = Queues


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
