"""Look-ups of names that end in time; the system's take no timeout."""

from __future__ import annotations

import socket
import threading
from queue import Empty, SimpleQueue

LOOK_UP_SECONDS = 3.0
# A look-up that hangs keeps a thread until the system gives up: half a minute, as a rule.
LOOK_UPS_AT_ONCE = 16
_free = threading.BoundedSemaphore(LOOK_UPS_AT_ONCE)
# Leaves out addresses of a kind that this machine has none of.
_FLAGS = getattr(socket, "AI_ADDRCONFIG", 0)


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises OSError, or TimeoutError after LOOK_UP_SECONDS.

    The system's look-up takes no timeout, so a thread of its own does it; too many that hang are
    as one that does.
    """
    free = _free
    if not free.acquire(timeout=LOOK_UP_SECONDS):
        raise TimeoutError
    answers: SimpleQueue[list[str] | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=_FLAGS)
            answers.put([str(address[0]) for *_, address in found])
        except OSError as error:
            answers.put(error)
        except UnicodeError:  # a name that the system takes for none
            answers.put(socket.gaierror(socket.EAI_NONAME, "no name"))
        finally:
            free.release()

    threading.Thread(target=ask, daemon=True, name=f"look up {host}").start()
    try:
        answer = answers.get(timeout=LOOK_UP_SECONDS)
    except Empty:
        raise TimeoutError from None
    if isinstance(answer, OSError):
        raise answer
    return answer
