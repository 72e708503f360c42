"""The workers that are killed, each with an ambush in it; the web server is in `web.py`.

They are preloaded into a fork server, so that another victim costs a fork and no start of Django.
No production code leads here: only `waiting_at_points()` sets `POINT`, in these processes.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import django
from django.apps import apps

if not apps.ready:
    django.setup()

# The imports that a worker needs, once for all of them.
import celery.apps.worker
import celery.bin.celery
import celery.concurrency.solo
import celery.worker.components
import celery.worker.consumer
import celery.worker.strategy  # noqa: F401
from celery.signals import task_postrun, worker_ready
from django.db import connection

from celery_app import app
from price_changes.tests.kills.faults import FAULTS
from pricebook.kit import points
from services import repricing
from services.repricing import chunks

CHUNK = 9  # rows: a book of a hundred has many chunks
AT_ONCE = 40  # rows: of the sets some move at once, and some chunk by chunk
ROOM = 40  # rows: and two or three of them share a transaction


class Ambush:
    """A file that names a point: the first process to come there waits to be killed.

    `armed` has "point number", the number being that of the passing. `reached` names the process
    that waits; `go_on` lets it go on if another one was killed.
    """

    def __init__(self, directory: Path) -> None:
        self.armed = directory / "armed"
        self.reached = directory / "reached"
        self.go_on = directory / "go_on"

    def arm(self, point: str, number: int) -> None:
        self.go_on.unlink(missing_ok=True)
        self.reached.unlink(missing_ok=True)
        new = self.armed.with_suffix(".new")
        new.write_text(f"{number} {point}")
        new.replace(self.armed)

    def release(self) -> None:
        self.armed.unlink(missing_ok=True)
        self.reached.unlink(missing_ok=True)
        self.go_on.touch()

    def is_ready(self, worker: str) -> bool:
        return self.ready(worker).exists()

    def ready(self, worker: str) -> Path:
        return self.reached.with_name(f"ready.{worker}")

    def prey(self) -> str | None:
        """The name of the process that waits."""
        try:
            return self.reached.read_text()
        except FileNotFoundError:
            return None


def waiting_at_points(name: str, ambush: Ambush) -> Callable[[str], None]:
    passed: dict[tuple[int, str], int] = {}

    def at_point(point: str) -> None:
        try:
            stamp = ambush.armed.stat().st_mtime_ns
            number, _, wanted = ambush.armed.read_text().partition(" ")
        except FileNotFoundError:
            return
        if point != wanted:
            return
        passed[stamp, point] = passed.get((stamp, point), 0) + 1
        if passed[stamp, point] < int(number):
            return
        mine = ambush.reached.with_suffix(f".{name}")
        mine.write_text(name)
        try:
            os.link(mine, ambush.reached)
        except FileExistsError:
            return  # the other one waits already
        finally:
            mine.unlink()
        while not ambush.go_on.exists():
            time.sleep(0.005)

    return at_point


def become(name: str, ambush: Ambush, log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # Found by this name in pg_stat_activity, to be killed there.
    connection.settings_dict["OPTIONS"] = connection.settings_dict["OPTIONS"] | {
        "application_name": name
    }
    points.POINT = waiting_at_points(name, ambush)
    chunks.CHUNK, chunks.AT_ONCE = CHUNK, AT_ONCE
    chunks._room = lambda: ROOM


def work(name: str, ambush: Ambush, log: Path) -> None:
    """Run a Celery worker until it is killed."""
    become(name, ambush, log)
    # After the COMMIT, before the message is acknowledged.
    task_postrun.connect(lambda **kwargs: points.at_point("message not acknowledged"), weak=False)
    worker_ready.connect(lambda **kwargs: ambush.ready(name).touch(), weak=False)
    os.environ["CELERY_SKIP_CHECKS"] = "1"  # Django's, of views and admin: seconds
    options = ["--pool=solo", f"--hostname={name}@kills", "--loglevel=WARNING"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(["--quiet", "worker", *options])


def drain(name: str, ambush: Ambush, log: Path, fault: str) -> None:
    """Run a worker with a fault, which does the due work and ends."""
    become(name, ambush, log)
    sow = FAULTS[fault].in_worker
    assert sow is not None
    sow()
    repricing.reprice()
