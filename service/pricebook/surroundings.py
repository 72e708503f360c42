"""Faults around a process that works all the same: its log says them at its start, and `doctor`."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any

import psycopg
from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connections

from pricebook.kit import host_clock, pooler, replica, session_limits

UNVERIFIED = "ssl_cert_reqs=none"
# The fix of an error of a server, by words of OpenSSL's and of the server's own.
FIXES = {
    "ostname mismatch": "use the name of the certificate in the address, or give the server"
    " a certificate with this name",
    "IP address mismatch": "use the name of the certificate in the address, or give the server"
    " a certificate with this address",
    "CERTIFICATE_VERIFY_FAILED": "ssl_ca_certs=FILE with the certificate of the authority that"
    " signed the server's",
    "wrong version number": "the server speaks no TLS on this port: use the one on which it does",
    "No master found": "start the master, or name it as the Sentinels do (master_name)",
    "ACCESS_REFUSED": "user and password",
    "invalid username-password": "user and password",
    "Authentication required": "user and password",
    "NOT_ALLOWED": "a virtual host that the user may use",
}
# Seconds for each step of the question to the broker, while the process is started.
ASKED = 2
logger = logging.getLogger(__name__)


def wrong() -> list[str]:
    """The faults, each with its fix. Some queries, and two connections to look for a pooler."""
    found = [*pooler.faults(), *session_limits.missing(), *replica.fault()]
    if (clock := host_clock.compare()).far > host_clock.FAR:
        found.append(clock.said)
    return found + unverified() + silent()


def unverified() -> list[str]:
    """Servers over TLS for which anybody may pass."""
    broker, database = settings.BROKER, settings.DATABASES["default"]["OPTIONS"]
    is_so = {
        "REDIS_URL": UNVERIFIED in settings.CACHE.url,
        "CELERY_BROKER_URL": UNVERIFIED in broker.url
        or (broker.tls or {}).get("cert_reqs") == ssl.CERT_NONE,
    }
    found = [
        f"{name}: anybody may pass for its server. Fix: ssl_cert_reqs=required."
        for name in is_so
        if is_so[name]
    ]
    if database.get("sslmode") == "require" and not database.get("sslrootcert"):
        found.append(
            "DATABASE_URL: anybody may pass for its server. Fix: sslmode=verify-full and"
            " sslrootcert=FILE (or system)."
        )
    return found


def silent() -> list[str]:
    """Cache and broker, if they can't be used: why. One connection to each."""
    servers = {"REDIS_URL": _ask_cache, "CELERY_BROKER_URL": _ask_broker}
    return [f"{name}: {fault}" for name, ask in servers.items() if (fault := _fault_of(ask))]


def log() -> None:
    """Log what is wrong, as errors; and if the database does not answer, why."""
    try:
        for each in wrong():
            logger.error("%s", each)
    except (DatabaseError, psycopg.Error) as error:
        logger.error("The database can't be used: %s", str(error).strip())
        for each in silent():
            logger.error("%s", each)
    finally:
        connections.close_all()  # they are of the process that starts others


def _ask_cache() -> None:
    client: Any = cache._cache.get_client()  # type: ignore[attr-defined]
    try:
        client.ping()
    finally:
        client.connection_pool.disconnect()  # as that of the database: others are started


def _ask_broker() -> None:
    with current_app.connection_for_write() as broker:
        broker.connect_timeout = ASKED
        broker.transport_options = settings.BROKER.options(ASKED)
        broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def _fault_of(ask: Callable[[], None]) -> str:
    try:
        ask()
    except Exception as error:  # each client has errors of its own
        said = f"{type(error).__name__} {error}".strip()
        fix = next((FIXES[words] for words in FIXES if words in said), "")
        return f"it can't be used: {said}" + (f". Fix: {fix}." if fix else "")
    return ""
