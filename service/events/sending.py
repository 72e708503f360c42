"""One event to one receiver: signed, within a time, to the address that was checked.

Redirects are not followed, and proxies of the environment are not asked: an event goes where it was
checked that it may go, or nowhere.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPException
from typing import Any, NamedTuple, Self

from standardwebhooks.webhooks import Webhook
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from events.addresses import BadAddress, Checked, checked

SECONDS = 10.0  # for all of it: the connection, the request and the whole answer
CONNECT_SECONDS = 5.0
LONGEST_ANSWER = 64 * 1024
EXCERPT = 1000  # characters of an answer that the log keeps
AGENT = "Pricebook"


class Answer(NamedTuple):
    """The answer. `error` says why the event counts as not delivered; it is empty if it is."""

    status_code: int | None  # None: there was no answer
    error: str
    duration_ms: int
    excerpt: str = ""
    retry_after: float | None = None  # seconds that the receiver asked for


class NotDelivered(Exception):
    def __init__(self, error: str, status_code: int | None = None) -> None:
        super().__init__(error)
        self.status_code = status_code


def signed(webhook_id: str, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of the Standard Webhooks specification, with a signature by each secret."""
    now = datetime.fromtimestamp(int(time.time()), UTC)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        # The library signs a text, and an instant in UTC: others it would take for something else.
        "webhook-signature": " ".join(
            Webhook(secret).sign(webhook_id, now, body) for secret in secrets
        ),
    }


class Sender:
    """Sends one event after another to a URL, over one connection as long as the receiver keeps it.

    The name is looked up once, when the first event is sent.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._to: Checked | None = None
        self._connection: _Plain | _Secure | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.leave()
            self._connection = None

    def post(self, body: str, headers: dict[str, str]) -> Answer:
        """Send it; the answer, or why there is none. Never raises for what a receiver does."""
        started = time.monotonic()
        status, excerpt, retry_after = None, "", None
        try:
            status, excerpt, retry_after = self._exchanged(body.encode(), headers, started)
            error = "" if 200 <= status < 300 else _refused(status)
        except NotDelivered as failure:
            status, error = failure.status_code, str(failure)
            self.close()
        duration = round((time.monotonic() - started) * 1000)
        return Answer(status, _storable(error)[:500], duration, _storable(excerpt), retry_after)

    def _exchanged(
        self, body: bytes, headers: dict[str, str], started: float
    ) -> tuple[int, str, float | None]:
        if self._to is None:
            try:
                self._to = checked(self.url)
            except BadAddress as error:
                raise NotDelivered(f"{error.code}: {error.detail}") from error
        headers = headers | {
            "Host": self._to.host_header,
            "Content-Type": "application/json",
            "User-Agent": AGENT,
            "Accept-Encoding": "identity",
        }
        kept = self._connection is not None
        try:
            return self._asked(self._to, body, headers, started)
        except NotDelivered as failure:
            # A receiver may have closed a connection that was kept, before it got the event.
            if not kept or failure.status_code is not None or _over(started):
                raise
            self.close()
            return self._asked(self._to, body, headers, started)

    def _asked(
        self, to: Checked, body: bytes, headers: dict[str, str], started: float
    ) -> tuple[int, str, float | None]:
        status = None
        try:
            with _ended_at(started + SECONDS) as watch:
                if self._connection is None:
                    self._connection = _connection(to)
                    self._connection.timeout = min(CONNECT_SECONDS, _left(started))
                    watch.of(self._connection)
                    self._connection.connect()
                watch.of(self._connection)
                self._connection.timeout = _left(started)
                self._connection.sock.settimeout(_left(started))
                self._connection.request(
                    "POST",
                    to.path,
                    body,
                    headers,
                    preload_content=False,
                    decode_content=False,
                )
                response = self._connection.getresponse()
                status = response.status
                content = response.read(LONGEST_ANSWER + 1, decode_content=False)
                if len(content) > LONGEST_ANSWER:
                    raise NotDelivered(
                        f"The answer {status} has more than {LONGEST_ANSWER // 1024} kB.", status
                    )
                if watch.ended:  # what was read is what had come by then
                    raise TimeoutError
                if self._connection.sock is None:  # the answer has ended it
                    self.close()
        except NotDelivered:
            raise
        except (OSError, HTTPError, HTTPException, ValueError) as error:
            if _over(started):
                raise NotDelivered(f"No whole answer within {SECONDS:g} s.", status) from error
            raise NotDelivered(_said(error), status) from error
        excerpt = content.decode(errors="replace")[:EXCERPT]
        return status, excerpt, _retry_after(response.headers.get("Retry-After"))


def _refused(status: int) -> str:
    if 300 <= status < 400:
        return f"The receiver answered {status}: redirects are not followed."
    return f"The receiver answered {status}."


def _storable(text: str) -> str:
    """The text as PostgreSQL takes it, whatever bytes of the receiver are in it."""
    return text.replace("\0", "\ufffd")


def _said(error: Exception) -> str:
    """The reason, without the address of an object or the name of a class that hides it."""
    cause: BaseException = error
    while cause.__cause__ is not None and isinstance(cause, HTTPError):
        cause = cause.__cause__
    return f"{type(cause).__name__}: {cause}"


def _left(started: float) -> float:
    return max(0.01, started + SECONDS - time.monotonic())


def _over(started: float) -> bool:
    return time.monotonic() >= started + SECONDS


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Watched:
    """Mixed into a connection: keeps a second handle of its socket, which TLS takes away."""

    handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self.handle = socket.socket(fileno=os.dup(made.fileno()))
        return made

    def leave(self) -> None:
        """Close it for good; `close` is called while an answer that ends with it is still read."""
        self.close()  # type: ignore[attr-defined]
        if self.handle is not None:
            self.handle.close()
            self.handle = None


class _Plain(_Watched, HTTPConnection):
    pass


class _Secure(_Watched, HTTPSConnection):
    pass


def _connection(to: Checked) -> _Plain | _Secure:
    """A connection to the address that was checked; the certificate has to be of the name."""
    if to.tls:
        return _Secure(to.ip, to.port, server_hostname=to.host, ssl_context=_tls())
    return _Plain(to.ip, to.port)


class _Watch:
    """Ends a connection at an instant, in whatever it is waiting.

    A timeout of a socket begins anew with each byte, so a receiver that dribbles would never meet
    it.
    """

    def __init__(self) -> None:
        self.connection: Any = None
        self.ended = False

    def of(self, connection: HTTPConnection) -> None:
        self.connection = connection

    def end(self) -> None:
        self.ended = True
        handle = getattr(self.connection, "handle", None)
        if handle is not None:
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _ended_at(deadline: float) -> Iterator[_Watch]:
    watch = _Watch()
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), watch.end)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()


def _retry_after(given: str | None) -> float | None:
    """The seconds that a receiver asks for, as a number or as a date; None if it is neither."""
    if not given:
        return None
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(given).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
