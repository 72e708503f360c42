"""`doctor`: a line for each thing that can be wrong, and how to fix it. It changes nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from pricebook.local.behind_tls import behind_tls
from pricebook.local.external import (
    broker_url,
    check_external_database,
    check_external_redis,
    external_database,
)
from pricebook.local.finding import Finding
from pricebook.local.home import LONGEST_SOCKET_DIRECTORY, Fault, Home
from pricebook.local.paths import MANAGE, PYTHON, SERVICE
from pricebook.local.postgres import Postgres, find_binaries, unprivileged, version_of
from pricebook.local.processes import Process, marked
from pricebook.local.programs import answers_http, worker_name
from pricebook.local.runner import Runner
from pricebook.local.served import demo_of, environment_of, served
from pricebook.local.up import launchers, no_arguments, port_from_environment, port_is_taken, status
from pricebook.local.valkey import SETTINGS, Valkey, find_binary

ENOUGH_DISK = 1_000_000_000  # bytes: a book of a million subscriptions, and its log


def main(arguments: list[str]) -> int:
    no_arguments("doctor", arguments)
    wrong = 0
    for mark, text in findings(Home.from_environment()):
        print(mark, text, flush=True)
        wrong += mark == "✗"
    return 1 if wrong else 0


def findings(home: Home) -> Iterator[Finding]:
    yield from environment()
    yield from directory(home)
    if external_database():
        of_database = [
            checked(check_external_database, f"the database of {external_database()} answers")
        ]
    else:
        of_database = list(embedded_postgres(home))
    yield from of_database
    if os.environ.get("REDIS_URL") and broker_url():
        yield checked(check_external_redis, "the server of REDIS_URL answers")
    else:
        yield from embedded_valkey(home)
    if of_database[-1].mark == "✓":  # or each of these would say once more that it does not answer
        if served(home):
            yield Finding("✓", "what follows is about the demo's book, which is served")
        yield migrations(home)
        yield zone_rules(home)
        yield said_by(home, "approval_limits")
        yield said_by(home, "logins")
        yield said_by(home, "check_book", "--last")
        yield said_by(home, "surroundings")
        yield brake(home)
        yield webhooks(home)
        yield seals(home)
        yield lives(home)
        yield letters(environment_of(Runner(home)))
    else:
        yield Finding(
            "–", "migrations, the brake, the last check: not known while PostgreSQL does not answer"
        )
    if os.environ.get("HTTPS"):
        yield behind_tls(home)
    yield from supervised(home)


def checked(check: object, text: str) -> Finding:
    assert callable(check)
    try:
        check()
    except Fault as fault:
        return Finding("✗", str(fault).replace("\n", " "))
    return Finding("✓", text)


# The installation -------------------------------------------------------------------------------


def environment() -> Iterator[Finding]:
    yield Finding("✓", f"Python {sys.version.split()[0]} in {sys.prefix}")
    pip = [sys.executable, "-I", "-m", "pip", "check", "--disable-pip-version-check"]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        said = "; ".join(done.stdout.splitlines()[:3])
        yield Finding("✗", f"dependencies: {said}. Fix: rm -r {sys.prefix}, it is made anew")
    else:
        yield Finding("✓", "dependencies fit together")
    if not external_database():
        try:
            binaries = find_binaries()
            prefix, _ = unprivileged()
        except Fault as fault:
            yield Finding("✗", str(fault))
        else:
            how = f", started by {prefix[0]}" if prefix else ""
            yield Finding("✓", f"PostgreSQL {version_of(binaries)} in {binaries}{how}")
    if not os.environ.get("REDIS_URL"):
        yield checked(find_binary, "Valkey's binary is there")


def directory(home: Home) -> Iterator[Finding]:
    if not home.path.exists():
        yield Finding("–", f"{home.path} does not exist yet: ./pricebook up makes it")
        return
    owner = home.path.stat().st_uid
    if owner != os.geteuid():
        yield Finding(
            "✗", f"{home.path} belongs to user {owner}: run as that user, or use --home DIR"
        )
        return
    yield Finding("✓", f"{home.path} is this user's")
    if (home.postgres / "PG_VERSION").exists():
        data = home.postgres.stat()
        allowed = {os.geteuid(), 65534} if os.geteuid() == 0 else {os.geteuid()}
        if data.st_uid not in allowed:
            yield Finding("✗", f"{home.postgres} belongs to user {data.st_uid}: chown -R it back")
        elif data.st_mode & 0o077:
            yield Finding("✗", f"others can read {home.postgres}: chmod 700 '{home.postgres}'")
        else:
            yield Finding("✓", "the data directory is its owner's alone")
    for secret in (home.credentials, home.path / "secret_key"):
        if secret.exists():
            if secret.stat().st_mode & 0o077:
                yield Finding("✗", f"others can read {secret}: chmod 600 '{secret}'")
            else:
                yield Finding("✓", f"{secret.name} is readable by its owner alone")
    free = shutil.disk_usage(home.path).free
    if free < ENOUGH_DISK:
        yield Finding("✗", f"{free / 1e6:.0f} MB free for {home.path}: make room, 1 GB is needed")
    else:
        yield Finding("✓", f"{free / 1e9:.0f} GB free on the disk")
    sockets = home.sockets
    if sockets.exists() and (sockets.is_symlink() or sockets.stat().st_uid != os.geteuid()):
        yield Finding("✗", f"{sockets} is not this user's: remove it, or use a shorter --home DIR")
    elif sockets.exists() and sockets.stat().st_mode & 0o077:
        yield Finding("✗", f"others can reach the sockets: chmod 700 '{sockets}'")
    else:
        length = len(bytes(sockets))
        yield Finding("✓", f"sockets in {sockets} ({length} of {LONGEST_SOCKET_DIRECTORY} bytes)")


# The running processes --------------------------------------------------------------------------


def embedded_postgres(home: Home) -> Iterator[Finding]:
    server = Postgres(home)
    left = server.pid_file()
    if server.answers():
        import psycopg

        try:
            with psycopg.connect(server.conninfo(), connect_timeout=5) as connection:
                row = connection.execute("SHOW server_version").fetchone()
        except psycopg.Error as error:
            yield Finding("✗", f"PostgreSQL refuses: {str(error).strip()}; see {server.log}")
        else:
            yield Finding("✓", f"PostgreSQL {row[0] if row else '?'} answers")
    elif server.running():
        yield Finding("✗", f"PostgreSQL runs and doesn't answer; see {server.log}, then restart it")
    elif left:
        # No fault: every start clears it, without regard to the process of that number.
        yield Finding("–", f"PostgreSQL was killed (pid file of {left[0]}); a start tidies up")
    else:
        yield Finding("–", "PostgreSQL is not running: ./pricebook up starts it")


def embedded_valkey(home: Home) -> Iterator[Finding]:
    server = Valkey(home)
    if server.answers():
        yield Finding("✓", "Valkey answers")
        for name in ("maxmemory-policy", "appendonly"):
            wanted = SETTINGS[name]
            if wanted.encode() in server.ask("CONFIG", "GET", name).split(b"\r\n"):
                yield Finding("✓", f"Valkey's {name} is {wanted}")
            else:
                yield Finding("✗", f"Valkey's {name} is not {wanted}: ./pricebook down, then up")
    elif server.running():
        yield Finding("✗", f"Valkey runs and doesn't answer; see {server.log}, then restart it")
    elif server.socket.exists():
        yield Finding("–", f"Valkey was killed (left {server.socket}); a start tidies up")
    else:
        yield Finding("–", "Valkey is not running: ./pricebook up starts it")


def migrations(home: Home) -> Finding:
    done = subprocess.run(
        [*MANAGE, "migrate", "--check"],
        env=environment_of(Runner(home)),
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return Finding("✓", "no migration is pending")
    if "Planned operations" in done.stdout or not done.stderr.strip():
        return Finding("✗", "migrations are pending: ./pricebook manage migrate")
    return Finding("✗", f"migrations: {done.stderr.strip().splitlines()[-1]}")


def letters(environment: dict[str, str]) -> Finding:
    done = subprocess.run(
        [*MANAGE, "check", "--database", "default", "--tag", "database"],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return Finding("✓", "the database knows the letters of all alphabets")
    said = [line.strip() for line in done.stderr.splitlines() if ".E00" in line or "HINT" in line]
    told = " ".join(line.split(") ", 1)[-1].removeprefix("HINT: ") for line in said)
    return Finding("✗", told or f"letters: {done.stderr.strip().splitlines()[-1]}")


def zone_rules(home: Home) -> Finding:
    done = subprocess.run(
        [*MANAGE, "zone_rules"], env=environment_of(Runner(home)), capture_output=True, text=True
    )
    said = (done.stdout or done.stderr).strip() or "time zones: not known"
    return Finding("✗" if done.returncode else "✓", said.splitlines()[-1])


def said_by(home: Home, *command: str) -> Finding:
    """The finding of a management command, which prints it."""
    done = subprocess.run(
        [*MANAGE, *command], env=environment_of(Runner(home)), capture_output=True, text=True
    )
    said = (done.stdout or done.stderr).strip() or f"{command[0]}: not known"
    return Finding("✗" if done.returncode else "✓", said.splitlines()[-1])


def brake(home: Home) -> Finding:
    """It is no fault of the installation, but nobody may overlook it."""
    return checked_by(
        home, ["brake", "show"], 'Release it: ./pricebook manage brake off --reason "…"'
    )


def webhooks(home: Home) -> Finding:
    """Receivers are others' programs, but whoever waits for events has to hear of it."""
    return checked_by(home, ["webhooks", "list"], "See ./pricebook manage webhooks deliveries ID")


