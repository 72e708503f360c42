"""Programs read on from the replica while the primary does not answer.

A request asks the primary who its sender is, so it would fail before it reads. Here it is made once
more, for all of its queries on the replica; the next ones go there at once, until the primary is
back. The header `Book-Read-From: replica; no_primary` says it: the answer may be older than a write
that was acknowledged, and so may be what a key may do.

Only what is read from the replica otherwise too (`from_replica`), and without a session, which
would have to be written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

from pricebook.kit import replica
from pricebook.kit.errors import DatabaseUnavailable
from pricebook.kit.read_timeout import SAFE


class WithoutPrimaryMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        if not replica.is_set() or not is_fit(request):
            return self.get_response(request)
        refused = None
        if not replica.primary_is_away():
            refused = self.get_response(request)
            if not is_of_no_database(refused):
                return refused
            replica.note_that_the_primary_is_away("a request has failed")
            request = WSGIRequest(request.environ)  # the first one knows what was not to be had
        try:
            with replica.standby_for(None) as source:
                response = self.get_response(request)
        except replica.Unfit:
            return refused or self.get_response(request)
        replica.count(replica.NO_PRIMARY)
        response[replica.HEADER] = source
        return response


def is_fit(request: HttpRequest) -> bool:
    """Whether a request reads only what a standby knows, and is no one of a session."""
    if request.method not in SAFE or settings.SESSION_COOKIE_NAME in request.COOKIES:
        return False
    try:
        view: Any = resolve(request.path_info).func
    except Resolver404:
        return False
    name = getattr(view, "actions", {}).get("get", "get")
    handler = getattr(getattr(view, "cls", None), name, None)
    return getattr(handler, "from_replica", False) and "known_at" not in request.GET


def is_of_no_database(response: Any) -> bool:
    data = getattr(response, "data", None)
    code = data.get("code") if isinstance(data, dict) else getattr(response, "code", "")
    return response.status_code == 503 and code == DatabaseUnavailable.default_code
