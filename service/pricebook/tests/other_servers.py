"""A streaming standby of the suite's server, and PgBouncer before it, for the tier `hosts`."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
from django.conf import settings

from pricebook.local.postgres import SUPERUSER, clean_environment, find_binaries, unprivileged
from pricebook.tests.servers import until

PGBOUNCER = next(
    (
        path
        for path in ("/usr/sbin/pgbouncer", shutil.which("pgbouncer"))
        if path and Path(path).exists()
    ),
    None,
)


def at_server(host=None, database="postgres"):
    """A superuser's session with a server; if no host is given, with the suite's."""
    host = host or settings.DATABASES["default"]["HOST"]
    return psycopg.connect(host=host, port=5432, user=SUPERUSER, dbname=database, autocommit=True)


class _Server:
    process: "subprocess.Popen[bytes] | None" = None

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "log"

    def run(self, *command: object, **variables: str) -> None:
        prefix, _ = unprivileged()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *map(str, command)],
                env=clean_environment() | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, how: int = signal.SIGINT) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, how)
            self.process.wait(20)
            self.process = None


class Standby(_Server):
    """A hot standby that streams from the suite's server; its socket is in `directory`."""

    def make(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        backup = [find_binaries() / "pg_basebackup", "-D", self.data, "-R", "-X", "stream"]
        backup += ["-c", "fast", "-h", settings.DATABASES["default"]["HOST"], "-U", SUPERUSER]
        subprocess.run([*map(str, backup)], check=True, capture_output=True)
        # The suite's server is started with options, which the standby must not be below.
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write(
                "listen_addresses = ''\nfsync = off\nmax_standby_streaming_delay = 200ms\n"
                f"unix_socket_directories = '{self.directory}'\nshared_buffers = 32MB\n"
                "wal_retrieve_retry_interval = 200ms\nhot_standby_feedback = off\njit = off\n"
                "timezone = 'UTC'\n"
            )

    def start(self, **variables: str) -> None:
        self.run(find_binaries() / "postgres", "-D", self.data, **variables)
        until(self.answers, 30)

    def answers(self) -> bool:
        try:
            with self.session() as session:
                session.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def session(self):
        return at_server(str(self.directory))

    def do(self, statement: str) -> object:
        with self.session() as session:
            row = session.execute(statement).fetchone()
        return row[0] if row else None


class PgBouncer(_Server):
    """PgBouncer before the suite's server, on a socket in `directory`."""

    def start(self, pool_mode: str, **more: object) -> None:
        """With so many sessions in each pool as `default_pool_size` says."""
        own = settings.DATABASES["default"]
        said = {
            "listen_addr": "",
            "listen_port": 6432,
            "unix_socket_dir": self.directory,
            "auth_type": "any",
            "pool_mode": pool_mode,
            "default_pool_size": 4,
            "server_check_delay": 0,
        } | more
        ini = self.directory / "pgbouncer.ini"
        ini.write_text(
            f"[databases]\n* = host={own['HOST']} port=5432 user={own['USER']}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in said.items())
        )
        self.run(PGBOUNCER, ini)
        deadline = time.monotonic() + 10
        while not (self.directory / ".s.PGSQL.6432").exists():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)
