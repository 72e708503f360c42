"""An application of ASGI that runs one of WSGI in a few threads, and waits for clients itself.

    body ── read to its end, within a time ──▶ thread: Django ──▶ answer, handed to the web server
                                                  ▲                  │
    a stream: the next pieces, in any thread ─────┘◀─ the client has taken those before, in time

A thread of a web process is worth a connection of the database's pool. Under WSGI a client that
sends its body slowly, or that doesn't read its answer, keeps one; here it keeps a task and some
memory.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pricebook.front.bodies import Bodies, BodyError, Receive
from pricebook.front.environ import Scope, announced_length, environ_of, may_have_body
from pricebook.front.silence import end_silent_connections

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Header = tuple[bytes, bytes]
Refuse = Callable[[int, str, str, Scope], tuple[list[Header], bytes]]

AT_A_TIME = 64 * 1024  # bytes of a stream that one visit to a thread fetches
PROBES_AT_ONCE = 4  # their threads: none of them takes a connection of the pool


class Front:
    """The application.

    `longest_of` gives the most bytes that a body sent to a path may have, and `refuse` makes the
    body of an answer to a request that Django never sees. The paths in `probes` have threads of
    their own, so that they are answered while all others wait for something.
    """

    def __init__(
        self,
        application: Wsgi,
        *,
        threads: int,
        bodies: Bodies,
        longest_of: Callable[[str], int],
        reader_timeout: float,
        refuse: Refuse,
        probes: Collection[str] = (),
    ) -> None:
        self.application = application
        self.bodies = bodies
        self.longest_of = longest_of
        self.reader_timeout = reader_timeout
        self.refuse = refuse
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="web")
        self.probes = probes
        self.threads_of_probes = ThreadPoolExecutor(PROBES_AT_ONCE, thread_name_prefix="probes")
        self.began = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        if not self.began:  # only now has this process got its listening socket
            self.began = True
            end_silent_connections(self.reader_timeout)
        length = 0
        try:
            if may_have_body(scope):
                longest = self.longest_of(scope["path"])
                body, length = await self.bodies.read(receive, announced_length(scope), longest)
            else:
                body = io.BytesIO()
            answer = Answer(self.application, environ_of(scope, body, length))
            await self._answer(answer, receive, send)
        except BodyError as error:
            headers, text = self.refuse(error.status, error.code, str(error), scope)
            headers = [*headers, (b"connection", b"close")]
            await _send(send, error.status, headers, text)
        finally:
            self.bodies.release(length)

    async def _answer(self, answer: Answer, receive: Receive, send: Send) -> None:
        in_thread = asyncio.get_running_loop().run_in_executor
        probes = answer.path in self.probes
        whole = await in_thread(self.threads_of_probes if probes else self.threads, answer.start)
        if whole is not None:
            await _send(send, answer.status, answer.headers, whole)
            return
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await send(_start(answer.status, answer.headers))
            while not gone.done():
                pieces = await in_thread(self.threads, answer.next_pieces)
                if pieces is None:
                    await send(_body(b"", more=False))
                    return
                try:
                    async with asyncio.timeout(self.reader_timeout):
                        await send(_body(pieces, more=True))
                except TimeoutError:
                    logger.warning(
                        "%s ended: its reader took nothing for %g s.",
                        answer.path,
                        self.reader_timeout,
                    )
                    return
        except Exception:
            # The server would throw away what it has not sent yet, and with it the last words of
            # a stream. It can't break the connection.
            logger.exception("%s broke off.", answer.path)
            await send(_body(b"", more=False))
        finally:
            gone.cancel()
            await in_thread(self.threads, answer.close)


class Answer:
    """The answer of a WSGI application; its methods run in threads, one after the other."""

    status = 500

    def __init__(self, application: Wsgi, environ: dict[str, Any]) -> None:
        self.application = application
        self.environ = environ
        self.path = environ["PATH_INFO"]
        self.headers: list[Header] = []
        self.result: Any = ()
        self.pieces: Iterator[bytes] = iter(())
        self.error: Exception | None = None

    def start(self) -> bytes | None:
        """Call the application; the whole body, or None if it is a stream."""
        self.result = self.application(self.environ, self._start_response)
        if getattr(self.result, "streaming", True):
            self.pieces = iter(self.result)
            return None
        try:
            return b"".join(self.result)
        finally:
            self.close()

    def next_pieces(self) -> bytes | None:
        """The next pieces of a stream, in one; None at its end. An error comes after its pieces."""
        if self.error is not None:
            raise self.error
        got: list[bytes] = []
        length = 0
        try:
            for piece in self.pieces:
                got.append(piece)
                length += len(piece)
                if length >= AT_A_TIME:
                    break
        except Exception as error:
            if not got:
                raise
            self.error = error
        return b"".join(got) if got else None

    def close(self) -> None:
        if close := getattr(self.result, "close", None):
            close()
        self.environ["wsgi.input"].close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> None:
        self.status = int(status.split(" ", 1)[0])
        self.headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]


def _start(status: int, headers: list[Header]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _body(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _send(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    await send(_start(status, headers))
    await send(_body(body, more=False))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
