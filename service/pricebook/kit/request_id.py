"""A name for each request: in its answer, in what is logged about it, and in the body of an error.
Answers of the API have its version beside it.

X-Request-ID of the request, if it is well-formed ──┐
else a new one, 32 hexadecimal digits ──────────────┴─▶ X-Request-ID of the answer
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

from pricebook.kit import api_version

HEADER = "X-Request-ID"
SHAPE = re.compile(r"[A-Za-z0-9._:/+=-]{8,100}")

_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def new_id() -> str:
    return uuid.uuid4().hex


def current_id() -> str | None:
    """The id of the request that this thread answers; None outside of one."""
    return _current.get()


class RequestIdMiddleware:
    """The first of all, so that whatever the others answer has an id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get(HEADER, "")
        id = sent if SHAPE.fullmatch(sent) else new_id()
        request.request_id = id  # type: ignore[attr-defined]
        before = _current.set(id)
        try:
            response = self.get_response(request)
        finally:
            _current.reset(before)
        response[HEADER] = id
        if request.path.startswith(api_version.PREFIX):
            response[api_version.HEADER] = api_version.VERSION
        return response
