"""A path between a program and a server, which a test may hush as a hung proxy does."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any


class PathBetween:
    """Listens on a port of this machine, and hands all bytes on to a server's socket, both ways.

    While it is hushed the kernel goes on accepting connections and bytes, and nobody answers: as
    with a proxy under SIGSTOP. When it goes on, it hands on all that has come meanwhile.
    """

    def __init__(self, server: tuple[str, int] | str) -> None:
        self.server = server
        self.going_on = threading.Event()
        self.going_on.set()
        self.sockets: list[socket.socket] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self._in_thread(self._accept)

    def hush(self) -> None:
        self.going_on.clear()

    def go_on(self) -> None:
        self.going_on.set()

    def cut(self) -> None:
        """End all connections, in both directions."""
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
        self.listening.close()
        self.go_on()
        self.cut()

    def _accept(self) -> None:
        while True:
            client, _ = self.listening.accept()
            self._in_thread(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        family = socket.AF_UNIX if isinstance(self.server, str) else socket.AF_INET
        with client, socket.socket(family) as server:
            self.going_on.wait()
            server.connect(self.server)
            self.sockets += [client, server]
            back = self._in_thread(self._pump, server, client)
            try:
                self._pump(client, server)
            finally:
                back.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        while piece := source.recv(65_536):
            self.going_on.wait()
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)

    def _in_thread(self, work: Any, *arguments: Any) -> threading.Thread:
        def quietly() -> None:
            with contextlib.suppress(OSError):
                work(*arguments)

        thread = threading.Thread(target=quietly, daemon=True)
        thread.start()
        return thread


def to_postgres() -> tuple[str, int] | str:
    """The socket of the server of the tests."""
    from django.db import connection

    connection.ensure_connection()
    info = connection.connection.info
    if info.host.startswith("/"):
        return f"{info.host}/.s.PGSQL.{info.port}"
    return (info.host, info.port)
