"""`up`: web, workers, beat and Flower in the foreground; `down`: stops all of it."""

import contextlib
import fcntl
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pricebook.local.external import external_database
from pricebook.local.home import Fault, Home, write_secret
from pricebook.local.postgres import Postgres
from pricebook.local.processes import Interrupted, Process, end, every_process
from pricebook.local.programs import GUARD, Child, answers_http, started_by
from pricebook.local.runner import Runner, stop_servers
from pricebook.local.suite import suite_homes
from pricebook.local.valkey import Valkey

NAMES = ("web", "worker", "worker2", "events", "beat", "flower")
COLOURS = dict(zip(NAMES, (36, 32, 92, 34, 33, 35), strict=True))
LONGEST_PAUSE = 30  # seconds between two starts of a process that keeps dying
SETTLED = 60  # seconds of running after which the pause is the shortest again
STOP_SECONDS = 15
LOOK_SECONDS = 2  # between two looks at the servers


def up(arguments: list[str]) -> int:
    no_arguments("up", arguments)
    home = Home.from_environment()
    home.make()
    port = port_from_environment()
    with the_only_one(home):
        # After a kill -9 of the last run, its guard may still be busy: don't wait for it.
        end(started_by(f"{home.digest}."), STOP_SECONDS)
        for number in (port, port + 1):
            if port_is_taken(number):
                raise Fault(f"port {number} is taken: choose another with --port N (it takes N+1)")
        with reserve(port), Runner(home) as runner:
            say("migrating")
            runner.manage("migrate", "--verbosity=0")
            say_zone_rules(runner)
            credentials = make_credentials(runner)
            return Supervisor(runner, port, credentials).run()


def say_zone_rules(runner: Runner) -> None:
    """Print whether PostgreSQL reads local times as we do; nothing of ours depends on it."""
    try:
        say(runner.manage("zone_rules").strip())
    except Fault as fault:
        say(str(fault).splitlines()[-1])


def down(arguments: list[str]) -> int:
    no_arguments("down", arguments)
    home = Home.from_environment()
    did = []
    if home.path.exists():
        servers = [server.name for server in (Postgres(home), Valkey(home)) if server.running()]
        for launcher, command in launchers(home).items():
            end([launcher], 2 * STOP_SECONDS)
            did.append(f"./pricebook {command} (process {launcher.pid})")
        homes = [home, *suite_homes(home)]
        orphans = [process for each in homes for process in started_by(f"{each.digest}.")]
        if orphans:
            end(orphans, STOP_SECONDS)
            did.append(f"{len(orphans)} orphaned process{'es' if len(orphans) > 1 else ''}")
        for each in homes:
            each.make()
            with each.lock():
                stop_servers(each)
        did += servers
    print(f"stopped: {', '.join(did)}" if did else f"nothing runs for {home.path}")
    return 0


def no_arguments(command: str, arguments: list[str]) -> None:
    if arguments:
        print(f"pricebook: {command} takes no {arguments[0]}", file=sys.stderr)
        raise SystemExit(2)


def say(message: str) -> None:
    print(f"pricebook | {message}", flush=True)


def is_empty(runner: Runner) -> bool:
    with runner.connect() as connection:
        found = connection.execute("SELECT EXISTS (SELECT FROM services_subscription)").fetchone()
    return found == (False,)


def port_from_environment() -> int:
    return int(os.environ.get("PRICEBOOK_PORT") or 8000)


def reserve(port: int) -> socket.socket:
    """Reserve a port on loopback for our web server while the socket is open; Fault if it is taken.

    Granian binds it seconds later and shares it with any socket that allows it (SO_REUSEPORT). In
    between another launcher would find it free, and requests for one would reach the other's
    server.
    """
    held = socket.socket()
    # As the servers do: the remains of closed connections don't count.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", port))
    except OSError:
        held.close()
        raise Fault(f"port {port} is taken: choose another with --port N") from None
    # It was bound alone; from here on it lets granian in, but nobody's probe.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held


def port_is_taken(port: int) -> bool:
    try:
        reserve(port).close()
    except Fault:
        return True
    return False


