"""Receivers of tests: real servers on loopback, that behave and that don't."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

# The certificate of hooks.example.com, signed by itself, and its key: for tests, until 2126.
CERTIFICATE = Path(__file__).with_name("hooks.example.com.pem")


class Delivery(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answer = tuple[int, dict[str, str], bytes]
ACCEPTED: Answer = (204, {}, b"")


class Receiver(ThreadingHTTPServer):
    """Notes what it gets, and answers what `answer(delivery)` says; 204 unless it is given."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Delivery], Answer] = lambda _: ACCEPTED) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.got: list[Delivery] = []
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/in?from=pricebook"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that leaves is no error here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names = {name.lower(): value for name, value in self.headers.items()}
        delivery = Delivery(self.path, names, body)
        self.server.got.append(delivery)
        status, headers, content = self.server.answer(delivery)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def a_receiver(
    answer: Callable[[Delivery], Answer] = lambda _: ACCEPTED, tls: bool = False
) -> Iterator[Receiver]:
    receiver = Receiver(answer)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()


class Dribbler:
    """Sends a text, and then a byte now and then until it is `left`."""

    def __init__(self, text: bytes, pause: float = 0.02) -> None:
        self.text, self.pause = text, pause
        self.left = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(self.text)
                while True:
                    connection.sendall(b"a")
                    time.sleep(self.pause)
        self.listener.close()
        self.left.set()
