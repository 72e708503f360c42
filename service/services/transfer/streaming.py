"""The whole filtered book as an answer of the API: `GET /api/subscriptions/?format=csv` or ndjson.

A reader knows which book it got, and whether all of it: the header `Book-Version` has the version
of the first chunk; the last line has that of the last one, whether the two differ, the number of
lines and their sum. A text without that line is not complete. Servers show a break in different
ways (granian ends the answer as if it were whole), so only the line counts; another line in its
place says that the text broke off.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from django.conf import settings
from django.http import QueryDict, StreamingHttpResponse
from django.utils.translation import pgettext
from drf_spectacular.types import OpenApiTypes
from rest_framework.exceptions import APIException
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from pricebook.kit import decimals
from pricebook.kit.access import caller
from pricebook.kit.content import JSONRenderer
from pricebook.kit.errors import BadParameter
from services.reading import filters, parameters
from services.transfer.chunks import Walk
from services.transfer.formats import CSV, FORMATS, NDJSON, WITH_DECIMALS_AS_TEXT

logger = logging.getLogger(__name__)

FIRST_CHUNK = 400  # rows: a few milliseconds until the first byte
PIECE = 65_536  # bytes; servers keep several for a reader that is slow
ONLY_OF_PAGES = ("as_of", "known_at", "ordering", "cursor", "page_size")


class Unrendered(BaseRenderer):
    """Represents a format when DRF chooses a renderer; the answer itself goes through none."""


class _Streamed(Unrendered):
    pass


class CSVRenderer(_Streamed):
    media_type = CSV.media_type
    format = CSV.name


class NDJSONRenderer(_Streamed):
    media_type = NDJSON.media_type
    format = NDJSON.name


RENDERERS = (CSVRenderer, NDJSONRenderer)
DESCRIPTION = (
    "`format=csv` and `format=ndjson` send all that match, in the order of their ids: lines of a"
    " book's file, or the objects of a page. They take the filters and nothing else. The header"
    " `Book-Version` has the version that the book has at the start; the last line says the"
    " version at the end, whether the book changed on the way, the number of lines and their sum."
    " Without that line the answer is not complete."
)
RESPONSES: dict[tuple[int, str], Any] = {
    (200, CSV.media_type): OpenApiTypes.STR,
    (200, NDJSON.media_type): OpenApiTypes.STR,
}


def is_wanted(request: Request) -> bool:
    return isinstance(getattr(request, "accepted_renderer", None), _Streamed)


def errors_are_json(request: Request) -> None:
    """Answer in JSON from here on, because it is an error, whatever format was asked for."""
    if isinstance(getattr(request, "accepted_renderer", None), Unrendered):
        request.accepted_renderer = JSONRenderer()
        request.accepted_media_type = JSONRenderer.media_type


def answer(request: Request) -> StreamingHttpResponse:
    """Stream the lines of all that match. Refusals come before the first byte.

    One query now, one for each further chunk while it is sent.
    """
    formats = WITH_DECIMALS_AS_TEXT if decimals.as_text(request) else FORMATS
    format = formats[request.accepted_renderer.format]
    query = request.query_params
    refuse_what_pages_take(query, format.name)
    walk = Walk(format, parameters.book_filter(query), FIRST_CHUNK)
    body = Body(caller(request))
    try:
        texts = iter(walk)
        first = next(texts)
    except Exception:
        body.close()
        raise
    if request.method != "HEAD":
        body.pieces = in_pieces(whole(walk, chain([first], texts)))
    return StreamingHttpResponse(
        body,
        content_type=f"{format.media_type}; charset=utf-8",
        headers={
            "Book-Version": walk.version,
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="subscriptions.{format.name}"',
        },
    )


class TooManyStreams(APIException):
    status_code = 503
    default_code = "too_many_streams"
    default_detail = (
        "The most streams that are allowed at once are being read; try again in a minute."
    )
    wait = 60  # becomes Retry-After


class TooManyOwnStreams(APIException):
    status_code = 429
    default_code = "too_many_own_streams"
    default_detail = "You are reading as many streams as one caller may; read them to their ends."
    wait = 60  # becomes Retry-After


# Each has up to some megabytes in memory, and a thread while it reads its next chunk.
class Places:
    """The places for streams of this process, and who has them."""

    def __init__(self, at_once: int, of_one_caller: int) -> None:
        self.at_once = at_once
        self.of_one_caller = of_one_caller
        self.taken: Counter[str] = Counter()
        self.lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Raises TooManyOwnStreams or TooManyStreams if no place is left for this caller."""
        with self.lock:
            if self.taken.total() >= self.at_once:
                raise TooManyStreams
            if self.taken[caller] >= self.of_one_caller:
                raise TooManyOwnStreams
            self.taken[caller] += 1

    def give_back(self, caller: str) -> None:
        with self.lock:
            self.taken[caller] -= 1
            self.taken += Counter()  # forgets who has none


places = Places(settings.STREAMS_AT_ONCE, settings.STREAMS_OF_ONE_CALLER)


class Body:
    """The pieces of an answer, which keeps one of the places for streams until it is closed.

    Raises as `Places.take`.
    """

    def __init__(self, caller: str) -> None:
        places.take(caller)
        self.pieces: Iterator[bytes] = iter(())
        # At the latest when nothing refers to it any more.
        self.close = weakref.finalize(self, places.give_back, caller)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.pieces)


def refuse_what_pages_take(
    query: QueryDict,
    format: str,
    known: Iterable[str] = filters.FILTERS,
    of_pages: Iterable[str] = ONLY_OF_PAGES,
) -> None:
    for name in of_pages:
        if name in query:
            raise BadParameter(
                name,
                str(query[name]),
                pgettext(
                    "file",
                    "format=%(format)s gives all that match; %(name)s goes with pages"
                    " (format=json). Leave one of them out.",
                )
                % {"format": format, "name": name},
                "not_with_format",
            )
    parameters.refuse_unknown(query, list(known))


def whole(walk: Walk, texts: Iterator[bytes]) -> Iterator[bytes]:
    """The text from its header to its last line, or to the line that says that it broke off."""
    yield walk.format.header
    try:
        yield from texts
    except Exception:
        # Too late for an answer of another status. The error goes on to the server, which may be
        # able to break the connection, and to the log.
        logger.error("A stream of the book broke off after %s lines.", walk.count)
        yield walk.format.broken
        raise
    yield walk.format.end(walk.written)


def in_pieces(texts: Iterator[bytes]) -> Iterator[bytes]:
    for text in texts:
        for start in range(0, len(text), PIECE):
            yield text[start : start + PIECE]
        del text  # or it would be kept until the next one is there
