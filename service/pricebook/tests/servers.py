"""Servers and workers that a test may start, hang and kill; and waiting for what they do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from django.db import connection

from pricebook.local.valkey import find_binary
from pricebook.tests.scene import Part, scene

SERVICE = Path(__file__).parents[2]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until `condition()` holds; fail, and show the scene, if it doesn't in `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise out_of_time(seconds)
        time.sleep(0.005)


def out_of_time(seconds: float, *parts: Part) -> AssertionError:
    """The error to raise, which says which sessions there were and what each did last."""
    workers = [(str(worker), worker.last_words) for worker in Worker.of_this_test]
    return AssertionError(f"not within {seconds} s\n\n{scene([*parts, *workers])}")


class Valkey:
    """A Valkey server that a test may kill, hang and start again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "valkey.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def cache_url(self) -> str:
        return f"unix://{self.socket}?db=1"

    def start(self, *options: str) -> None:
        command: list[str | Path] = [
            find_binary(),
            "--port",
            "0",
            "--unixsocket",
            self.socket,
            "--save",
            "",
        ]
        # Its environment stays readable: a mark in it lets the launcher end servers left by a kill.
        command += ["--set-proc-title", "no", *options]
        self.process = subprocess.Popen(
            command,
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
        )
        until(self.socket.exists)

    def hang(self) -> None:
        """Stop answering; connections are still accepted (the kernel does that)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)

    @contextmanager
    def replaced_in_silence(self) -> Iterator[None]:
        """Another server in its place, while this one keeps its connections and answers no more.

        A client of a host that is down sees the same: nothing.
        """
        silent = self.process
        assert silent is not None
        self.hang()
        self.socket.unlink()
        self.start()
        try:
            yield
        finally:
            silent.kill()
            silent.wait()

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


def on_this_database() -> dict[str, str]:
    """The environment of a process that works on the test's database."""
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    database = connection.settings_dict
    return environment | {
        "DB_HOST": database["HOST"],
        "DB_NAME": database["NAME"],
        "DB_USER": database["USER"],
        "DB_PASS": database["PASSWORD"],
        "PGPORT": str(database["PORT"] or os.environ.get("PGPORT", "")),
        "DEBUG": "1",
    }


class Worker:
    """A real Celery worker, in a process group of its own, on the test's database and broker."""

    of_this_test: ClassVar[list["Worker"]] = []

    def __init__(
        self, name: str, log: Path, broker_url: str, pool: str = "prefork:2", **variables: str
    ) -> None:
        self.of_this_test.append(self)
        self.log = log
        environment = on_this_database() | {"CELERY_BROKER_URL": broker_url} | variables
        kind, count = pool.split(":")
        arguments = ["-A", "celery_app.app", "worker", f"--pool={kind}", f"--concurrency={count}"]
        # Alone in the broker: no gossip about workers that a test has killed.
        arguments += [f"--hostname={name}@tests", "--without-gossip", "--without-mingle"]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", *arguments, "--loglevel=INFO"],
                cwd=SERVICE,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __str__(self) -> str:
        status = self.process.poll()
        return f"{self.log.stem}, " + ("alive" if status is None else f"exit status {status}")

    def is_ready(self) -> bool:
        return self.says(" ready.") > 0

    def says(self, words: str) -> int:
        """How often the log has these words; fails if the worker is dead."""
        assert self.process.poll() is None, self.last_words()
        return self.log.read_text().count(words)

    def last_words(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """kill -9, its children too."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Beat:
    """A real beat, on the test's database and broker."""

    def __init__(self, log: Path, broker_url: str, **variables: str) -> None:
        self.log = log
        environment = on_this_database() | {"CELERY_BROKER_URL": broker_url} | variables
        command = ["-A", "celery_app.app", "beat", "--pidfile=", "--loglevel=INFO"]
        command += ["--schedule", str(log.with_suffix(".schedule"))]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", *command],
                cwd=SERVICE,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
