"""RabbitMQ's connections, bounded and verified at each of several hosts."""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, pyamqp


class Connection(pyamqp.Connection):
    """One that waits `patience` seconds for an answer, where py-amqp would wait for ever.

    Such waits are a queue's declaration, a message's confirmation, and the opening of a channel.
    """

    def __init__(self, *args: Any, patience: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = patience

    def drain_events(self, timeout: float | None = None) -> None:
        super().drain_events(self.patience if timeout is None else timeout)


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
