"""Ten endpoints are sent 20 events a second, one of them hangs, and lists are answered as before.

Subscriptions are written one by one: in turn one has another price, and another one an end. Each is
an event for nine receivers in a process of their own, and for one that takes it and never answers.
The worker of events is that of `./pricebook up`; it is woken each second, as by beat.

In turn, for as many seconds each: nothing is written; it is written, and nobody is told; it is
written and sent. All along one client asks for a list of 100, and again as soon as it has it and a
pause is over. Shown are the times from a commit to the arrivals, and those of the lists.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings
from django.db import connection

from benchmarks import SERVICE, results
from benchmarks.scratch import environment_of_the_book, outside, say, scratch_book
from benchmarks.web_server import OURS, a_site
from celery_app import app
from events.given import new_secret
from events.models import Derived, Endpoint
from pricebook.tests.servers import Valkey

A_SECOND, ENDPOINTS, SECONDS = 20, 10, 50.0
PAGE = "/api/subscriptions/?page_size=100"
PAUSE = 0.05
WAYS = ("idle", "written", "written and sent")
TO_LOOPBACK = "127.0.0.0/8"
# A price and an end by turns: two of one kind that are told together would be one event.
WRITES = (
    "UPDATE services_subscription SET price_state = 'negotiated', price = price + 1 WHERE id = %s",
    "UPDATE services_subscription SET ended_at = now() + interval '1 year' WHERE id = %s",
)


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[30_000], quick=[10_000], rounds=1)
    chosen = results.parse(parser, arguments)
    seconds = SECONDS / 5 if chosen.quick else SECONDS
    under = results.conditions(chosen) | {"events a second": A_SECOND, "seconds": seconds}
    figures: list[dict[str, Any]] = []
    for rows in chosen.rows:
        with scratch_book("webhooks", rows):
            figures += measure(rows, chosen.rounds, seconds)
    results.table("Lists, and events to nine endpoints beside one that hangs", figures)
    results.save("webhooks", chosen, under, figures)


def measure(rows: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    settings.WEBHOOKS_TO_PRIVATE = [ipaddress.ip_network(TO_LOOPBACK)]
    lists: dict[str, list[float]] = {way: [] for way in WAYS}
    took: list[float] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM services_subscription WHERE ended_at IS NULL ORDER BY id")
        ids = [id for (id,) in cursor.fetchall()]
    with a_site(OURS, OPEN_READS="1") as port, receivers() as (urls, arrived):
        for number in range(rounds):
            for way in WAYS[:: -1 if number % 2 else 1]:
                say(f"  round {number + 1}: {way}")
                written = [] if way == "idle" else ids[: round(A_SECOND * seconds)]
                del ids[: len(written)]
                if way == WAYS[-1]:
                    with a_worker(urls):
                        committed: dict[int, float] = {}
                        lists[way] += beside(port, seconds, written, committed)
                        took += until_all_are_there(committed, arrived)
                else:
                    lists[way] += beside(port, seconds, written, {})
    idle = percentile(lists["idle"], 99)
    return [
        {
            "while": way,
            "rows": rows,
            "lists": len(lists[way]),
            "list p50, ms": 1000 * percentile(lists[way], 50),
            "list p99, ms": 1000 * percentile(lists[way], 99),
            "× idle": percentile(lists[way], 99) / idle,
            "arrivals": len(took) if way == WAYS[-1] else 0,
            "arrival p50, s": percentile(took, 50) if way == WAYS[-1] else None,
            "arrival p99, s": percentile(took, 99) if way == WAYS[-1] else None,
        }
        for way in WAYS
    ]


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def beside(port: int, seconds: float, ids: list[int], committed: dict[int, float]) -> list[float]:
    """The seconds of each list that was answered while these were written, evenly."""
    ends = time.monotonic() + seconds
    writing = threading.Thread(target=write, args=(ids, seconds, committed))
    writing.start()
    took = []
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.monotonic() < ends:
        began = time.perf_counter()
        client.request("GET", PAGE)
        answer = client.getresponse()
        if not answer.read() or answer.status != 200:
            raise AssertionError(f"a list was answered with {answer.status}")
        took.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    client.close()
    writing.join()
    return took


def write(ids: list[int], seconds: float, committed: dict[int, float]) -> None:
    began = time.monotonic()
    with outside() as writer:
        for number, id in enumerate(ids):
            time.sleep(max(0.0, began + number * seconds / len(ids) - time.monotonic()))
            writer.execute(WRITES[number % 2].encode(), [id])
            committed[id] = time.monotonic()


@contextmanager
def a_worker(urls: list[str]) -> Iterator[None]:
    """The worker of events, ready, with an endpoint for each URL; and a message each second."""
    with TemporaryDirectory() as directory:
        valkey = Valkey(Path(directory))
        valkey.start()
        worker = start_worker(valkey.broker_url)
        broker = app.connection_for_write(valkey.broker_url)
        stop = threading.Event()

        def wake() -> None:
            while not stop.wait(1.0):
                with suppress(Exception):
                    app.send_task(
                        "events.tasks.tell_events",
                        expires=1,
                        connection=broker,
                        queue=settings.EVENTS_QUEUE,
                    )

        waking = threading.Thread(target=wake)
        waking.start()
        try:
            until_it_tells()
            for number, url in enumerate(urls):
                Endpoint.objects.create(
                    name=f"endpoint {number}",
                    url=url,
                    secret=new_secret(),
                    delivered_through=Derived.objects.values_list("number", flat=True).get(),
                )
            yield
        finally:
            Endpoint.objects.all().delete()
            stop.set()
            waking.join()
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            broker.close()
            valkey.kill()


def start_worker(broker: str) -> subprocess.Popen[bytes]:
    variables = {"CELERY_BROKER_URL": broker, "WEBHOOKS_TO_PRIVATE": TO_LOOPBACK}
    command = [sys.executable, "-m", "celery", "-A", "celery_app.app", "worker"]
    command += ["--queues", settings.EVENTS_QUEUE, "--pool=threads", "--concurrency=32"]
    return subprocess.Popen(
        [*command, "--hostname=events@benchmark", "--loglevel=ERROR"],
        cwd=SERVICE,
        env=environment_of_the_book() | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def until_it_tells() -> None:
    """Wait until all that was written before is an event, which takes a worker that is ready."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_happening (type, occurred_at, data)"
            " VALUES ('book_check.failed', now(), '{}')"
        )
        while True:
            cursor.execute("SELECT count(*) FROM events_happening")
            if cursor.fetchone() == (0,):
                return
            time.sleep(0.1)


