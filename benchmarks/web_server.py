"""A site under the shipped web server, and the number of requests a second that it answers."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import SERVICE, results
from benchmarks.scratch import environment_of_the_book
from pricebook.local.programs import web_server
from pricebook.settings import WEB_THREADS

# Connections stay open: a worker accepts whichever it meets first, so with four connections one of
# two workers may get three of them, and the other idles for a third of the time.
CLIENTS = 16
OURS = "pricebook.asgi:application"


@contextmanager
def a_site(application: str, **variables: str) -> Iterator[int]:
    """Serve a site by granian with two workers and as many threads; yields its port.

    Ours is served as `./pricebook up` does it, another one as an application of WSGI. `variables`
    of the environment are its settings.
    """
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
    if application == OURS:
        command = web_server(application)
    else:
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", application]
        command += ["--workers", "2", "--blocking-threads", str(WEB_THREADS)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = environment_of_the_book() | {"DB_POOL": "1"} | variables
    environment["PYTHONPATH"] = os.pathsep.join([SERVICE, str(results.CHECKOUT)])
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{application} does not start") from None
                time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()


def get(port: int, address: str, headers: dict[str, str]) -> bytes:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", address, headers=headers)
    body = client.getresponse().read()
    client.close()
    return body


def rate(port: int, address: str, headers: dict[str, str], seconds: float) -> float:
    """The answers a second to clients that send again as soon as they have an answer.

    The clients use bare sockets, because the CPU that they use is taken from the servers.
    """
    lines = [f"GET {address} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join([*lines, "", ""]).encode()
    began = time.perf_counter()
    ends = began + seconds
    answered = [0] * CLIENTS
    wrong: list[str] = []

    def ask(number: int) -> None:
        with (
            socket.create_connection(("127.0.0.1", port), 30) as client,
            client.makefile("rb", 65_536) as answers,
        ):
            while time.perf_counter() < ends and not wrong:
                client.sendall(request)
                status, length = answers.readline(), 0
                while (line := answers.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                body = answers.read(length)
                if b" 200 " not in status or not body:
                    wrong.append(f"{status!r} {body[:300]!r}")
                answered[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(answered))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise AssertionError(f"{address}: {wrong[0]}")
    return sum(answered) / (time.perf_counter() - began)
