"""The needs of the command, each missing one named at once; and Patroni's environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cluster.hosts import Places
from pricebook.local.home import Fault
from pricebook.local.valkey import find_binary

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
RABBITMQ = Path("/usr/lib/rabbitmq/bin")  # the scripts themselves: those of PATH ask for a user
# Programs, and the packages of Debian that have them.
PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "etcd": "etcd-server",
    "haproxy": "haproxy",
    "pgbouncer": "pgbouncer",
    str(RABBITMQ / "rabbitmq-server"): "rabbitmq-server",
}
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> list[str]:
    """The things that are missing here, in sentences; none if all is there."""
    found = []
    if not sys.platform.startswith("linux"):
        return ["Linux is needed, for its network namespaces."]
    if os.geteuid() != 0:
        found.append("root is needed, to make network namespaces.")
    packages = [
        package for program, package in PROGRAMS.items() if not shutil.which(program, path=paths())
    ]
    if packages:
        found.append(f"packages are missing: apt-get install {' '.join(packages)}")
    return found


def paths() -> str:
    return os.environ.get("PATH", os.defpath) + ":" + SBIN


def require() -> None:
    """Fault with all that is missing."""
    if found := missing():
        raise Fault("cluster: " + " ".join(found))
    os.environ["PATH"] = paths()
    find_binary()


def prepare(places: Places) -> None:
    """Make Patroni's environment unless it is there: pinned by hash, and not Pricebook's own."""
    stamp = places.venv / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("cluster: installing Patroni (once)", file=sys.stderr, flush=True)
    shutil.rmtree(places.venv, ignore_errors=True)
    python = str(places.venv / "bin" / "python")
    pip = [python, "-I", "-m", "pip", "--no-input", "install", "--quiet"]
    for command in (
        [sys.executable, "-I", "-m", "venv", str(places.venv)],
        [*pip, "--require-hashes", "--requirement", str(REQUIREMENTS)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Fault(f"cluster: Patroni can't be installed:\n{done.stderr or done.stdout}")
    stamp.write_text(wanted)


def faketime(places: Places) -> Path:
    """The library that gives a process another clock.

    That of PyPI: Debian's 0.9.10 heeds no statement_timeout while a clock is ahead.
    """
    for path in places.venv.glob("lib/*/site-packages/libfaketime/**/libfaketime.so.1"):
        return path
    raise Fault(f"cluster: no libfaketime in {places.venv}: remove it, and try again")
