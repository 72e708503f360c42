"""Limits for guessing passwords and keys.

    log-ins   by name and address together, so that nobody can lock a person out by the name alone;
              and those that fail by address, ten times as many, against one password for many names
    keys      wrong ones by address; right ones pass, because an address may be a proxy's

Counters are in the cache, for all web processes, and are forgotten after LOGIN_WAIT and KEY_WAIT
seconds. While the cache is away each process counts for itself. A limit of 0 counts nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from pricebook.kit.addresses import address_of
from pricebook.kit.cache import RedisCache
from pricebook.kit.refusal import Refusal

logger = logging.getLogger(__name__)

MOST = 10_000  # counters of a process while the cache is away
OF_ONE_ADDRESS = 10  # times the limit of a name and an address


class TooManyAttempts(Refusal):
    """429: somebody guesses. `wait` is in seconds."""

    def __init__(self, code: str, detail: str, wait: int) -> None:
        again = ngettext("Try again in %(n)s second.", "Try again in %(n)s seconds.", wait)
        super().__init__(code, f"{detail} {again % {'n': wait}}", 429)
        self.wait = wait


@dataclass
class Counters:
    """Counters of one kind, each forgotten some seconds after it began."""

    name: str
    alone: dict[str, tuple[int, float]] = field(default_factory=dict)

    def add(self, subject: str, seconds: int, by: int = 1) -> tuple[int, int]:
        """Count one more for a subject: how many there are, and the seconds until they are not."""
        counted = cast(RedisCache, cache).count(self._key(subject), seconds, by)
        return counted or self._add_here(subject, seconds, by)

    def forget(self, subject: str) -> None:
        cast(RedisCache, cache).forget(self._key(subject))
        self.alone.pop(subject, None)

    def _add_here(self, subject: str, seconds: int, by: int) -> tuple[int, int]:
        now = time.monotonic()
        count, ends = self.alone.get(subject, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + seconds
        if len(self.alone) >= MOST:
            self.alone.clear()
        self.alone[subject] = count + by, ends
        return count + by, max(1, round(ends - now))

    def _key(self, subject: str) -> str:
        return f"attempts-{self.name}-{sha256(subject.encode(errors='replace')).hexdigest()}"


LOGINS, ADDRESSES, KEYS = Counters("login"), Counters("address"), Counters("key")


def _pair(request: HttpRequest, name: str) -> str:
    return f"{address_of(request)} {name.strip().lower()}"


class LimitedLogins:
    """The first of AUTHENTICATION_BACKENDS: counts, and lets nobody in; so it has no users."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, **credentials: Any
    ) -> None:
        """Count an attempt before its password is looked at. Raises TooManyAttempts."""
        limit, seconds = settings.LOGIN_ATTEMPTS, round(settings.LOGIN_WAIT)
        if request is None or username is None or not limit:
            return
        for counters, subject, most in (
            (LOGINS, _pair(request, username), limit),
            (ADDRESSES, address_of(request), limit * OF_ONE_ADDRESS),
        ):
            count, wait = counters.add(subject, seconds)
            if count == most + 1:  # once, or a guesser would fill the log
                logger.warning("Too many log-ins from %s, the last as %.50r.", subject, username)
            if count > most:
                raise TooManyAttempts("too_many_logins", _("Too many log-ins have failed."), wait)


def forget_logins(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """Somebody who knows the password has not been guessing."""
    LOGINS.forget(_pair(request, user.get_username()))
    ADDRESSES.add(address_of(request), round(settings.LOGIN_WAIT), by=-1)


user_logged_in.connect(forget_logins, dispatch_uid="pricebook.kit.attempts")


def count_wrong_key(request: HttpRequest) -> None:
    """Count a wrong key. Raises TooManyAttempts if its address has sent too many."""
    if not settings.KEY_ATTEMPTS:
        return
    address = address_of(request)
    count, wait = KEYS.add(address, round(settings.KEY_WAIT))
    if count == settings.KEY_ATTEMPTS + 1:  # once, or a guesser would fill the log
        logger.warning("Too many wrong API keys from %s.", address)
    if count > settings.KEY_ATTEMPTS:
        raise TooManyAttempts(
            "too_many_wrong_keys", _("Too many wrong API keys came from your address."), wait
        )


class AttemptsMiddleware:
    """Answers a log-in that was refused with a page. (The API has answers of its own.)"""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, TooManyAttempts):
            return None
        said = {"error": error, "title": _("Too many log-ins")}
        page = render(request, "pricebook/too_many_attempts.html", said, status=429)
        page["Retry-After"] = str(error.wait)
        return page
