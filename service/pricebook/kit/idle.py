"""An idle limit of sessions: `SESSION_IDLE` minutes after the last request a log-in has ended.

A page that refreshes itself (live.js) says so, and keeps nobody logged in. The time of the last
request is kept in the session, to the minute: at most one write a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

SEEN = "seen"  # the key of the session, in seconds since 1970
EVERY = 60  # seconds between two writes
BY_ITSELF = "HTTP_PRICEBOOK_LIVE"  # the header of a page that refreshes itself


def _now() -> int:
    return int(timezone.now().timestamp())


class IdleMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.SESSION_IDLE and settings.SESSION_COOKIE_NAME in request.COOKIES:
            self.look(request)
        return self.get_response(request)

    def look(self, request: HttpRequest) -> None:
        """End the session if it has been idle for too long, or note that it is not.

        The session is read here, and not once more for the user.
        """
        if SESSION_KEY not in request.session:
            return
        now = _now()
        seen = request.session.get(SEEN, 0)  # 0: begun while there was no limit
        if seen and now - seen >= settings.SESSION_IDLE * 60:
            logout(request)
        elif now - seen >= EVERY and BY_ITSELF not in request.META:
            request.session[SEEN] = now


def begin(sender: Any, request: HttpRequest, **kwargs: Any) -> None:
    """Note the time of a log-in in its session, which is written anyway."""
    request.session[SEEN] = _now()


user_logged_in.connect(begin, dispatch_uid="pricebook.kit.idle")
