"""The addresses of cache and broker: what each kind of server needs, from one variable each.

A value that can't be used is named, without its password.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from pricebook.variables import env

CACHES = ("redis", "rediss", "unix", "sentinel")
BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps")
SEVERAL = ("sentinel", "amqp", "amqps")  # may name several hosts, with semicolons between
TLS = ("rediss", "amqps")
VERIFIED = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
OF_SENTINEL = ("master_name", "sentinel_username", "sentinel_password")
# Seconds of one step of publishing. A message only wakes a worker, so a dead or hung broker may
# cost a request less than half a second.
HURRY = 0.15
# Seconds that a worker or beat waits for an answer of its broker. Without a limit it would wait for
# ever where none is to come and nobody says so: the host is gone, or the server hung and was
# replaced.
PATIENCE = 5


@dataclass(frozen=True)
class Server:
    """A cache or a broker: its address as the clients take it, and what they need besides."""

    url: str
    tls: dict[str, Any] | None = None  # of AMQP, as Celery's broker_use_ssl
    sentinel: dict[str, str] = field(default_factory=dict)  # see OF_SENTINEL

    @property
    def scheme(self) -> str:
        return self.url.split("://")[0]

    @property
    def is_amqp(self) -> bool:
        return self.scheme in ("amqp", "amqps")

    def options(self, seconds: float) -> dict[str, Any]:
        """Celery's broker_transport_options of those who wait so long for each step."""
        if self.is_amqp:
            # The broker confirms a message when most of its nodes have it.
            return {"confirm_publish": True, "patience": seconds, "write_timeout": seconds}
        found: dict[str, Any] = {
            # A message is delivered again after this many seconds; no task runs longer
            # (services/repricing/drain.py).
            "visibility_timeout": 300,
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
        }
        return found | self.by_sentinel(seconds)

    def by_sentinel(self, seconds: float) -> dict[str, Any]:
        """How Sentinels are asked for their master; nothing if there are none."""
        if not self.sentinel:
            return {}
        asked: dict[str, Any] = {
            name.removeprefix("sentinel_"): value
            for name, value in self.sentinel.items()
            if name != "master_name"
        }
        asked |= {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        # One that does not answer is not asked again: the next one is.
        asked["retry"] = Retry(NoBackoff(), 0)
        return {"master_name": self.sentinel["master_name"], "sentinel_kwargs": asked}

    def pool(self, seconds: float) -> dict[str, Any]:
        """The options by which Django's cache finds its server, if the address does not say it."""
        found = self.by_sentinel(seconds)
        return found | {"pool_class": "pricebook.kit.sentinel.Pool"} if found else {}


def server(name: str, default: str, schemes: tuple[str, ...] = BROKERS) -> Server:
    """The server that a variable names.

    `sentinel://` and `amqp://` may name several hosts with semicolons between; what one of them
    says of user, path and parameters is all of theirs.
    """
    url: str = env.str(name, default)
    if "://" not in url or (scheme := url.split("://")[0]) not in schemes:
        raise ImproperlyConfigured(
            f"{name} is no address that is known; it begins with one of"
            f" {', '.join(f'{each}://' for each in schemes)}."
        )
    if ";" in url and scheme not in SEVERAL:
        raise ImproperlyConfigured(
            f"{name}: {scheme}:// names one host. Several are for {', '.join(SEVERAL)}."
        )
    if scheme in SEVERAL:
        parts, query = _hosts(name, url, scheme)
    else:
        parts, query = [urlsplit(url)], dict(parse_qsl(urlsplit(url).query))
    if scheme in TLS:
        _check_tls(name, query)
    if scheme == "sentinel":
        return Server(_joined(parts, {}), sentinel=_of_sentinel(name, query))
    if scheme in ("amqp", "amqps"):
        known = ("ssl_cert_reqs", *FILES) if scheme == "amqps" else ()
        _refuse_others(name, query, known)
        return Server(_joined(parts, {}), tls=_tls_of_amqp(query) if scheme == "amqps" else None)
    return Server(_joined(parts, query) if scheme in TLS else url)


def _hosts(name: str, url: str, scheme: str) -> tuple[list[SplitResult], dict[str, str]]:
    """Each host's address, with what any of them says of user and path, and all parameters."""
    given = [each if "://" in each else f"{scheme}://{each}" for each in url.split(";")]
    found = [urlsplit(each) for each in given]
    user, path, query = "", "", dict[str, str]()
    for each in found:
        if each.scheme != scheme:
            raise ImproperlyConfigured(f"{name}: {scheme}:// and {each.scheme}:// don't mix.")
        try:
            each.port  # noqa: B018 - it is read for its error
        except ValueError:
            raise ImproperlyConfigured(
                f"{name}: the port of {each.hostname} is not known; it is 0 to 65535."
            ) from None
        if not each.hostname and (scheme == "sentinel" or len(found) > 1):
            raise ImproperlyConfigured(f"{name}: one of its {len(found)} hosts is empty.")
        user = user or each.netloc.rpartition("@")[0]
        path = each.path or path
        query |= parse_qsl(each.query, keep_blank_values=True)
    return [
        each._replace(
            netloc=f"{user}@{each.netloc.rpartition('@')[2]}" if user else each.netloc, path=path
        )
        for each in found
    ], query


def _joined(parts: list[SplitResult], query: dict[str, str]) -> str:
    text = urlencode(query, safe="/")
    return ";".join(urlunsplit(each._replace(query=text)) for each in parts)


def _check_tls(name: str, query: dict[str, str]) -> None:
    """How a server over TLS is verified: `required` if nothing is said.

    `ssl_cert_reqs` says it, in all of them: required (the default), optional or none; what it is
    verified by is in the file `ssl_ca_certs`, or are the authorities of the system.
    """
    given = query.setdefault("ssl_cert_reqs", "required")
    if given not in VERIFIED:
        raise ImproperlyConfigured(
            f"{name}: ssl_cert_reqs={given} is not known; it may be {', '.join(VERIFIED)}."
        )
    for file in FILES:
        if query.get(file) and not Path(query[file]).is_file():
            raise ImproperlyConfigured(f"{name}: {file}={query[file]} is no file.")


def _tls_of_amqp(query: dict[str, str]) -> dict[str, Any]:
    """TLS as an address has it, by the names that py-amqp has, which else verifies nobody."""
    wanted = VERIFIED[query["ssl_cert_reqs"]]
    use: dict[str, Any] = {"cert_reqs": wanted}
    if wanted != ssl.CERT_NONE:
        use["server_hostname"] = None  # that of each host: kit/amqp.py
    return use | {each.removeprefix("ssl_"): query[each] for each in FILES if each in query}


def _of_sentinel(name: str, query: dict[str, str]) -> dict[str, str]:
    if any(each.startswith("ssl_") for each in query):
        raise ImproperlyConfigured(
            f"{name}: sentinel:// is not spoken over TLS here. Fix: leave ssl_… out, or rediss://"
            " with one address that follows the master."
        )
    _refuse_others(name, query, OF_SENTINEL)
    if not query.get("master_name"):
        raise ImproperlyConfigured(
            f"{name}: master_name is missing. Fix: sentinel://host:26379/0?master_name=NAME, the"
            " name that `sentinel monitor` has."
        )
    return query


def _refuse_others(name: str, query: dict[str, str], known: tuple[str, ...]) -> None:
    if others := sorted(set(query) - set(known)):
        may_be = f"it may be {', '.join(known)}" if known else "there are none"
        raise ImproperlyConfigured(f"{name}: parameter {others[0]} is not known; {may_be}.")
