"""A run of the launcher: the servers it uses, the processes it starts, and the end of them all."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pricebook.local.external import (
    BROKER,
    CACHE,
    broker_url,
    check_external_database,
    check_external_redis,
    external_conninfo,
    external_database,
    numbered,
)
from pricebook.local.home import Fault, Home
from pricebook.local.paths import MANAGE, SERVICE
from pricebook.local.postgres import DATABASE, ROLE, Postgres
from pricebook.local.processes import (
    MARK,
    STOPPING,
    Process,
    call_myself,
    end,
    foreground,
    held_signals,
    raise_on_signals,
    spawn,
)
from pricebook.local.programs import GUARD, Child, started_by, stop
from pricebook.local.valkey import Valkey

if TYPE_CHECKING:
    import psycopg


class Runner:
    """Running servers, and an environment in which Django finds them, for a `with` block.

    A run inside its block holds a lease on the servers of the home; the last one to leave stops
    them. A guard process does the leaving, so that it happens after a kill -9 too.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.postgres = Postgres(home)
        self.valkey = Valkey(home)
        self.children: list[Child] = []
        me = Process.of(os.getpid())
        self.mark = f"{home.digest}.{os.getpid()}.{me.started if me else 0}"

    # Entering and leaving -----------------------------------------------------------------------

    def __enter__(self) -> "Runner":
        self.home.make()
        raise_on_signals()
        self.lease = self.home.open_lease()
        self.pipe, self.guard = self.fork_guard()
        try:
            self.start_servers()
            check_external_database()
            check_external_redis()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        with held_signals():
            stop(self.children)
            os.close(self.pipe)
            _, status = os.waitpid(self.guard, 0)
            if status:  # somebody killed the guard
                self.leave()
            os.close(self.lease)

    def fork_guard(self) -> tuple[int, int]:
        """Start a process that outlives us: it leaves when its pipe closes, as we left or died.

        It shares our lease, so there is no moment in which nobody holds it.
        """
        ours, its = os.pipe()[::-1]
        if guard := os.fork():
            os.close(its)
            return ours, guard
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
            os.setsid()
            call_myself(GUARD)
            for descriptor in map(int, os.listdir("/proc/self/fd")):
                if descriptor not in (its, self.lease):
                    # The caller's pipes too: a reader of our output waits for their end.
                    with contextlib.suppress(OSError):
                        os.close(descriptor)
            for standard in range(3):
                os.open(os.devnull, os.O_RDWR)
                assert standard not in (its, self.lease)
            os.read(its, 1)
            self.leave()
            status = 0
        finally:
            os._exit(status)

    def leave(self) -> None:
        """End the processes that this run started, and the servers if nobody else holds a lease."""
        end(started_by(self.mark), 15)
        with self.home.lock():
            try:
                fcntl.flock(self.lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            stop_servers(self.home)

    def embedded(self) -> "list[Postgres | Valkey]":
        """The embedded servers that are used, because no external one is given."""
        servers: list[Postgres | Valkey] = []
        if not external_database():
            servers.append(self.postgres)
        if not (os.environ.get("REDIS_URL") and broker_url()):
            servers.append(self.valkey)
        return servers

    def start_servers(self) -> None:
        """Start the embedded servers that don't run, whoever started or killed them before."""
        with held_signals(), self.home.lock():
            fcntl.flock(self.lease, fcntl.LOCK_SH)
            for server in self.embedded():
                if not server.data.exists():
                    print(f"pricebook: making {server.name} ready (once)", file=sys.stderr)
                server.start()

    # Running programs ---------------------------------------------------------------------------

    def environment(
        self, *, database: str | None = None, broker: int = BROKER, cache: int = CACHE
    ) -> dict[str, str]:
        """The environment in which Django finds the servers.

        `database` names another database on the same server, `broker` and `cache` other numbered
        databases of Valkey; external servers are used as given, with these names and numbers.
        """
        environment = dict(os.environ)
        environment |= {
            MARK: self.mark,
            "PRICEBOOK_HOME": str(self.home.path),
            "PYTHONPATH": str(SERVICE),
            "DJANGO_SETTINGS_MODULE": "pricebook.settings",
        }
        if not environment.get("SECRET_KEY"):
            environment["SECRET_KEY"] = self.home.secret_key()
        if url := environment.get("DATABASE_URL"):
            if database:
                environment["DATABASE_URL"] = urlsplit(url)._replace(path=f"/{database}").geturl()
        elif environment.get("DB_HOST"):
            if database:
                environment["DB_NAME"] = database
        else:
            for name in list(environment):
                if re.fullmatch("PG[A-Z]+", name):  # libpq would follow them elsewhere
                    del environment[name]
            environment["DB_HOST"] = str(self.home.sockets)
            environment["DB_NAME"] = database or DATABASE
            environment["DB_USER"] = ROLE
            environment["DB_PASS"] = ""
        if url := environment.get("REDIS_URL"):
            environment["REDIS_URL"] = numbered(url, cache) if cache != CACHE else url
        else:
            environment["REDIS_URL"] = self.valkey.cache_url(cache)
        if url := broker_url():
            changed = broker != BROKER and not url.startswith("amqp")
            environment["CELERY_BROKER_URL"] = numbered(url, broker) if changed else url
        else:
            environment["CELERY_BROKER_URL"] = self.valkey.broker_url(broker)
        return environment

    def connect(self, database: str | None = None) -> "psycopg.Connection[Any]":
        """A connection of the application's role, in autocommit, to its own or another database."""
        import psycopg

        return psycopg.connect(conninfo(self, database), autocommit=True)

    def foreground(
        self,
        command: list[str],
        environment: dict[str, str] | None = None,
        patience: float | None = None,
    ) -> int:
        """Run a command on our own standard input and outputs; see `processes.foreground`."""
        return foreground(command, environment or self.environment(), patience)

    def manage(
        self, *arguments: str, environment: dict[str, str] | None = None, input: str = ""
    ) -> str:
        """Run manage.py to its end and return its standard output; Fault if it fails."""
        process = spawn(
            [*MANAGE, *arguments],
            environment or self.environment(),
            with_parent=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said = process.communicate(input.encode())
        output, errors = (text.decode(errors="replace") for text in said)
        if process.returncode:
            raise Fault(f"manage.py {arguments[0]} failed:\n{(output + errors).strip()}")
        return output

    def wait(self) -> None:
        """Keep everything running until a signal; ends with Interrupted."""
        while True:
            signal.pause()

    def start(
        self,
        name: str,
        environment: dict[str, str] | None = None,
        *,
        output: int | None = None,
        port: int = 8000,
    ) -> "Child":
        """Start one of `programs()` in a process group of its own; see Child.

        It writes to log/NAME.log of the home, or to the file descriptor `output`.
        """
        return Child(
            self.home, name, environment or self.environment(), output=output, port=port
        ).keep_in(self.children)


def stop_servers(home: Home) -> None:
    """Stop the servers; only while holding the home's lock."""
    Postgres(home).stop()
    Valkey(home).stop()
    home.remove_sockets()


def conninfo(runner: Runner, database: str | None = None) -> str:
    """The connection string for libpq: of the external database, or of the embedded one."""
    return external_conninfo(database) or runner.postgres.conninfo(database=database or DATABASE)