def seals(home: Home) -> Finding:
    """Whether the ledger is sealed in time, and the head, for whoever keeps it."""
    return checked_by(home, ["verify_ledger"], "See docs/operating.md, Sealed.")


def lives(home: Home) -> Finding:
    """Whether the book was restored and nobody has looked since."""
    return checked_by(home, ["after_restore"], "Run ./pricebook manage after_restore")


def checked_by(home: Home, command: list[str], fix: str) -> Finding:
    """The finding of a management command that fails, with --check, if something is wrong."""
    done = subprocess.run(
        [*MANAGE, *command, "--check"],
        env=environment_of(Runner(home)),
        capture_output=True,
        text=True,
    )
    said = (done.stdout or done.stderr).strip() or f"{command[0]}: not known"
    if done.returncode:
        return Finding("✗", f"{said.splitlines()[-1].removeprefix('CommandError: ')} {fix}")
    return Finding("✓", said.splitlines()[-1])


def supervised(home: Home) -> Iterator[Finding]:
    running = status(home)
    port = int(running["port"]) if running else port_from_environment()
    if not running:
        if orphans := [] if launchers(home) else marked(f"{home.digest}."):
            pids = ", ".join(str(process.pid) for process in orphans)
            yield Finding("✗", f"orphaned processes {pids}: ./pricebook down")
        demo = demo_of(home)
        if demo:
            yield serves(demo)
        for number in (port, port + 1):
            if demo and number == demo["port"]:
                continue
            if port_is_taken(number):
                yield Finding("✗", f"port {number} is taken: give `up` another with --port N")
            else:
                yield Finding("✓", f"port {number} is free")
        if not demo:
            yield Finding("–", "web, workers, beat and Flower are not running: ./pricebook up")
        return
    for name, pid in running["children"].items():
        if not Process.of(pid):
            yield Finding("✗", f"{name} has died; `up` starts it again, see what it prints")
        elif name == "web" and not answers_http(port):
            yield Finding("✗", f"web doesn't answer on port {port}; see what `up` prints")
        elif name.startswith(("worker", "events")) and not pings(home, name):
            yield Finding("✗", f"{name} doesn't answer a ping; see what `up` prints")
        else:
            verb = "lives" if name in ("beat", "flower") else "answers"
            yield Finding("✓", f"{name} {verb} (process {pid})")


def serves(demo: dict[str, Any]) -> Finding:
    where = f"the demo on http://127.0.0.1:{demo['port']}/ (process {demo['pid']})"
    if answers_http(demo["port"]):
        return Finding("✓", f"{where} answers; ./pricebook manage talks to its book")
    return Finding("✗", f"{where} doesn't answer: stop it (Ctrl-C), and start it again")


def pings(home: Home, name: str) -> bool:
    ping = [*PYTHON, "-m", "pricebook.local.ping", worker_name(name), "3"]
    environment = environment_of(Runner(home))
    return subprocess.run(ping, env=environment, capture_output=True, cwd=SERVICE).returncode == 0
