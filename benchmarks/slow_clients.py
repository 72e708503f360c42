"""Slow clients hold up nobody: 50 send a body of which one byte comes, 50 read nothing.

The example book is served in two ways, in turn:

- WSGI: granian reads the body, and writes the answer, in one of its few threads
- pricebook.front: as `./pricebook up` serves it

First come the requests a second of a list of 100, without slow clients. Then, beside them, one
client asks for the list, waiting at most WAITS seconds for each answer.
"""

import http.client
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks import results
from benchmarks.scratch import say, scratch_book
from benchmarks.web_server import OURS, a_site, rate

SITES = {"granian, WSGI": "pricebook.wsgi:application", "with pricebook.front": OURS}
SLOW = 50  # of each sort
ASKED, WAITS = 20, 2.0  # requests beside the slow clients; seconds
PAGE = "/api/subscriptions/?page_size=100"
BODY = b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nx"
STREAM = b"GET /api/subscriptions/?format=ndjson HTTP/1.1\r\nHost: localhost\r\n\r\n"
SETTINGS = {
    "OPEN_READS": "1",
    "STREAMS_AT_ONCE": "60",
    "STREAMS_OF_ONE_CALLER": "60",
    # Longer than a round: nobody is sent away, which would free what was held.
    "BODY_TIMEOUT": "300",
    "READER_TIMEOUT": "300",
}


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[30_000], quick=[10_000], rounds=3)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen) | {"slow bodies": SLOW, "slow readers": SLOW}
    figures: list[dict[str, Any]] = []
    for rows in chosen.rows:
        with scratch_book("slow_clients", rows):
            figures += measure(rows, chosen.rounds)
    results.table("A list of 100, alone and beside slow clients", figures)
    results.save("slow_clients", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    rates: dict[str, list[float]] = {name: [] for name in SITES}
    beside: dict[str, list[float]] = {name: [] for name in SITES}
    for number in range(rounds):
        for name, application in SITES.items():
            say(f"  round {number + 1}: {name}")
            with a_site(application, **SETTINGS) as port:
                rates[name].append(rate(port, PAGE, {}, 3))
                with slow_clients(port):
                    beside[name] += answers(port)
    return [
        {
            "served by": name,
            "rows": rows,
            "requests/s alone": statistics.median(rates[name]),
            "asked beside them": ASKED * rounds,
            "answered": len(beside[name]),
            "longest answer, ms": 1000 * max(beside[name]) if beside[name] else None,
        }
        for name in SITES
    ]


@contextmanager
def slow_clients(port: int) -> Iterator[None]:
    with ExitStack() as held:
        for sent in (BODY, STREAM) * SLOW:
            client = held.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(sent)
        time.sleep(2)  # all of them have what they can have
        yield


def answers(port: int) -> list[float]:
    """The seconds of each answer that came."""
    took = []
    for _ in range(ASKED):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=WAITS)
        began = time.perf_counter()
        try:
            client.request("GET", PAGE)
            if client.getresponse().read():
                took.append(time.perf_counter() - began)
        except OSError:
            pass
        finally:
            client.close()
    return took
