"""Chapters 8 to 10 with their queue: one Celery task a subscription, celery-singleton's lock.

It is an application of its own with Celery's defaults, as the document's is in effect (without a
namespace its `CELERY_*` settings are ignored): as many processes as there are cores, and a session
of the database for each task. celery-singleton's lock is written here (a key for a task and its
argument, SET NX when it is sent, deleted when it has ended); the package is not maintained.

The worker imports this module: `celery -A benchmarks.tutorial_queue worker`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from celery import Celery, Task

from benchmarks import SERVICE, results, tutorial_variants
from benchmarks.lost_updates import a_valkey
from benchmarks.scratch import environment_of_the_book

KEYS = "TUTORIAL_KEYS"  # where the singleton's keys are: of the worker's environment

app = Celery("service", set_as_current=False)


class Singleton(Task):
    """A task of which one runs at a time for an argument, unless a worker is killed."""

    abstract = True

    def apply_async(self, args: Any = None, *rest: Any, **options: Any) -> Any:
        if _valkey().set(f"singleton:{args[0]}", 1, nx=True):
            return super().apply_async(args, *rest, **options)
        return None

    def after_return(self, status: Any, value: Any, task_id: Any, args: Any, *rest: Any) -> None:
        _valkey().delete(f"singleton:{args[0]}")


@app.task(base=Singleton, ignore_result=True)
def set_price(subscription_id: int) -> None:
    tutorial_variants.set_price(subscription_id)


@app.task(base=Singleton, ignore_result=True)
def hello(to: str) -> None:
    pass


def reprice(subscription_ids: Iterable[int]) -> None:
    """Send a task for each id, as `save()` does, and wait until the last one has ended."""
    for subscription_id in subscription_ids:
        set_price.delay(subscription_id)
    while _is_busy():
        time.sleep(0.02)


def _is_busy() -> bool:
    return any(True for _ in _valkey().scan_iter("singleton:*", count=1000))


@contextmanager
def a_worker() -> Iterator[None]:
    """Start a worker on the book of Django's connection, with its own broker, until it is ready."""
    with a_valkey() as socket:
        ours = {"CELERY_BROKER_URL": f"redis+socket://{socket}", KEYS: str(socket)}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", __name__, "worker", "--loglevel=ERROR"],
            env=environment_of_the_book()
            | {
                "CONN_MAX_AGE": "0",  # Django's default
                "PYTHONPATH": os.pathsep.join([SERVICE, str(results.CHECKOUT)]),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            hello.delay("worker")
            while _is_busy():
                if worker.poll() is not None:
                    raise AssertionError("the tutorial's worker does not start")
                time.sleep(0.02)
            yield
        finally:
            worker.terminate()
            worker.wait()
            app._after_fork()  # type: ignore[attr-defined]  # forgets the pools
            _clients.clear()
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def _valkey() -> Any:
    """A client for each process: a worker's children are forked."""
    if os.getpid() not in _clients:
        _clients[os.getpid()] = redis.Redis(unix_socket_path=os.environ[KEYS])
    return _clients[os.getpid()]


_clients: dict[int, Any] = {}
