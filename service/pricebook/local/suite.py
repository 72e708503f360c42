"""`test`: the suite, against databases of its own, one run at a time for a home."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from pricebook.local.home import Fault, Home
from pricebook.local.paths import CHECKOUT, PYTHON
from pricebook.local.processes import Process, until
from pricebook.local.runner import Runner

LAST_BREATH = 20  # seconds; the guard gives those that a killed launcher leaves behind 15


def test(arguments: list[str]) -> int:
    """pytest, with its arguments; a running `up` is not disturbed."""
    browser = "--browser" in arguments
    arguments = [argument for argument in arguments if argument != "--browser"]
    selection = [] if browser else ["-m", "not browser"]  # a later -m overrides it
    command = [*PYTHON, "-m", "pytest", "--rootdir", str(CHECKOUT)]
    command += ["-c", str(CHECKOUT / "pyproject.toml"), *selection, *arguments]
    home = Home.from_environment()
    with only_suite(home), Runner(home) as runner:
        return runner.foreground(command, runner.environment(broker=8, cache=9))


@contextlib.contextmanager
def only_suite(home: Home) -> Iterator[None]:
    """Fault if another suite runs for this home: each would drop the other's test database.

    The lock is inherited by what runs in the foreground, and freed by the kernel when both are
    gone: after a kill -9 of the launcher alone, its pytest may live a moment longer, so we wait.
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
    """Take the lock, if nobody else has it; what we have, we may take again."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(lock: int) -> None:
    """Write down who holds it, for those who come."""
    me = Process.of(os.getpid())
    assert me
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{me.pid} {me.started}".encode(), 0)


def holder(lock: int) -> Process | None:
    """Who has signed it; None if it is dead, or has not signed yet."""
    signed = os.pread(lock, 100, 0).split()
    if len(signed) != 2:
        return None
    process = Process(*map(int, signed))
    return process if process.alive else None
