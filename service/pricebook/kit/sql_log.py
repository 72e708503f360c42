"""Logs every SQL statement on the console, if LOG_SQL asks for it.

It does not use Django's own logger, `django.db.backends`, which logs only while DEBUG is on, and
always with the parameters, even twice: psycopg binds them on this side, so the statement that it
shows has names and e-mails in it already. Here a statement is seen before it is bound.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

logger = logging.getLogger(__name__)


def start() -> None:
    """Log what every connection of this process executes from now on."""
    connection_created.connect(log_connection)


def log_connection(sender: object, connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    if log_statement not in connection.execute_wrappers:  # it stays there after a reconnection
        connection.execute_wrappers.append(log_statement)


def log_statement(
    execute: Callable[..., Any], sql: object, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """For `connection.execute_wrapper`: log seconds and statement, failed ones too."""
    start = time.monotonic()
    try:
        return execute(sql, params, many, context)
    finally:
        seconds = time.monotonic() - start
        statement = " ".join(str(sql).split())
        if settings.LOG_SQL == "parameters":
            logger.debug("(%.3f) %s; parameters=%r", seconds, statement, params)
        else:
            logger.debug("(%.3f) %s", seconds, statement)
