"""Starting, recognising and ending processes, on the evidence of /proc.

A process id alone proves nothing: it may be a zombie's, or belong to another process by now.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pricebook.local.home import Fault

# The environment variable that marks what a launcher started, even if its parent is another now.
MARK = "PRICEBOOK_RUN"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15


@dataclass(frozen=True)
class Process:
    """A process that lives, or lived: its number and the clock tick it started at."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The live process with this number; None for a zombie too."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        # The name, in parentheses, may hold spaces and parentheses.
        fields = stat[stat.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    @property
    def arguments(self) -> list[str]:
        with contextlib.suppress(OSError):
            return os.fsdecode(Path(f"/proc/{self.pid}/cmdline").read_bytes()).split("\0")
        return []

    @property
    def name(self) -> str:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/comm").read_text().strip()
        return ""

    @property
    def environment(self) -> bytes:
        with contextlib.suppress(OSError):
            return b"\0" + Path(f"/proc/{self.pid}/environ").read_bytes()
        return b""

    def works_in(self, directory: Path) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samefile(f"/proc/{self.pid}/cwd", directory)
        return False

    def signal(self, number: int) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def call_myself(name: str) -> None:
    """Set the name of this process for ps and Process.name; 15 letters at most."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def every_process() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := Process.of(int(name))):
            yield process


def marked(mark: str) -> list[Process]:
    """The live processes that were started with this mark, or with one that begins like this."""
    wanted = f"\0{MARK}={mark}".encode()
    return [process for process in every_process() if wanted in process.environment]


def end(processes: Iterable[Process], seconds: float) -> None:
    """Ask them to stop; kill those that haven't after so many seconds."""
    processes = list(processes)
    for process in processes:
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGCONT)  # a stopped process would not notice
    if not until(lambda: not any(process.alive for process in processes), seconds):
        for process in processes:
            process.signal(signal.SIGKILL)
        until(lambda: not any(process.alive for process in processes), 5)


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition came true within so many seconds."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


class Interrupted(SystemExit):
    """A signal asked this launcher to stop; the exit code says which, as a shell's would."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def raise_on_signals() -> None:
    """From here on raise Interrupted at requests to stop. Those that nohup ignores stay ignored."""
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextlib.contextmanager
def held_signals(*others: int) -> Iterator[None]:
    """Make requests to stop wait until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*STOPPING, *others})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def raise_if_interrupted() -> None:
    """For long waits within `held_signals`: Interrupted if a request to stop is waiting."""
    for number in STOPPING:
        if number in signal.sigpending() and signal.getsignal(number) != signal.SIG_IGN:
            raise Interrupted(number)


def spawn(
    command: list[str],
    environment: Mapping[str, str],
    *,
    with_parent: bool,
    **options: Any,
) -> "subprocess.Popen[bytes]":
    """Start a process with all signals unblocked; `with_parent`: it gets SIGTERM when we die.

    Raises Fault if there is no such program.
    """
    parent = os.getpid()
    # Looked up before the fork: after it, nothing may block.
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        if with_parent:
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    try:
        return subprocess.Popen(command, env=environment, preexec_fn=prepare, **options)
    except OSError as error:
        raise Fault(f"can't start {command[0]}: {error.strerror}") from None


def exit_code(status: int) -> int:
    """The exit code that a shell would give: 137 for a child that died of signal 9."""
    return status if status >= 0 else 128 - status


def _next_signal(waited: set[int], seconds: float | None) -> signal.struct_siginfo | None:
    """The next of these signals; None if there is none for so many seconds."""
    if seconds is None:
        return signal.sigwaitinfo(waited)
    return signal.sigtimedwait(waited, seconds)


def foreground(
    command: list[str], environment: Mapping[str, str], patience: float | None = None
) -> int:
    """Run a command on our own standard input and outputs, and give back its exit code.

    Signals that were sent only to us are passed on to it; those of the terminal have reached it
    already. With `patience` it is terminated if it runs on for so many seconds after an interrupt.
    """
    forwarded = {*STOPPING, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
    with held_signals(signal.SIGCHLD, *forwarded):
        child = spawn(command, environment, with_parent=True, close_fds=False)
        left = None
        while (status := child.poll()) is None:
            came = _next_signal({signal.SIGCHLD, *forwarded}, left)
            if came is None:
                child.terminate()
                left = None
                continue
            if came.si_signo == signal.SIGINT:
                left = patience
            from_the_kernel = came.si_code > 0
            if came.si_signo != signal.SIGCHLD and not from_the_kernel:
                child.send_signal(came.si_signo)
    return exit_code(status)
