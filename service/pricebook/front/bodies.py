"""Reads the bodies of requests before a thread is taken, in a time that no client can stretch.

bytes received      seconds that they may take in all
none                BODY_TIMEOUT
n                   BODY_TIMEOUT + n / SLOWEST
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from tempfile import SpooledTemporaryFile
from typing import IO, Any

SLOWEST = 16 * 1024  # bytes a second, on average; a modem of the nineties is slower
MOST_PIECES = 20_000  # of one body; each costs as much as a large one
IN_MEMORY = 1024 * 1024  # bytes; a longer body goes on in a temporary file

Receive = Callable[[], Awaitable[dict[str, Any]]]


class BodyError(Exception):
    """A body that is not taken: the status and the code of its answer, and how to fix it."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class Bodies:
    """The bodies that a process holds: together up to `together` bytes."""

    def __init__(self, timeout: float, together: int) -> None:
        self.timeout = timeout
        self.together = together
        self.held = 0

    async def read(
        self, receive: Receive, announced: int | None, longest: int
    ) -> tuple[IO[bytes], int]:
        """The body of up to `longest` bytes, from its beginning, and its length. Raises BodyError.

        `release` has to be called with that length when the request is answered.
        """
        if announced is not None and announced > longest:
            raise self._too_long(longest)
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.timeout
        body: IO[bytes] = io.BytesIO()
        length = pieces = 0
        try:
            while True:
                try:
                    async with asyncio.timeout_at(ends + length / SLOWEST):
                        message = await receive()
                except TimeoutError:
                    raise self._too_slow(length) from None
                if message["type"] != "http.request":  # it is gone, or its chunks are malformed
                    raise self._broken_off(length)
                if piece := message.get("body", b""):
                    pieces += 1
                    if pieces > MOST_PIECES:
                        raise self._in_crumbs()
                    self._hold(len(piece))
                    length += len(piece)
                    if length > longest:
                        raise self._too_long(longest)
                    if length > IN_MEMORY and isinstance(body, io.BytesIO):
                        body = _spooled(body)
                    body.write(piece)
                if not message.get("more_body", False):
                    if announced is not None and length < announced:
                        raise self._broken_off(length)
                    body.seek(0)
                    return body, length
        except BaseException:
            self.release(length)
            body.close()
            raise

    def release(self, length: int) -> None:
        self.held -= length

    def _hold(self, length: int) -> None:
        if self.held + length > self.together:
            raise BodyError(
                503, "too_many_bodies", "Too much is being sent at once; try again in a minute."
            )
        self.held += length

    def _too_long(self, longest: int) -> BodyError:
        return BodyError(413, "body_too_long", f"A body has up to {longest:,} bytes; send less.")

    def _in_crumbs(self) -> BodyError:
        return BodyError(
            400,
            "body_in_crumbs",
            f"The body comes in more than {MOST_PIECES:,} pieces; send it in larger ones.",
        )

    def _broken_off(self, length: int) -> BodyError:
        return BodyError(
            400,
            "body_broken_off",
            f"The body ended too early, or its chunks are malformed, after"
            f" {length:,} bytes; send it again.",
        )

    def _too_slow(self, length: int) -> BodyError:
        return BodyError(
            408,
            "body_too_slow",
            f"The body did not come in time: {length:,} bytes have come. It has"
            f" {self.timeout:g} seconds, and one more for every {SLOWEST:,} bytes; send it again.",
        )


def _spooled(body: io.BytesIO) -> IO[bytes]:
    file: IO[bytes] = SpooledTemporaryFile(max_size=1)  # noqa: SIM115 - closed by who reads it
    file.write(body.getvalue())
    return file
