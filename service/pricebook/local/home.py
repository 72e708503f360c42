"""The home: the one directory that holds everything local, and the locks on it."""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

# sun_path holds 108 bytes, and the longest name in the directory is ".s.PGSQL.5432.lock".
LONGEST_SOCKET_DIRECTORY = 85


class Fault(Exception):
    """An error with how to fix it; the launcher prints it and exits with 1."""


class Home:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.postgres = path / "postgres"
        self.valkey = path / "valkey"
        self.run = path / "run"
        self.logs = path / "log"
        self.credentials = path / "credentials"
        self.digest = hashlib.sha256(bytes(path)).hexdigest()[:12]

    @classmethod
    def from_environment(cls) -> "Home":
        """The home that the launcher chose; without the launcher, .pricebook of this checkout."""
        checkout = Path(__file__).resolve().parents[3]
        path = os.environ.get("PRICEBOOK_HOME") or checkout / ".pricebook"
        return cls(Path(os.path.abspath(path)))

    def make(self) -> None:
        """Create what is missing. The permissions of what exists are not changed."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = self.path.stat().st_uid
            if owner != os.geteuid():
                raise Fault(
                    f"{self.path} belongs to user {owner}, and this is user {os.geteuid()}: "
                    "run as that user, or choose another place with --home DIR"
                )
            for directory in (self.run, self.logs, self.valkey):
                directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Fault(
                f"can't use {self.path}: {error.strerror}. Choose another place with --home DIR"
            ) from None

    @property
    def sockets(self) -> Path:
        """The directory of the servers' sockets.

        It is in the home, unless its path is too long for a socket or has letters that would need a
        different quoting in URLs and in PostgreSQL's configuration.
        """
        if len(bytes(self.run)) <= LONGEST_SOCKET_DIRECTORY and re.fullmatch(
            r"[A-Za-z0-9/_.+-]+", str(self.run)
        ):
            return self.run
        # Not $XDG_RUNTIME_DIR: cron and a login shell must find the same servers.
        return Path(f"/tmp/pricebook-{os.geteuid()}-{self.digest}")  # noqa: S108 - owner checked below

    def make_sockets(self) -> None:
        """Make the directory of the sockets; in /tmp, where anybody can write, it must be ours."""
        with contextlib.suppress(FileExistsError):
            self.sockets.mkdir(mode=0o700)
        status = self.sockets.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise Fault(
                f"{self.sockets} should hold the sockets, but is not a directory of this user: "
                "remove it, or choose a shorter --home DIR"
            )
        if status.st_mode & 0o077:
            self.sockets.chmod(0o700)

    def remove_sockets(self) -> None:
        if self.sockets != self.run:
            with contextlib.suppress(OSError):
                self.sockets.rmdir()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lets the servers start or stop one at a time. The kernel frees it if we are killed."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def open_lease(self) -> int:
        """A file descriptor for `flock`: shared by everyone who uses the servers."""
        return os.open(self.path / "lease", os.O_RDWR | os.O_CREAT, 0o600)

    def secret_key(self) -> str:
        """Django's SECRET_KEY of this home, made on first use."""
        path = self.path / "secret_key"
        with contextlib.suppress(FileExistsError):
            write_secret(path, secrets.token_urlsafe(48))
        return path.read_text().strip()


def write_secret(path: Path, text: str) -> None:
    """Make a file that only its owner can read, whole or not at all.

    FileExistsError if there is one: if two write at once, the first one counts.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    try:
        os.link(new, path)
    finally:
        new.unlink()
