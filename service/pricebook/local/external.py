"""Servers that are somebody's own: DATABASE_URL and REDIS_URL."""

import os
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pricebook.local.home import Fault
from pricebook.local.runner import BROKER, Runner, conninfo


def external_database() -> str:
    """The name of the variable that points to a database outside; empty if none does."""
    return next((name for name in ("DATABASE_URL", "DB_HOST") if os.environ.get(name)), "")


def broker_url() -> str:
    """The broker from outside: its own variable, or database 0 of the server of REDIS_URL."""
    cache = os.environ.get("REDIS_URL", "")
    return os.environ.get("CELERY_BROKER_URL") or (numbered(cache, BROKER) if cache else "")


def numbered(url: str, number: int) -> str:
    """The same server's database of that number, in each of the three ways to write it."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        return urlunsplit(parts._replace(query=urlencode({**query, "db": number})))
    if parts.scheme == "redis+socket":
        return urlunsplit(parts._replace(query=urlencode({**query, "virtual_host": number})))
    return urlunsplit(parts._replace(path=f"/{number}"))


def check_external_database() -> None:
    """Connect once and plainly: a pool would hide the reason for half a minute."""
    if not (variable := external_database()):
        return
    import psycopg

    try:
        psycopg.connect(conninfo(Runner.__new__(Runner)), connect_timeout=5).close()
    except psycopg.Error as error:
        raise Fault(
            f"the database of {variable} can't be used: {str(error).strip()}\n"
            f"Mend {variable}, or unset it to use the embedded PostgreSQL."
        ) from None


def check_external_redis() -> None:
    urls = {"REDIS_URL": os.environ.get("REDIS_URL", ""), "CELERY_BROKER_URL": broker_url()}
    for variable, url in urls.items():
        url = url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
        if not url.startswith(("redis://", "rediss://", "unix://")):
            continue
        import redis

        try:
            redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5).ping()
        except (redis.RedisError, ValueError) as error:
            raise Fault(
                f"the server of {variable} can't be used: {error}\n"
                f"Mend {variable}, or unset it to use the embedded Valkey."
            ) from None
