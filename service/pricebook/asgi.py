"""The application of the web server: Django's, of WSGI, behind `pricebook.front`."""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from pricebook import surroundings
from pricebook.front.bodies import Bodies
from pricebook.front.server import Front
from pricebook.kit.error_response import plain_error
from pricebook.seeing import PATHS
from pricebook.wsgi import application as wsgi
from services import book_currency

# The page of a body that was refused, by its path, as urls.py names the pages of errors.
PAGE = "desk.errors.refused_body"


def behind_front(application: Callable[..., Iterable[bytes]]) -> Front:
    return Front(
        application,
        threads=settings.WEB_THREADS,
        bodies=Bodies(settings.BODY_TIMEOUT, settings.BODIES_TOGETHER),
        longest_of=longest_body,
        reader_timeout=settings.READER_TIMEOUT,
        refuse=refusal,
        probes=PATHS,
    )


def longest_body(path: str) -> int:
    """The most bytes that a body sent to a path may have: more where it is a bulk or a file."""
    bulk = path.startswith("/api/") and path.rstrip("/").endswith(("/bulk", "/api/imports"))
    # A page says itself what is wrong with a file that is a little too long.
    if path.rstrip("/") == "/desk/files/upload":
        return settings.LONGEST_BULK + settings.LONGEST_BODY
    return settings.LONGEST_BULK if bulk else settings.LONGEST_BODY


def refusal(
    status: int, code: str, detail: str, scope: dict[str, Any]
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of a refusal that Django never sees: a problem, or a page."""
    response: Any
    if scope["path"].startswith("/api/"):
        response = plain_error(status, code, detail)
    else:
        given = {name: value.decode("latin-1") for name, value in scope["headers"]}
        accepts, cookie = given.get(b"accept-language", ""), given.get(b"cookie", "")
        response = import_string(PAGE)(code, status, accepts, cookie)
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    return headers, response.content


surroundings.log()
book_currency.end_with_another()
application = behind_front(wsgi)
