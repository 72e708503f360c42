"""The web server as `up` starts it, on the test's database, for clients that are slow, too."""

import http.client
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from pricebook.local.programs import web_server
from pricebook.local.up import reserve
from pricebook.tests.servers import SERVICE, on_this_database, until


class WebServer:
    """On a port of this machine, or on a Unix socket at `path`: its buffers are small, so a reader
    that waits makes it wait.
    """

    def __init__(self, log: Path, path: Path | None = None, workers: int = 1, **variables: str):
        self.log = log
        self.path = path
        self.open: list[Any] = []
        environment = on_this_database() | {"DB_POOL": "1"} | variables
        command = [*web_server("pricebook.asgi:application"), "--workers", str(workers)]
        with reserve(0) as held, log.open("wb") as output:
            self.port: int = held.getsockname()[1]
            where = ["--uds", str(path)] if path else ["--port", str(self.port)]
            self.process = subprocess.Popen(
                [*command, *where],
                cwd=SERVICE,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            until(self.answers, 30)

    def answers(self) -> bool:
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """A connection; a small receive buffer makes the server wait for a reader at once."""
        client = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        self.open.append(client)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(20)
        client.connect(str(self.path) if self.path else ("127.0.0.1", self.port))
        return client

    def send(self, text: bytes, receive_buffer: int | None = None) -> socket.socket:
        """Send these bytes as they are, on a connection of their own."""
        client = self.connect(receive_buffer)
        client.sendall(text)
        return client

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        client = http.client.HTTPConnection("localhost")
        client.sock = self.connect()
        client.request(method, path, body, headers or {})
        response = client.getresponse()
        self.open.append(response)
        return response

    def get(self, path: str) -> http.client.HTTPResponse:
        return self.ask("GET", path)

    def hang_up(self) -> None:
        while self.open:
            self.open.pop().close()

    def stop(self) -> None:
        self.hang_up()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
