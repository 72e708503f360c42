"""The suite's tables: made once from the migrations as they are, and copied for every run."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pricebook.local import postgres
from pricebook.local.home import Fault, Home
from pricebook.local.paths import CHECKOUT, SERVICE
from pricebook.local.processes import end
from pricebook.local.programs import started_by
from pricebook.local.runner import Runner, stop_servers

DATABASE = postgres.DATABASE  # holds the tables in each copy, for CREATE DATABASE … TEMPLATE
# A copy lives for one run, so it need not survive a power cut.
SETTINGS = "fsync = off\nfull_page_writes = off\n"
STOP_SECONDS = 15


def make(home: Home) -> None:
    """Migrate an empty database, unless the one in `home` was made from the present sources."""
    wanted = key()
    stamp = home.path / "key"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("pricebook: making the suite's tables (once for these migrations)", file=sys.stderr)
    clear(home)
    stamp.unlink(missing_ok=True)
    with Runner(home) as runner:
        runner.manage("migrate", "--verbosity=0")
    with (home.postgres / "postgresql.auto.conf").open("a") as file:
        file.write(SETTINGS)
    stamp.write_text(wanted)


def copy(home: Home, to: Home) -> None:
    """Replace the files of `to` by those of this template; end what runs for it."""
    clear(to)
    done = subprocess.run(["cp", "-a", home.postgres, to.postgres], capture_output=True, text=True)
    if done.returncode:
        raise Fault(f"the suite's tables can't be copied: {done.stderr.strip()}")


def clear(home: Home) -> None:
    """End the processes of a home, and delete its data."""
    home.make()
    end(started_by(f"{home.digest}."), STOP_SECONDS)
    with home.lock():
        stop_servers(home)
        for data in (home.postgres, home.valkey):
            shutil.rmtree(data, ignore_errors=True)
    home.make()


def key(service: Path = SERVICE) -> str:
    """A hash of everything that decides on the tables; with another key the template is made anew.

    `migrate` runs on each copy as well and adds what is new: the key is for what has been applied.
    """
    binaries = postgres.find_binaries()
    digest = hashlib.sha256(f"{binaries} {postgres.version_of(binaries)}".encode())
    requirements = [CHECKOUT / "requirements" / f"{name}.txt" for name in ("run", "local")]
    made_by = [Path(postgres.__file__), Path(__file__)]
    for path in [*requirements, *made_by, *sorted(sources(service))]:
        digest.update(f"\0{os.path.relpath(path, service)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def sources(service: Path) -> set[Path]:
    """The migrations, the settings, and everything of ours that these import."""
    found: set[Path] = set()
    waiting = [path for path in service.glob("*/migrations/**/*") if path.is_file()]
    waiting.append(service / "pricebook" / "settings.py")
    while waiting:
        path = waiting.pop()
        if path in found or "__pycache__" in path.parts:
            continue
        found.add(path)
        if path.suffix == ".py":
            waiting += imported(path, service)
    return found


def imported(path: Path, service: Path) -> Iterator[Path]:
    """The files in `service` that a file imports by name, and those of their packages."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(service).parts[: -node.level] if node.level else ()
            module = ".".join([*package, *([node.module] if node.module else [])])
            names = [f"{module}.{name.name}" for name in node.names]
        for name in names:
            place = service
            for part in name.split("."):
                place /= part
                for file in (place.with_suffix(".py"), place / "__init__.py"):
                    if file.is_file():
                        yield file