def until_all_are_there(committed: dict[int, float], arrived: Connection) -> list[float]:
    """The seconds from each commit to each arrival; asserts that each came to all nine, once."""
    deadline = time.monotonic() + 60
    while True:
        arrived.send(None)
        came = [(id, at) for id, at in arrived.recv() if id in committed]
        if len(came) >= (ENDPOINTS - 1) * len(committed):
            break
        if time.monotonic() > deadline:
            raise AssertionError(f"{len(came)} of {(ENDPOINTS - 1) * len(committed)} have come")
        time.sleep(0.5)
    assert set(Counter(id for id, _ in came).values()) == {ENDPOINTS - 1}
    return [at - committed[id] for id, at in came]


# --- The receivers, in a process of their own -----------------------------------------------------


@contextmanager
def receivers() -> Iterator[tuple[list[str], Connection]]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=receive, args=(theirs,))
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        process.kill()
        process.join()


def receive(arrived: Connection) -> None:
    asyncio.run(serve(arrived))


async def serve(arrived: Connection) -> None:
    """Nine that note when an event came, until they are asked; and one that never answers."""
    came: list[tuple[int, float]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
                body = json.loads(await reader.readexactly(int(length)))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                at = time.monotonic()
                for item in body["data"].get("subscriptions") or ():
                    came.append((item["subscription"], at))
        writer.close()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    handlers = [take] * (ENDPOINTS - 1) + [hang]
    servers = [await asyncio.start_server(handler, "127.0.0.1", 0) for handler in handlers]
    arrived.send([f"http://127.0.0.1:{each.sockets[0].getsockname()[1]}/" for each in servers])

    def answer() -> None:
        arrived.recv()
        arrived.send(came)

    asyncio.get_running_loop().add_reader(arrived.fileno(), answer)
    await asyncio.gather(*(server.serve_forever() for server in servers))
