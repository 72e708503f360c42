"""The environ of WSGI for a request of ASGI."""

from __future__ import annotations

import sys
from typing import IO, Any
from urllib.parse import unquote_to_bytes

Scope = dict[str, Any]


def announced_length(scope: Scope) -> int | None:
    """The Content-Length; None without one, and where Transfer-Encoding overrules it."""
    length = None
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = int(value) if value.isdigit() and len(value) < 20 else None
    return length


def may_have_body(scope: Scope) -> bool:
    """Whether a body may follow: HTTP/1 announces one, HTTP/2 doesn't have to."""
    if scope["http_version"] not in ("1", "1.0", "1.1"):
        return True
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def environ_of(scope: Scope, body: IO[bytes], length: int) -> dict[str, Any]:
    """The environ, with a body that is there already: chunked ones have a length now, like others.

    Names with an underscore are left out, because they would pass for those with a hyphen.
    """
    host, port = scope.get("server") or ("localhost", None)
    version = scope["http_version"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{'1.0' if version == '1' else version}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 80),
        "REMOTE_ADDR": (scope.get("client") or ("",))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name or (raw_name == b"host" and not raw_value):
            continue  # (granian gives a request of HTTP/1.0 an empty one)
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        value = raw_value.decode("latin-1")
        if name == "CONTENT_TYPE":
            environ[name] = value
        elif name not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            key = f"HTTP_{name}"
            separator = "; " if name == "COOKIE" else ","
            environ[key] = f"{environ[key]}{separator}{value}" if key in environ else value
    if length or announced_length(scope) is not None:
        environ["CONTENT_LENGTH"] = str(length)
    return environ
