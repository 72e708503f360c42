"""The application of the web server: Django's, of WSGI, behind `pricebook.front`."""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

from pricebook.front.bodies import Bodies
from pricebook.front.server import Front
from pricebook.kit.error_response import plain_error
from pricebook.wsgi import application as wsgi


def behind_front(application: Callable[..., Iterable[bytes]]) -> Front:
    return Front(
        application,
        threads=settings.WEB_THREADS,
        bodies=Bodies(settings.LONGEST_BODY, settings.BODY_TIMEOUT, settings.BODIES_TOGETHER),
        reader_timeout=settings.READER_TIMEOUT,
        refuse=refusal,
    )


def refusal(status: int, code: str, detail: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of a refusal that Django never sees."""
    response: Any = plain_error(status, code, detail)
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    return headers, response.content


application = behind_front(wsgi)
