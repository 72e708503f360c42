"""The limits of sessions, on both sides: nothing that is lost holds the others up.

    connect_timeout                      a connection that nobody takes     DB_CONNECT_TIMEOUT
    keepalives, tcp_user_timeout         a host that is gone, for us        DB_SILENCE_TIMEOUT
    the same of the server's             for the server
    client_connection_check_interval     the same during a statement
    idle_in_transaction_session_timeout  a process that hangs with locks    IDLE_TRANSACTION_TIMEOUT
    lock_timeout                         a request behind somebody's lock   LOCK_TIMEOUT

The server's are startup options of our own sessions, so other programs keep theirs. Behind
PgBouncer, which takes no options, they have to be set by role (docs/operating.md), and `missing`
says so. The one of transactions is for web servers and workers (`bound_transactions`): a command's
transaction may wait for a person, or for a reader of its output. So it may hold a lock for hours,
and each request that waits for it holds a thread: the last one is for web servers
(`bound_requests`).
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connection

IDLE = "idle_in_transaction_session_timeout"
# Seconds for which a job may be busy by itself in a transaction: it reads a file of 64 MB.
LONG_PAUSE = 300
IN_FORCE = f"""
SELECT current_setting('{IDLE}') <> '0',
       inet_server_addr() IS NULL OR current_setting('tcp_keepalives_idle')::int <= %(silence)s
"""
PAUSE_MORE = f"SELECT set_config('{IDLE}', %s, true) WHERE current_setting('{IDLE}') <> '0'"


def of_client(connect: int, silence: int) -> dict[str, int]:
    """Parameters of libpq: whole seconds in, as libpq takes them."""
    return {
        "connect_timeout": connect,
        "keepalives_idle": silence // 2,
        "keepalives_interval": max(1, silence // 5),
        "keepalives_count": 3,
        "tcp_user_timeout": silence * 1000,
    }


def of_server(startup: str, silence: int) -> str:
    """The startup options with those of the server's side; what is given stays as it is."""
    return with_options(
        startup,
        {
            "tcp_keepalives_idle": silence // 2,
            "tcp_keepalives_interval": max(1, silence // 5),
            "tcp_keepalives_count": 3,
            "tcp_user_timeout": silence * 1000,
            "client_connection_check_interval": silence * 500,
        },
    )


def with_options(startup: str, more: dict[str, int]) -> str:
    """Startup options with more of them. None, behind a pooler, stay none."""
    if not startup:
        return ""
    new = [f"-c {name}={value}" for name, value in more.items() if name not in startup]
    return " ".join([startup, *new])


def bound_transactions(database: dict[str, Any]) -> None:
    """Limit the idle time in transactions of the sessions that this process will make, and let
    them find out that the database is silent. `database` as in DATABASES."""
    from pricebook.database.watched import WatchedReplica, pulse

    pulse.watching = WatchedReplica.pulse.watching = True
    options = database.get("OPTIONS", {})
    if settings.IDLE_TRANSACTION_TIMEOUT:
        milliseconds = round(settings.IDLE_TRANSACTION_TIMEOUT * 1000)
        options["options"] = with_options(options.get("options", ""), {IDLE: milliseconds})


def bound_requests(database: dict[str, Any]) -> None:
    """The same for a web server, whose requests wait for a lock of others no longer than
    LOCK_TIMEOUT, and are answered 503 `crossed_writes` then."""
    bound_transactions(database)
    options = database.get("OPTIONS", {})
    if settings.LOCK_TIMEOUT:
        milliseconds = round(settings.LOCK_TIMEOUT * 1000)
        options["options"] = with_options(
            options.get("options", ""), {"lock_timeout": milliseconds}
        )


def may_pause() -> None:
    """Let this transaction be idle for LONG_PAUSE seconds, if its session has a limit, also one by
    role. One query.

    For whoever computes much between two statements.
    """
    with connection.cursor() as cursor:
        cursor.execute(PAUSE_MORE, [f"{LONG_PAUSE}s"])


def missing() -> list[str]:
    """The limits of this process's sessions that are not in force, though they are wanted, each as
    a sentence with its fix. One query."""
    with connection.cursor() as cursor:
        cursor.execute(IN_FORCE, {"silence": settings.DB_SILENCE_TIMEOUT})
        idle, silence = cursor.fetchone()
    found = []
    role = settings.DATABASES["default"]["USER"] or "pricebook"
    if settings.IDLE_TRANSACTION_TIMEOUT and not idle:
        found.append(
            "No limit ends a transaction whose process hangs: its locks hold all others up."
            f" ALTER ROLE {role} SET {IDLE} = '{settings.IDLE_TRANSACTION_TIMEOUT:g}s'"
        )
    if not silence:
        found.append(
            "The server notices after hours that a host is gone."
            " In its configuration: tcp_keepalives_idle = 4, tcp_keepalives_interval = 1,"
            " tcp_keepalives_count = 3"
        )
    return found
