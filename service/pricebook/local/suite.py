"""`test`: the suite, on servers of its own, one run at a time for a home."""

import argparse
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pricebook.local import postgres, template
from pricebook.local.external import external_database
from pricebook.local.home import Fault, Home
from pricebook.local.paths import CHECKOUT, PYTHON
from pricebook.local.processes import Process, raise_on_signals, until
from pricebook.local.runner import Runner

LAST_BREATH = 20  # seconds; the guard gives 15 to processes that a killed launcher leaves behind

# One and a half times the CPUs, rounded up: much of the suite waits for processes to start.
WORKERS = -(-len(os.sched_getaffinity(0)) * 3 // 2)
# Seconds that pytest has to end after Ctrl+C, which its workers get too: it may wait for them.
PATIENCE = 20
# Variables that conftest.py reads: each worker's own variables, a JSON list; and the database to
# copy.
SERVERS = "PRICEBOOK_TEST_SERVERS"
TEMPLATE = "PRICEBOOK_TEST_TEMPLATE"

# Markers of tests that run only if one asks for them.
TIERS = ("clients", "cluster", "drill", "hosts", "lost", "nights", "thorough", "traces", "upgrade")


def test(arguments: list[str]) -> int:
    """Run pytest with its arguments; a running `up` is not disturbed.

    `--postgres DIR`: on the PostgreSQL of that directory instead of the wheel's.
    """
    arguments = on_chosen_postgres(arguments)
    browser = "--browser" in arguments
    arguments = [argument for argument in arguments if argument != "--browser"]
    command = [*PYTHON, "-m", "pytest", "--rootdir", str(CHECKOUT)]
    command += ["-c", str(CHECKOUT / "pyproject.toml")]
    # The given arguments come after these, and override them.
    others = [*TIERS, "matrix" if browser else "browser"]
    chosen = " and ".join(f"not {tier}" for tier in others)
    command += ["-m", chosen]
    workers = workers_for(arguments)
    if workers:
        # A class, or a module's functions, run in one worker: what they share is made once.
        command += ["--dist", "loadscope", "--no-loadscope-reorder", "-n", str(workers)]
    home = Home.from_environment()
    with only_suite(home), servers(home, workers) as (runner, environment):
        return runner.foreground([*command, *arguments], environment, patience=PATIENCE)


def on_chosen_postgres(arguments: list[str]) -> list[str]:
    """The arguments without `--postgres DIR`, whose binaries are used from now on."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--postgres", metavar="DIR")
    try:
        given, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        raise Fault("--postgres needs a directory, such as /usr/lib/postgresql/15") from None
    if given.postgres is not None:
        if outside():
            raise Fault("DATABASE_URL names the server already: leave --postgres out, or unset it")
        os.environ[postgres.CHOSEN] = str(postgres.chosen(given.postgres))
    return rest


def workers_for(arguments: list[str]) -> int:
    """The number of processes that run the tests; 0 if pytest itself does, with nothing to start.

    It does if few tests are meant: a file or a test by name, -k, -m, --lf; and for a debugger.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-n", "--numprocesses")
    for option in ("-k", "-m", "-p"):
        parser.add_argument(option, action="append")
    for option in ("--lf", "--last-failed", "--sw", "--stepwise", "--pdb", "--trace", "--co"):
        parser.add_argument(option, action="store_true")
    for option in ("--collect-only", "--fixtures", "--markers", "-h", "--help", "--version", "-V"):
        parser.add_argument(option, action="store_true")
    given, rest = parser.parse_known_args(arguments)
    if given.numprocesses is not None:
        return int(given.numprocesses) if given.numprocesses.isdecimal() else WORKERS
    narrowed = any(value for name, value in vars(given).items() if name != "p")
    named = any(Path(word.partition("::")[0]).is_file() for word in rest)
    without = "no:xdist" in (given.p or [])
    return 0 if narrowed or named or without or outside() else WORKERS


def outside() -> bool:
    """Whether the servers are external."""
    return bool(external_database() or os.environ.get("REDIS_URL"))


@contextlib.contextmanager
def servers(home: Home, workers: int = 0) -> Iterator[tuple[Runner, dict[str, str]]]:
    """A runner, and an environment in which each worker finds a PostgreSQL and a Valkey of its own.

    A database of its own would not be enough: the ledger's feed waits for the transactions of the
    whole server, tests count and end its sessions, and look at all keys of a cache.
    """
    if outside():
        if workers > 1:
            raise Fault(
                f"{workers} workers would meet on the servers that DATABASE_URL or REDIS_URL name, "
                "and each needs its own: leave -n out, or unset them for embedded servers"
            )
        with Runner(home) as runner:
            yield runner, runner.environment(broker=8, cache=9)
        return
    raise_on_signals()
    tables = Home(home.path / "test" / "template")
    template.make(tables)
    homes = [Home(home.path / "test" / str(number)) for number in range(max(1, workers))]
    with contextlib.ExitStack() as stack:
        for each in homes:
            template.copy(tables, each)
        runners = [stack.enter_context(Runner(each)) for each in homes]
        first, *others = [runner.environment() for runner in runners]
        own = [
            {name: value for name, value in each.items() if first.get(name) != value}
            for each in (first, *others)
        ]
        yield runners[0], first | {SERVERS: json.dumps(own), TEMPLATE: template.DATABASE}


def suite_template() -> Home | None:
    """The template of the suite that runs us, for tests that need tables in a home of their own.

    None if the servers are external.
    """
    home = os.environ.get("PRICEBOOK_HOME")
    path = Path(home).parent / "template" if home and os.environ.get(TEMPLATE) else None
    return Home(path) if path and path.is_dir() else None


def suite_homes(home: Home) -> list[Home]:
    """The homes of the suite's servers, of all runs so far."""
    return [Home(path) for path in sorted((home.path / "test").glob("*")) if path.is_dir()]


@contextlib.contextmanager
def only_suite(home: Home) -> Iterator[None]:
    """Fault if another suite runs for this home: each would drop the other's test database.

    The lock is inherited by what runs in the foreground, and freed by the kernel when both have
    ended: after a kill -9 of the launcher alone, its pytest may live a moment longer, so we wait.
    """
    home.make()
    lock = os.open(home.path / "test.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.set_inheritable(lock, True)
        until(lambda: locked(lock) or holder(lock), LAST_BREATH)
        if not locked(lock):
            first = holder(lock)
            who = f"process {first.pid}" if first else "its launcher was killed, and it still ends"
            raise Fault(
                f"the suite runs already for {home.path} ({who}), and a second one would drop its"
                " test database: wait for its end, or give yours other servers with --home DIR"
            )
        sign(lock)
        yield
    finally:
        os.close(lock)


def locked(lock: int) -> bool:
    """Take the lock, if nobody else has it; a lock that we have can be taken again."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(lock: int) -> None:
    """Write our process into the lock file, for other runs to read."""
    me = Process.of(os.getpid())
    assert me
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{me.pid} {me.started}".encode(), 0)


def holder(lock: int) -> Process | None:
    """The process that has signed the lock; None if it is dead, or has not signed yet."""
    signed = os.pread(lock, 100, 0).split()
    if len(signed) != 2:
        return None
    process = Process(*map(int, signed))
    return process if process.alive else None