def launchers(home: Home) -> dict[Process, str]:
    """Other runs of the launcher for this home, with their commands; without their guards."""
    wanted = b"\0PRICEBOOK_HOME=" + bytes(home.path) + b"\0"
    found = {}
    for process in every_process():
        match process.arguments:
            case [_, "-P", "-m", "pricebook.local", command, *_]:
                running = command not in ("down", "doctor") and process.name != GUARD
                if running and wanted in process.environment:
                    found[process] = command
    return found


# Only one `up` for each home ---------------------------------------------------------------------


def status_file(home: Home) -> Path:
    return home.run / "up.json"


@contextlib.contextmanager
def the_only_one(home: Home) -> Iterator[None]:
    descriptor = os.open(home.path / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        first = status(home)
        where = (
            f"process {first['pid']}, http://127.0.0.1:{first['port']}/"
            if first
            else "it is still starting"
        )
        raise Fault(
            f"up runs already for {home.path}: {where}. To stop it: ./pricebook down"
        ) from None
    try:
        yield
    finally:
        status_file(home).unlink(missing_ok=True)
        os.close(descriptor)


def status(home: Home) -> dict:
    """The status that the running `up` has written: pid, port, children; empty if none runs."""
    try:
        found: dict = json.loads(status_file(home).read_text())
    except (OSError, ValueError):
        return {}
    return found if Process(found["pid"], found["started"]).alive else {}


# Credentials -------------------------------------------------------------------------------------


def make_credentials(runner: Runner) -> dict[str, str]:
    """The admin's password, Flower's too, and an API key: made and printed on the first run.

    To get new ones, remove the file.
    """
    path = runner.home.credentials
    with contextlib.suppress(FileNotFoundError):
        return dict(line.split(": ", 1) for line in path.read_text().splitlines())
    password = secrets.token_urlsafe(15)
    # In an external database that has a superuser, the users are left as they are.
    options = ["--unless-superuser"] if external_database() else []
    key = runner.manage("create_credentials", *options, input=password).strip()
    made = {"user": "admin", "password": password, "api key": key or "none made: see the admin"}
    text = "\n".join(f"{name}: {value}" for name, value in made.items())
    write_secret(path, text)
    say(f"made once, and kept in {path}:")
    for line in text.splitlines():
        say(f"  {line}")
    return made


# Supervision -------------------------------------------------------------------------------------


@dataclass
class Watched:
    """A supervised process: where its output comes from, and when it may start again."""

    name: str
    child: Child | None = None
    output: int = -1
    text: bytes = b""
    started: float = 0
    pause: float = 1
    due: float = field(default_factory=time.monotonic)


class Supervisor:
    def __init__(self, runner: Runner, port: int, credentials: dict[str, str]) -> None:
        self.runner = runner
        self.port = port
        self.environment = runner.environment() | {
            "PYTHONUNBUFFERED": "1",
            "FLOWER_URL": f"http://127.0.0.1:{port + 1}/",
            # In the environment, because anybody can read arguments with ps.
            "FLOWER_BASIC_AUTH": f"{credentials['user']}:{credentials['password']}",
        }
        # Counts begin anew with a run; those of a process that is started again go on.
        shutil.rmtree(runner.home.run / "times", ignore_errors=True)
        self.watched = [Watched(name) for name in NAMES]
        self.servers_due = time.monotonic() + LOOK_SECONDS
        self.servers_pause = 1.0
        self.status_is_written = True
        self.selector = selectors.DefaultSelector()
        self.colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def run(self) -> int:
        """Run until a signal; then stop all, and return 0 as the exit code."""
        try:
            self.start_what_is_due()
            while not answers_http(self.port):
                self.turn()
            self.welcome()
            while True:
                self.turn()
        except (Interrupted, BrokenPipeError):
            with contextlib.suppress(BrokenPipeError):
                self.stop()
            return 0

    def turn(self, seconds: float = 0.25) -> None:
        """Pass on what the processes print, and start again those that have died."""
        for key, _ in self.selector.select(seconds):
            self.read(key.data)
        for watched in self.watched:
            if watched.child and (code := watched.child.exit_code) is not None:
                self.bury(watched)
                if time.monotonic() - watched.started > SETTLED:
                    watched.pause = 1
                watched.due = time.monotonic() + watched.pause
                say(f"{watched.name} ended with {code}; starts again in {watched.pause:.0f} s")
                watched.pause = min(watched.pause * 2, LONGEST_PAUSE)
        self.start_what_is_due()
        if time.monotonic() > self.servers_due:
            self.look_at_servers()
            if not self.status_is_written:
                self.write_status()

    def look_at_servers(self) -> None:
        """Start the servers again that have ended. One that can't start is tried again, for ever:
        a disk that is full has room some day, and the others are of use meanwhile.
        """
        pause = float(LOOK_SECONDS)
        for server in self.runner.embedded():
            if server.running():
                continue
            say(f"{server.name} has ended; starting it again")
            try:
                self.runner.start_servers()
            except Exception as error:  # of the launcher, the disk, or the database
                pause = self.servers_pause = min(self.servers_pause * 2, LONGEST_PAUSE)
                say(f"{error}\npricebook | it is tried again in {pause:.0f} s")
            else:
                self.servers_pause = 1.0
        self.servers_due = time.monotonic() + pause

    def start_what_is_due(self) -> None:
        for watched in self.watched:
            if not watched.child and time.monotonic() >= watched.due:
                watched.output, its = os.pipe()
                os.set_blocking(watched.output, False)
                watched.started = time.monotonic()
                watched.child = self.runner.start(
                    watched.name, self.environment, output=its, port=self.port
                )
                os.close(its)
                self.selector.register(watched.output, selectors.EVENT_READ, watched)
                self.write_status()

    def write_status(self) -> None:
        me = Process.of(os.getpid())
        text = json.dumps(
            {
                "pid": os.getpid(),
                "started": me.started if me else 0,
                "port": self.port,
                "children": {
                    watched.name: watched.child.process.pid
                    for watched in self.watched
                    if watched.child
                },
            }
        )
        path = status_file(self.runner.home)
        new = path.with_suffix(".new")
        try:
            new.write_text(text)
            new.replace(path)
        except OSError as error:
            if self.status_is_written:
                say(f"can't write {path}: {error.strerror}; doctor knows no processes meanwhile")
            self.status_is_written = False
        else:
            self.status_is_written = True

    def read(self, watched: Watched) -> None:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(watched.output, 65536):
                *lines, watched.text = (watched.text + chunk).split(b"\n")
                for line in lines:
                    self.print(watched.name, line)

    def print(self, name: str, line: bytes) -> None:
        prefix = f"{name:9} |"
        if self.colours:
            prefix = f"\033[{COLOURS[name]}m{prefix}\033[0m"
        print(prefix, line.decode(errors="replace").rstrip("\r"), flush=True)

    def bury(self, watched: Watched) -> None:
        """Read the last output of a dead process, and kill what it left in its process group."""
        assert watched.child
        watched.child.signal(signal.SIGKILL)
        self.read(watched)
        if watched.text:
            self.print(watched.name, watched.text)
            watched.text = b""
        self.selector.unregister(watched.output)
        os.close(watched.output)
        self.runner.children.remove(watched.child)
        watched.child = None

    def stop(self) -> None:
        """Ask all to finish, still passing on what they print: a full pipe would block them."""
        say("stopping (Ctrl-C again: at once)")
        for child in self.runner.children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        try:
            while self.runner.children and time.monotonic() < deadline:
                for key, _ in self.selector.select(0.1):
                    self.read(key.data)
                for watched in self.watched:
                    if watched.child and watched.child.exit_code is not None:
                        self.bury(watched)
        except Interrupted:
            for child in self.runner.children:
                child.signal(signal.SIGKILL)

    def welcome(self) -> None:
        address = f"http://127.0.0.1:{self.port}"
        say(f"web     {address}/  (admin: {address}/admin/, API: {address}/api/subscriptions/)")
        say(f"flower  http://127.0.0.1:{self.port + 1}/")
        if is_empty(self.runner):
            say(
                f"the book is empty: import a file on {address}/desk/files/, or by"
                " ./pricebook manage import_book FILE; a full one: ./pricebook demo --serve"
            )
        say(f"user and password, for both, and an API key: {self.runner.home.credentials}")
        say("Ctrl-C stops all of it.  Next, elsewhere: ./pricebook doctor, ./pricebook manage help")
