"""Adds to answers the time that the database took; compresses the API's answers."""

import re
import time
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers

from pricebook.kit.error_response import is_api


class Clock:
    """Counts the queries that run through it, and their time (with the way there and back)."""

    queries = 0
    seconds = 0.0

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.queries += 1
        start = time.perf_counter()
        try:
            return execute(*args)
        finally:
            self.seconds += time.perf_counter() - start

    def __str__(self) -> str:
        return f'db;dur={self.seconds * 1000:.2f};desc="queries: {self.queries}"'


class ServerTimingMiddleware:
    """Counts the queries of each request: `Server-Timing: db;dur=1.93;desc="queries: 2"` on every
    answer of the API, and for all requests the line in the log.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        clock = Clock()
        request.database_clock = clock  # type: ignore[attr-defined]  # for the line in the log
        with connection.execute_wrapper(clock):
            response = self.get_response(request)
        if is_api(request):
            response["Server-Timing"] = str(clock)
        return response


# `gzip;q=0` says that it is not accepted; Django's middleware sees only the word.
REFUSES_GZIP = re.compile(r"\bgzip\s*;\s*q=0(\.0*)?\s*(,|$)", re.IGNORECASE)


class ApiGZipMiddleware(GZipMiddleware):
    """Compresses the API's answers if accepted; they hold no secret to be guessed (BREACH).

    Pages with forms hold secrets, and are left as they are.
    """

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        if not is_api(request):
            return response
        if response.streaming and response.has_header("Content-Length"):
            return response  # by its length a reader knows that it is complete
        if REFUSES_GZIP.search(request.headers.get("Accept-Encoding", "")):
            patch_vary_headers(response, ("Accept-Encoding",))
            return response
        return super().process_response(request, response)
