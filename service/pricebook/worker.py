"""A worker that survives the loss of its broker: it finishes its tasks, and connects again."""

from typing import Any

from celery.worker import consumer
from celery.worker.state import reserved_requests


class Consumer(consumer.Consumer):
    """Celery's consumer, except that it survives a broker that dies while a task runs.

    The channel of a lost connection can neither acknowledge a message nor give it back. Celery 5.7
    tries both, on a channel whose transport it has taken away (`Connection.collect()`, and then
    `close()`), and the resulting AttributeError ends the worker: at once, or when the task is done.
    """

    task_consumer: Any  # None until the first connection

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc, valid-type]
        """Celery's steps but its delayed delivery, which quorum queues bring.

        No message of ours waits for a time (services/tasks.py). It would make 28 more quorum
        queues, and on each connection it stops for 17 s for every host of the list that is down.
        """

        default_steps = [
            step
            for step in consumer.Consumer.Blueprint.default_steps
            if not step.endswith(":DelayedDelivery")
        ]

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Leave the messages that were received to the broker, and close the connection.

        The broker delivers them again: Valkey when their `visibility_timeout` is over, RabbitMQ at
        once. Their tasks go on here.
        """
        for request in tuple(reserved_requests):
            request.acknowledged = True
        # Only channels of Celery's own transports keep messages to give them back; AMQP's broker
        # has them itself.
        kept = getattr(getattr(self.task_consumer, "channel", None), "qos", None)
        if kept is not None:
            kept.restore_at_shutdown = False
        super().on_connection_error_after_connected(exc)
