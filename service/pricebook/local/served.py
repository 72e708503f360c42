"""The book that commands talk to: the demo's while it is served from this home, else its own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pricebook.local.home import Fault, Home
from pricebook.local.processes import Process
from pricebook.local.runner import Runner
from pricebook.local.up import status

BOOK = "PRICEBOOK_BOOK"  # a variable that says which one is meant: demo, or own


def file_of(home: Home) -> Path:
    return home.run / "demo.json"


@contextlib.contextmanager
def told(home: Home, port: int, book: dict[str, Any]) -> Iterator[None]:
    """Let commands find the demo while it is served. `book`: as `environment_of` takes it."""
    me = Process.of(os.getpid())
    path = file_of(home)
    new = path.with_suffix(".new")
    said = {"pid": os.getpid(), "started": me.started if me else 0, "port": port, "book": book}
    new.write_text(json.dumps(said))
    new.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def demo_of(home: Home) -> dict[str, Any]:
    """The demo that is served from this home: pid, port, book; empty if none is."""
    try:
        found: dict[str, Any] = json.loads(file_of(home).read_text())
        return found if Process(found["pid"], found["started"]).alive else {}
    except (OSError, ValueError, KeyError):
        return {}


def served(home: Home) -> dict[str, Any]:
    """The demo, if commands are to talk to its book: `up` has the book of the home.

    PRICEBOOK_BOOK says it otherwise; Fault if it says what is not there.
    """
    demo, said = demo_of(home), os.environ.get(BOOK, "")
    if said not in ("", "demo", "own"):
        raise Fault(f"{BOOK} is demo or own, and not {said!r}")
    if said == "demo" and not demo:
        raise Fault("no demo is served from this home: ./pricebook demo --serve")
    if said == "own" or (not said and status(home)):
        return {}
    return demo


def environment_of(runner: Runner) -> dict[str, str]:
    """The environment of commands."""
    demo = served(runner.home)
    if not demo:
        return runner.environment()
    book: dict[str, Any] = demo["book"]
    variables: dict[str, str] = book["variables"]
    servers = {name: book[name] for name in ("database", "broker", "cache")}
    return runner.environment(**servers) | variables


def tell(home: Home) -> None:
    """Say on standard error that a command talks to the demo's book."""
    if demo := served(home):
        print(
            f"pricebook: this is the demo's book, http://127.0.0.1:{demo['port']}/"
            f" ({BOOK}=own for the other one)",
            file=sys.stderr,
            flush=True,
        )
