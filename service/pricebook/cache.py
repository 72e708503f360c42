"""How values lie in the cache."""

from typing import Any

import msgspec


class JSONSerializer:
    """Cache values as JSON: whoever can write to the cache must not thereby run code (pickle)."""

    def dumps(self, value: Any) -> int | bytes:
        # Plain integers stay plain, so that INCR works on them.
        if type(value) is int:
            return value
        return msgspec.json.encode(value)

    def loads(self, data: bytes) -> Any:
        return msgspec.json.decode(data)
