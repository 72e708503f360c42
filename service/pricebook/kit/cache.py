"""The cache: how values are stored, and what happens to a request when it is down."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import msgspec
from django.core.cache.backends import redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class JSONSerializer:
    """Cache values as JSON: with pickle, anyone who can write to the cache could run code."""

    def dumps(self, value: Any) -> int | bytes:
        # Plain integers stay plain, so that INCR works on them.
        if type(value) is int:
            return value
        return msgspec.json.encode(value)

    def loads(self, data: bytes) -> Any:
        return msgspec.json.decode(data)


class RedisCache(redis.RedisCache):
    """Django's Redis cache, except that a cache that is down or hangs acts as an empty one.

    After a failure this process does not use it for some seconds: a cache that hangs costs one
    request its timeout, not each. Only for values that can be computed again: a `set` may be lost.
    """

    PAUSE = 5.0  # seconds
    away_until: ClassVar[dict[tuple[str, ...], float]] = {}  # by server, for all threads

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self._try(lambda: super(RedisCache, self).get(key, default, version), default)

    def set(self, key: str, *args: Any, **kwargs: Any) -> None:
        self._try(lambda: super(RedisCache, self).set(key, *args, **kwargs), None)

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        return self._try(lambda: super(RedisCache, self).get_many(keys, version), {})

    def set_many(self, data: dict[Any, Any], *args: Any, **kwargs: Any) -> list[Any]:
        return self._try(
            lambda: super(RedisCache, self).set_many(data, *args, **kwargs), list(data)
        )

    def count(self, key: str, seconds: int, by: int = 1) -> tuple[int, int] | None:
        """Add to a counter that ends after so many seconds: its value, and the seconds left.

        None if the cache is away.
        """

        def call() -> tuple[int, int]:
            name = self.make_and_validate_key(key)
            client = self._cache.get_client(name, write=True)  # type: ignore[attr-defined]
            with client.pipeline() as together:
                together.set(name, 0, ex=seconds, nx=True).incrby(name, by).ttl(name)
                _, value, left = together.execute()
            return value, max(1, left)

        return self._try(call, None)

    def forget(self, key: str) -> None:
        """Delete a value, or leave it until it ends if the cache is away."""
        self._try(lambda: super(RedisCache, self).delete(key), None)

    def _try(self, call: Callable[[], Answer], otherwise: Answer) -> Answer:
        server = tuple(self._servers)  # type: ignore[attr-defined]
        if time.monotonic() < self.away_until.get(server, 0.0):
            return otherwise
        try:
            return call()
        except msgspec.DecodeError:  # another release's value
            return otherwise
        except RedisError as error:
            self.away_until[server] = time.monotonic() + self.PAUSE
            logger.warning("No cache for %s s: %s: %s", self.PAUSE, type(error).__name__, error)
            return otherwise
