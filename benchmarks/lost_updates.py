"""No price is lost to two workers, overlapping changes and kill -9; the tutorial loses some.

The subscriptions of one service, two workers, price changes at random moments in bursts. After each
burst the queue drains, and the prices that differ from the rule are counted: they would stay wrong,
with the queue empty and no error anywhere.

- Pricebook: two real Celery workers; in each burst one is killed with -9 and started again
- the tutorial's way: `save()` puts a task for each subscription into the queue and then saves; a
  task reads, computes and saves the row; one task at a time for a subscription (celery-singleton's
  key: SET NX, kept until the task ends). Its two workers are threads here, on a real queue in
  Valkey, each with its own connection; they are not killed, because a kill leaves the key, and that
  row would never be repriced again. Pricebook's triggers are off for it.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from django.db import DatabaseError, connection, transaction
from django.db.models import F

from benchmarks import SERVICE, results
from benchmarks.scratch import copy_of_the_book, environment_of_the_book, say, scratch_book
from celery_app import app
from pricebook.local.valkey import find_binary
from services.models import Repricing, Service, Subscription

THEIRS, OURS = "the tutorial's way", "Pricebook"
BURST = 10  # changes before each drain
QUEUE = "subscriptions"


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[2_000], quick=[500], rounds=10)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen) | {"changes a round": BURST}
    figures = []
    for rows in chosen.rows:
        with scratch_book("lost_updates", rows):
            figures += measure(rows, chosen.rounds)
    results.table("Prices that differ from the rule after the queue has drained", figures)
    results.save("lost_updates", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    figures = []
    for name, variant in {THEIRS: tutorials_way, OURS: pricebook}.items():
        say(f"  {name}: {rounds} rounds of {BURST} changes")
        with copy_of_the_book(), a_valkey() as socket:
            service = Service.objects.earliest("pk")
            Subscription.objects.update(service=service)
            connection.close()
            wrong, seconds = variant(service, rounds, socket)
        if name == OURS and any(wrong):
            raise AssertionError(f"Pricebook left {wrong} prices wrong")
        figures.append(
            {
                "variant": name,
                "subscriptions": rows,
                "changes": BURST * rounds,
                "drains": rounds,
                "drains with wrong prices": sum(map(bool, wrong)),
                "wrong after a drain, mean %": 100 * sum(wrong) / len(wrong) / rows,
                "wrong, most %": 100 * max(wrong) / rows,
                "seconds": seconds,
            }
        )
    return figures


def rounds_of(
    rounds: int, change: Callable[[int], None], drain: Callable[[], None], fault: Callable[[], None]
) -> tuple[list[int], float]:
    """The wrong prices after each drain, and all seconds. Each variant gets the same changes."""
    chance = random.Random(2)
    began = time.monotonic()
    wrong = []
    for _ in range(rounds):
        strikes = chance.randrange(BURST)
        for number in range(BURST):
            change(chance.randrange(100, 1000))
            if number == strikes:
                fault()
            time.sleep(min(0.02 * chance.paretovariate(1.1), 0.5))
        drain()
        wrong.append(Subscription.objects.mispriced().count())
        say(f"  {wrong[-1]} wrong")
    return wrong, time.monotonic() - began


# --- Pricebook ----------------------------------------------------------------------------------


def pricebook(service: Service, rounds: int, socket: Path) -> tuple[list[int], float]:
    url = f"redis+socket://{socket}?virtual_host=0"
    broker = app.connection_for_write(url)  # the pool's may lead to the one of the user's book
    workers = [start_worker(number, url) for number in range(2)]

    def wake() -> None:
        with contextlib.suppress(Exception):  # a message may be lost: beat sends the next
            app.send_task("services.tasks.set_price", expires=2, connection=broker)

    def change(full_price: int) -> None:
        service.full_price = full_price
        service.save()
        wake()

    def kill_one() -> None:
        number = random.randrange(2)
        os.killpg(workers[number].pid, signal.SIGKILL)
        workers[number].wait()
        workers[number] = start_worker(number, url)

    def drain() -> None:
        while Repricing.objects.due().exists():
            wake()
            time.sleep(0.2)

    try:
        return rounds_of(rounds, change, drain, kill_one)
    finally:
        for worker in workers:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        broker.close()


def start_worker(number: int, broker: str) -> subprocess.Popen[bytes]:
    environment = environment_of_the_book() | {"CELERY_BROKER_URL": broker}
    command = [sys.executable, "-m", "celery", "-A", "celery_app.app", "worker"]
    command += ["--concurrency=2", f"--hostname=worker{number}@benchmark", "--loglevel=ERROR"]
    return subprocess.Popen(
        command,
        cwd=SERVICE,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


# --- The tutorial's way -------------------------------------------------------------------------


def tutorials_way(service: Service, rounds: int, socket: Path) -> tuple[list[int], float]:
    with connection.cursor() as cursor:
        for table in ("service", "plan", "subscription"):
            cursor.execute(f"ALTER TABLE services_{table} DISABLE TRIGGER USER")
    queue = redis.Redis(unix_socket_path=str(socket))
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(queue, stop)) for _ in range(2)]
    for thread in threads:
        thread.start()

    def change(full_price: int) -> None:
        # Service.save() of chapter 9: the tasks first, then the row.
        for pk in Subscription.objects.filter(service=service).values_list("pk", flat=True):
            delay(queue, pk)
        Service.objects.filter(pk=service.pk).update(full_price=full_price)

    def drain() -> None:
        while queue.llen(QUEUE) or any(True for _ in queue.scan_iter("singleton:*", count=10)):
            time.sleep(0.1)

    try:
        return rounds_of(rounds, change, drain, fault=lambda: None)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def delay(queue: Any, pk: int) -> None:
    if queue.set(f"singleton:{pk}", 1, nx=True):
        queue.rpush(QUEUE, pk)


def work(queue: Any, stop: threading.Event) -> None:
    """The loop of a worker: one task after the other."""
    while not stop.is_set():
        if message := queue.blpop([QUEUE], timeout=0.2):
            pk = int(message[1])
            try:
                set_price(pk)
            except DatabaseError as error:
                say(f"  a task failed: {error}")
            finally:
                queue.delete(f"singleton:{pk}")
    connection.close()


def set_price(subscription_id: int) -> None:
    """The tutorial's task: read, compute, save the whole row."""
    with transaction.atomic():
        subscription = Subscription.objects.annotate(
            computed=F("service__full_price")
            - F("service__full_price") * F("plan__discount_percent") / 100
        ).get(pk=subscription_id)
        fields = {
            field.attname: getattr(subscription, field.attname)
            for field in Subscription._meta.concrete_fields
            if not field.primary_key
        }
        fields["price"] = round(subscription.computed, 2)  # type: ignore[attr-defined]
        Subscription.objects.filter(pk=subscription_id).update(**fields)


@contextmanager
def a_valkey() -> Iterator[Path]:
    """Start a broker for this run; yields the path of its socket."""
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory) / "valkey.sock"
        server = subprocess.Popen(
            [find_binary(), "--port", "0", "--unixsocket", socket, "--save", ""],
            cwd=directory,
            stdout=subprocess.DEVNULL,
        )
        try:
            while not socket.exists():
                time.sleep(0.01)
            yield socket
        finally:
            server.kill()
            server.wait()
