"""ETags tell whether an answer that a client holds is still the one from this book."""

import re

from django.conf import settings
from django.utils.http import parse_etags
from rest_framework.request import Request

from services.reading.version import Seen, digest

# To be increased when an answer from the same book gets another form.
REPRESENTATION = 3


def answer_to(request: Request) -> str | None:
    """The address and settings that an answer's ETag stands for, besides the version of the book.

    None for the page that a browser shows, because it says who is logged in.
    """
    if request.accepted_renderer.format != "json":
        return None
    return f" {REPRESENTATION} {settings.CURRENCY} {request.build_absolute_uri()}"


def seen_by(request: Request, to: str | None) -> Seen | None:
    etags = parse_etags(request.headers.get("If-None-Match", "")[:2000])
    digests = [etag.removeprefix("W/").strip('"') for etag in etags]
    digests = [each for each in digests if re.fullmatch("[0-9a-f]{32}", each)]
    return Seen(to, digests) if to is not None and digests else None


def validator(version: str | None, to: str | None) -> dict[str, str]:
    """The headers with which a client may ask again whether an answer still holds."""
    if version is None or to is None:
        return {"Cache-Control": "private, no-cache"}
    return {
        "ETag": f'W/"{digest(version, to)}"',
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization, Cookie",
    }
