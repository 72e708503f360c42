"""The programs that `up` runs beside the servers: the web server, workers, beat and Flower."""

import contextlib
import http.client
import os
import signal
import subprocess

from pricebook.local.home import Fault, Home
from pricebook.local.paths import PYTHON, SERVICE
from pricebook.local.postgres import open_log
from pricebook.local.processes import Process, exit_code, marked, spawn, until

GUARD = "pricebook-guard"
# The directory of the times of requests and tasks (seeing/measured.py): one for all processes of a
# host, but not for Flower, which would write metrics of its own there.
TIMES = "PROMETHEUS_MULTIPROC_DIR"


class Child:
    """A long-running process of Django's."""

    def __init__(
        self, home: Home, name: str, environment: dict[str, str], *, output: int | None, port: int
    ) -> None:
        self.name = name
        self.port = port
        self.environment = environment
        self.log = home.logs / f"{name}.log"
        command, extra = programs(home, port, environment)[name]
        log = None if output is not None else open_log(self.log)
        self.process = spawn(
            command,
            {**environment, **extra},
            with_parent=True,
            cwd=SERVICE,
            stdin=subprocess.DEVNULL,
            stdout=log or output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if log:
            log.close()

    def keep_in(self, children: "list[Child]") -> "Child":
        children.append(self)
        return self

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        status = self.process.poll()
        return None if status is None else exit_code(status)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        stop([self])

    def wait_until_answers(self, seconds: float = 60) -> None:
        """Wait until the web server answers HTTP, or the worker a ping; Fault if it doesn't."""
        if self.name == "web":
            answered = until(lambda: self.exit_code is not None or answers_http(self.port), seconds)
        else:
            ping = [*PYTHON, "-m", "pricebook.local.ping", worker_name(self.name), str(seconds)]
            done = subprocess.run(ping, env=self.environment, capture_output=True, cwd=SERVICE)
            answered = done.returncode == 0
        if not answered or self.exit_code is not None:
            raise Fault(f"{self.name} does not answer; its log is {self.log}")


def programs(
    home: Home, port: int, environment: dict[str, str]
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The programs that `up` runs: their commands, and their own variables of the environment."""
    celery = [*PYTHON, "-m", "celery", "-A", "celery_app.app", "--quiet"]
    schedule = home.run / "celerybeat-schedule"
    times = {TIMES: environment.get(TIMES) or str(home.run / "times")}

    quiet = dict(times)
    if os.geteuid() == 0:  # all of this is on loopback, and takes JSON only
        quiet["PYTHONWARNINGS"] = "ignore:You're running the worker with superuser"

    def worker(name: str, *more: str) -> list[str]:
        options = ["--hostname", worker_name(name), *(more or ("--concurrency", "2"))]
        # Not info: the sweeps would fill the screen with lines, every two seconds.
        options += ["--loglevel", "warning"]
        return [*celery, "worker", *options]

    # Its threads wait for receivers most of the time; it starts as many as it needs.
    events = ["--queues", f"{environment.get('CELERY_QUEUE', 'pricebook')}-events"]
    events += ["--pool", "threads", "--concurrency", "32"]
    web = [*web_server("pricebook.asgi:application"), "--host", "127.0.0.1", "--port", str(port)]
    flower = [*celery, "flower", "--address=127.0.0.1", f"--port={port + 1}"]
    flower.append("--conf=pricebook/flower_config.py")
    return {
        "web": (web, {"DB_POOL": "1"} | times),
        "worker": (worker("worker"), quiet),
        "worker2": (worker("worker2"), quiet),
        "events": (worker("events", *events), quiet),
        "beat": ([*celery, "beat", "--schedule", str(schedule), "--pidfile="], {}),
        # It warns of every worker that it meets before it has finished starting.
        "flower": (flower, {"LOG_LEVEL": "ERROR"}),
    }


def web_server(application: str) -> list[str]:
    """The command of the web server; where it listens is to be added.

    HTTP/1 alone: while it would wait to see which version comes, no timeout runs.
    """
    command = [*PYTHON, "-m", "granian", application, "--interface", "asginl", "--http", "1"]
    command.append("--no-ws")
    return [*command, "--workers", "2", "--respawn-failed-workers", "--workers-kill-timeout", "10"]


def worker_name(name: str) -> str:
    return f"{name}@{os.uname().nodename}"


def started_by(mark: str) -> list[Process]:
    """The live processes that a run with this mark has started, to be ended.

    Guards of runs within it are left out: they end by themselves, when they have stopped their
    servers, and a guard that was killed would leave these behind.
    """
    return [process for process in marked(mark) if process.name != GUARD]


def stop(children: list[Child]) -> None:
    """Ask all of them to finish, and kill those that haven't after 15 seconds."""
    for child in children:
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGCONT)
    if not until(lambda: all(child.exit_code is not None for child in children), 15):
        for child in children:
            child.signal(signal.SIGKILL)
            child.process.wait()
    children.clear()


def answers_http(port: int) -> bool:
    # Not urllib: it would ask the proxy of the environment for our own machine.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return bool(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
