"""Faults around a process that works all the same: its log says them at its start, and `doctor`."""

from __future__ import annotations

import logging
import ssl

import psycopg
from django.conf import settings
from django.db import DatabaseError, connections

from pricebook.kit import host_clock, pooler, replica, session_limits

UNVERIFIED = "ssl_cert_reqs=none"
logger = logging.getLogger(__name__)


def wrong() -> list[str]:
    """The faults, each with its fix. Some queries, and two connections to look for a pooler."""
    found = [*pooler.faults(), *session_limits.missing(), *replica.fault()]
    if (clock := host_clock.compare()).far > host_clock.FAR:
        found.append(clock.said)
    broker = settings.CELERY_BROKER_USE_SSL or {}
    unverified = {
        "REDIS_URL": UNVERIFIED in settings.REDIS_URL,
        "CELERY_BROKER_URL": UNVERIFIED in settings.CELERY_BROKER_URL
        or broker.get("cert_reqs") == ssl.CERT_NONE,
    }
    for name in (name for name, is_so in unverified.items() if is_so):
        found.append(f"{name}: anybody may pass for its server. Fix: ssl_cert_reqs=required.")
    return found


def log() -> None:
    """Log what is wrong, as errors; and if the database does not answer, why."""
    try:
        for each in wrong():
            logger.error("%s", each)
    except (DatabaseError, psycopg.Error) as error:
        logger.error("The database can't be used: %s", str(error).strip())
    finally:
        connections.close_all()  # they are of the process that starts others
