"""A line in the log, and a time for Prometheus, for each request: its method, path, answer, times.

    GET /api/subscriptions/ 200 in 12.3 ms, 2 queries, key 3
    POST /api/price-changes/7/approve/ 409 stale_fingerprint in 31.0 ms, 9 queries, person 1

The query of an address is left out: it may hold names and e-mails. So is what was sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path

from pricebook.kit import replica
from pricebook.kit.access import Program
from pricebook.seeing.measured import REQUESTS, count, count_read

logger = logging.getLogger("pricebook.access")

replica.counted.append(count_read)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
LONGEST_PATH = 300


class AccessMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - began
        match = request.resolver_match
        route = "" if match is None else match.route
        method = request.method if request.method in METHODS else "other"
        count(REQUESTS, (method, route, str(response.status_code)), seconds)
        if logger.isEnabledFor(logging.INFO):
            _log(request, response, seconds, route)
        return response


def _log(request: HttpRequest, response: Any, seconds: float, route: str) -> None:
    path = escape_uri_path(request.path)[:LONGEST_PATH]
    code = code_of(response)
    who = caller_of(request)
    clock = getattr(request, "database_clock", None)
    queries = clock.queries if clock is not None else 0
    said = {
        "method": (request.method or "")[:20],
        "path": path,
        "route": route,
        "status": response.status_code,
        "ms": round(seconds * 1000, 1),
        "queries": queries,
        "streamed": response.streaming,
    }
    if code:
        said["code"] = code
    if who:
        said["caller"] = who
    if (change := change_of(request)) is not None:
        said["change_id"] = change
    logger.info(
        "%s %s %s%s in %s ms, %s queries%s",
        *(said["method"], path, response.status_code, f" {code}" if code else "", said["ms"]),
        *(queries, f", {who}" if who else ""),
        extra={"request": request, "said": said},
    )


def code_of(response: Any) -> str:
    """The code of a refusal; "" of another answer."""
    if response.status_code < 400:
        return ""
    data = getattr(response, "data", None)
    given = data.get("code") if isinstance(data, dict) else getattr(response, "code", "")
    return given if isinstance(given, str) else ""


def caller_of(request: HttpRequest) -> str:
    """ "key 3", "person 7", or "" if nobody asked who it is. No query."""
    user = request.__dict__.get("user")
    if type(user) is Program:  # a lazy user would be read to say what class it has
        return f"key {user.key.number}"
    user = request.__dict__.get("_cached_user")
    return f"person {user.pk}" if user is not None and user.pk is not None else ""


def change_of(request: HttpRequest) -> int | None:
    """The price change that the address names."""
    match = request.resolver_match
    if match is None or "price-change" not in match.route:
        return None
    given = str(match.kwargs.get("pk", ""))
    return int(given) if given.isascii() and given.isdecimal() else None
