"""Requests whose body would be lost: without a length, or sent to a path without its slash."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest
from django.middleware.common import CommonMiddleware
from django.urls import ResolverMatch, resolve

from pricebook.kit.error_response import plain_error

REDIRECTED = ("GET", "HEAD")


class WholeRequestsMiddleware(CommonMiddleware):
    """Django's, except that only GET and HEAD are sent to the path with the slash.

    A client that follows a redirect turns a POST into a GET without a body, so every other method
    is answered as if the slash were there.
    """

    def process_request(self, request: HttpRequest) -> Any:
        if has_no_length(request):
            return plain_error(
                411,
                "length_required",
                "A body without a length (Transfer-Encoding: chunked) is not read here: send"
                " Content-Length.",
                request,
            )
        if request.method not in REDIRECTED and lacks_slash(request.path_info):
            request.path_info += "/"
            request.path += "/"
        return super().process_request(request)


def has_no_length(request: HttpRequest) -> bool:
    """Whether a body follows that Django would take for an empty one.

    It does not behind `pricebook.front`, which has read the body to its end.
    """
    return "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH")


def lacks_slash(path: str) -> bool:
    """Whether something is at this path with a slash at its end, and nothing without it."""
    return not path.endswith("/") and view_at(path) is None and view_at(f"{path}/") is not None


def view_at(path: str) -> ResolverMatch | None:
    try:
        match = resolve(path)
    except Http404:
        return None
    # The admin's last pattern takes every path, to redirect those without a slash.
    return None if match.kwargs.keys() == {"url"} else match
