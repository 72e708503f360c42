"""External servers: DATABASE_URL and REDIS_URL."""

import os
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pricebook.local.home import Fault
from pricebook.local.postgres import DATABASE, ROLE

# The databases of Valkey: broker, cache. A suite or a demo uses others than a running `up`.
BROKER, CACHE = 0, 1
# Options of django-environ in a DATABASE_URL, which libpq doesn't know.
DJANGO_OPTIONS = {
    "conn_max_age",
    "conn_health_checks",
    "atomic_requests",
    "autocommit",
    "disable_server_side_cursors",
}


def external_database() -> str:
    """The name of the variable that points to an external database; empty if none does."""
    return next((name for name in ("DATABASE_URL", "DB_HOST") if os.environ.get(name)), "")


def external_conninfo(database: str | None = None) -> str:
    """The external database for libpq. DATABASE_URL may say psql:// and hold options of Django."""
    if url := os.environ.get("DATABASE_URL"):
        parts = urlsplit(url)
        options = [pair for pair in parse_qsl(parts.query) if pair[0].lower() not in DJANGO_OPTIONS]
        parts = parts._replace(scheme="postgresql", query=urlencode(options))
        return urlunsplit(parts._replace(path=f"/{database}") if database else parts)
    if host := os.environ.get("DB_HOST"):
        from psycopg.conninfo import make_conninfo

        return make_conninfo(
            host=host,
            port=os.environ.get("DB_PORT") or None,
            dbname=database or os.environ.get("DB_NAME", DATABASE),
            user=os.environ.get("DB_USER", ROLE),
            password=os.environ.get("DB_PASS") or None,
        )
    return ""


def broker_url() -> str:
    """The external broker: its own variable, or database 0 of the server of REDIS_URL."""
    cache = os.environ.get("REDIS_URL", "")
    return os.environ.get("CELERY_BROKER_URL") or (numbered(cache, BROKER) if cache else "")


def numbered(url: str, number: int) -> str:
    """The URL of the server's database of that number, in each of the ways to write it."""
    if url.startswith("sentinel://"):
        *others, last = url.split(";")
        parts = urlsplit(last if "://" in last else f"sentinel://{last}")
        return ";".join([*others, urlunsplit(parts._replace(path=f"/{number}"))])
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        return urlunsplit(parts._replace(query=urlencode({**query, "db": number})))
    if parts.scheme == "redis+socket":
        return urlunsplit(parts._replace(query=urlencode({**query, "virtual_host": number})))
    return urlunsplit(parts._replace(path=f"/{number}"))


def check_external_database() -> None:
    """Connect once, without a pool, which would hide the reason of a failure for half a minute."""
    if not (variable := external_database()):
        return
    import psycopg

    try:
        psycopg.connect(external_conninfo(), connect_timeout=5).close()
    except psycopg.Error as error:
        raise Fault(
            f"the database of {variable} can't be used: {str(error).strip()}\n"
            f"Fix {variable}, or unset it to use the embedded PostgreSQL."
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
                f"Fix {variable}, or unset it to use the embedded Valkey."
            ) from None
