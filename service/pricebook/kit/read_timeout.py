"""The time for which the web server lets one statement read: `READ_TIMEOUT`.

PostgreSQL ends a statement that takes longer, and the caller gets a 503 `read_timed_out`. The bound
is a startup option of the web server's own connections (`wsgi.py`), so it costs no query; workers
and commands, which never import that, have none.

    GET             READ_TIMEOUT, for each statement
    GET, long_read  LONG_READ_TIMEOUT, where reading much is what was asked for
    POST            none: a write takes as long as it takes, and half of one is useless
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from psycopg.errors import QueryCanceled

logger = logging.getLogger(__name__)

OPTION = "statement_timeout"
SAFE = ("GET", "HEAD", "OPTIONS")


def bound_reads(database: dict[str, Any]) -> None:
    """Bound the connections that this process will make; `database` as in DATABASES.

    Does nothing if there are no startup options (behind PgBouncer), or if they have a bound
    already.
    """
    options = database.get("OPTIONS", {})
    startup = options.get("options", "")
    if settings.READ_TIMEOUT and startup and OPTION not in startup:
        options["options"] = f"{startup} -c {OPTION}={_milliseconds(settings.READ_TIMEOUT)}"


def bounded() -> bool:
    """Whether this process's connections have a bound."""
    return OPTION in connection.settings_dict["OPTIONS"].get("options", "")


@contextmanager
def long_read() -> Iterator[None]:
    """`LONG_READ_TIMEOUT` for the statements inside, in a transaction. One query, if bounded."""
    if not bounded():
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            longer = str(_milliseconds(settings.LONG_READ_TIMEOUT))
            cursor.execute("SELECT set_config(%s, %s, true)", [OPTION, longer])
        yield


def timed_out(error: BaseException) -> bool:
    """Whether this is the error of a statement that took too long."""
    return isinstance(error, QueryCanceled) or isinstance(error.__cause__, QueryCanceled)


class ReadTimeoutMiddleware:
    """Lifts the bound for requests that write, and says on a page that reading took too long.

    (The API has its own answer: `pricebook.kit.error_response.error_response`.)
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method in SAFE or not bounded():
            return self.get_response(request)
        lifted = Lifted()
        try:
            with connection.execute_wrapper(lifted):
                return self.get_response(request)
        finally:
            lifted.put_back()

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if request.method not in SAFE or not timed_out(error):
            return None
        logger.warning("%s took too long to read.", request.path)
        said = {"title": _("This took too long")}
        return render(request, "pricebook/read_timed_out.html", said, status=503)


class Lifted:
    """Lifts the bound of a session before its first statement; without one it costs nothing."""

    session: Any = None

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        if self.session is not connection.connection:  # the first, or a new one
            with connection.wrap_database_errors:
                connection.connection.execute(f"SET {OPTION} = 0")
            self.session = connection.connection
        return execute(*args)

    def put_back(self) -> None:
        if self.session is None or self.session is not connection.connection:
            return
        try:
            with connection.wrap_database_errors:
                self.session.execute(f"RESET {OPTION}")
        except DatabaseError:
            connection.close()


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
