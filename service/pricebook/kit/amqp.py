"""RabbitMQ: connections, bounded and verified at each of several hosts, and quorum queues."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import ConnectionForced
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES, pyamqp

# Deliveries of one message of a quorum queue, after which RabbitMQ drops it: each has ended its
# worker. As the default of RabbitMQ 4; older ones have none.
DELIVERIES = 20


class Connection(pyamqp.Connection):
    """One that waits `patience` seconds for an answer, where py-amqp would wait for ever.

    Such waits are a queue's declaration, a message's confirmation, and the opening of a channel.
    A wait in vain ends the connection. A worker would wait again for the end of each
    of its consumers and channels.
    """

    def __init__(self, *args: Any, patience: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = patience

    def drain_events(self, timeout: float | None = None) -> None:
        if timeout is not None:
            super().drain_events(timeout)
            return
        try:
            super().drain_events(self.patience)
        except TimeoutError:
            self.collect()
            raise

    def heartbeat_tick(self, rate: int = 2) -> None:
        try:
            super().heartbeat_tick(rate)
        except ConnectionForced:
            self.collect()
            raise


class Transport(pyamqp.Transport):
    """Each host has to have a certificate of its own name.

    kombu 5.7 writes the first host's name into the settings that all connections share, and then
    refuses each other one.
    """

    Connection = Connection
    client: Any  # kombu's connection, whose parameters these are

    def establish_connection(self) -> Any:
        tls = self.client.ssl
        if isinstance(tls, dict) and tls.get("server_hostname", "") is None:
            self.client.ssl = tls | {"server_hostname": self.client.hostname}
        return super().establish_connection()


class SecureTransport(Transport, pyamqp.SSLTransport):
    """The same for `amqps://`, which is never spoken in the clear."""


def use() -> None:
    """Let addresses of AMQP mean these transports, in this process."""
    TRANSPORT_ALIASES["amqp"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["amqps"] = f"{__name__}:SecureTransport"


def quorum_queue(name: str) -> Queue:
    """A queue of RabbitMQ that is on most of its nodes before a message is confirmed.

    Its name differs from that of the classic queue that an older release has left, since RabbitMQ
    refuses to make one of the other. Everybody here calls it by `name`.
    """
    return Queue(
        f"{name}-quorum",
        Exchange(f"{name}-quorum", type="direct"),
        routing_key=f"{name}-quorum",
        alias=name,
        queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": DELIVERIES},
    )
