"""A long body, read to its end into a temporary file: nothing waits for its sender after that."""

from __future__ import annotations

from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

from rest_framework.request import Request

from pricebook.kit.content import body_too_long

if TYPE_CHECKING:
    from hashlib import _Hash

IN_MEMORY = 1024 * 1024  # bytes; a longer body goes on in a file
PIECE = 64 * 1024  # bytes


def temporary_file() -> IO[bytes]:
    """A file in memory that moves to the disk when it grows. To be closed by its user."""
    return SpooledTemporaryFile(max_size=IN_MEMORY)


def spooled(request: Request, longest: int) -> tuple[IO[bytes], _Hash]:
    """The body of up to `longest` bytes, from its beginning, and its SHA-256.

    Raises Refused (413). The file is closed by its user.
    """
    if int(request.META.get("CONTENT_LENGTH") or 0) > longest:
        raise body_too_long(longest)
    file, digest = temporary_file(), sha256()
    try:
        stream = request.stream
        while stream is not None and (piece := stream.read(PIECE)):
            digest.update(piece)
            file.write(piece)
            if file.tell() > longest:
                raise body_too_long(longest)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, digest
