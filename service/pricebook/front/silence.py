"""Ends connections whose client takes nothing of what was sent to it.

The web server has no limit for that, and a stream that was ended here leaves what the kernel holds
for it. The kernel has one, TCP_USER_TIMEOUT, which a listening socket hands on to its connections.
"""

from __future__ import annotations

import contextlib
import os
import socket

LISTENED_TO = "/proc/self/fd"


def end_silent_connections(seconds: float) -> int:
    """Let the kernel end connections that accept no bytes for so long; how many sockets listen.

    Only for connections to come. A proxy on a Unix socket is trusted to read.
    """
    listening = 0
    with contextlib.suppress(OSError):
        for name in os.listdir(LISTENED_TO):
            with contextlib.suppress(OSError), _socket_of(int(name)) as found:
                if found.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    milliseconds = round(seconds * 1000)
                    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
                    listening += 1
    return listening


def _socket_of(descriptor: int) -> socket.socket:
    """A socket of its own upon a descriptor; OSError, and nothing is left, if that is no socket."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
