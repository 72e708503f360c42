"""Connections of the cache to whichever server the Sentinels call the master."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.sentinel import Sentinel, SentinelConnectionPool

PORT = 26379


class Pool(SentinelConnectionPool):
    """A pool as Django's cache makes it, by an address: of Sentinels, with semicolons between.

    User, password and path are the master's. Each new connection asks the Sentinels, the one first
    that answered last.
    """

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Pool:
        name, of_sentinels = options.pop("master_name"), options.pop("sentinel_kwargs")
        parts = [urlsplit(each) for each in url.split(";")]
        hosts = [(str(each.hostname), each.port or PORT) for each in parts]
        first = parts[0]
        options["db"] = int(first.path.strip("/") or 0)
        if first.username:
            options["username"] = unquote(first.username)
        if first.password:
            options["password"] = unquote(first.password)
        asked = Sentinel(hosts, sentinel_kwargs=of_sentinels)  # type: ignore[no-untyped-call]
        return cls(name, asked, **options)
