"""The language of an answer, and of texts that outlive it.

    a page          the reader's choice (a cookie, which a log-in brings along), else what the
                    browser asks for, else LANGUAGE_CODE
    the API         English, unless `Accept-Language` asks for another language of ours
    what is stored  English, whoever reads while it is written (`in_english`)

Only a problem, a page, and the answer to a write may have sentences, so only these have
`Vary: Accept-Language`: what the API reads out is the same in every language.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.cookie import parse_cookie
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation.trans_real import parse_accept_lang_header

from pricebook.kit.error_response import is_api
from pricebook.kit.read_timeout import SAFE

ENGLISH = "en"


def in_english() -> AbstractContextManager[None]:
    """English for texts that are stored, or that are the same for all readers."""
    return translation.override(ENGLISH)


@lru_cache(maxsize=1000)
def asked_for(accept_language: str) -> str:
    """The first language of ours that a header asks for; English if it asks for none.

    "ru-RU,ru;q=0.9,en;q=0.8" → "ru"
    """
    for code, _ in parse_accept_lang_header(accept_language.lower()):
        try:
            return translation.get_supported_language_variant(code)
        except LookupError:
            continue
    return ENGLISH


def language_of(accepts: str, cookies: str) -> AbstractContextManager[None]:
    """The language of a reader whose request Django has not seen, by these two headers."""
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = accepts
    request.COOKIES = parse_cookie(cookies)
    return translation.override(translation.get_language_from_request(request))


class LanguageMiddleware:
    """Chooses the language of a request. Django's LocaleMiddleware would have every answer of the
    API vary by a header that few of them look at."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        of_api = is_api(request)
        if of_api:
            language = asked_for(request.META.get("HTTP_ACCEPT_LANGUAGE", ""))
        else:
            language = translation.get_language_from_request(request)
        translation.activate(language)
        request.LANGUAGE_CODE = language
        response = self.get_response(request)
        if (
            not of_api
            or response.status_code >= 400
            or request.method not in SAFE
            or _is_page(response)
        ):
            patch_vary_headers(response, ("Accept-Language",))
            response.headers.setdefault("Content-Language", translation.get_language() or language)
        if chosen := getattr(request, "chosen_language", ""):
            keep_choice(response, chosen)
        return response


def _is_page(response: HttpResponse) -> bool:
    return str(response.headers.get("Content-Type", "")).startswith("text/html")


def keep_choice(response: HttpResponse, language: str) -> None:
    """Keep a reader's choice in the browser, where Django looks for it."""
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=settings.LANGUAGE_COOKIE_AGE,
        path=settings.LANGUAGE_COOKIE_PATH,
        domain=settings.LANGUAGE_COOKIE_DOMAIN,
        secure=settings.LANGUAGE_COOKIE_SECURE,
        httponly=settings.LANGUAGE_COOKIE_HTTPONLY,
        samesite="Lax",
    )
