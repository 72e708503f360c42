"""A peer in an environment and a database of its own, both of which go with the run."""

import json
import os
import re
import runpy
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

from benchmarks.results import CHECKOUT
from benchmarks.scratch import environment_of_the_book, on_server, outside, say

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements"
SCRIPTS = HERE / "scripts"
# The peer's package, where the script is named otherwise.
DISTRIBUTIONS = {"django_admin": "django", "tryton": "trytond-sale-subscription"}

# The book as the peers have it: a file for each of their tables.
TABLES = {
    "client": "SELECT client.id, company_name, email FROM clients_client client"
    " JOIN auth_user login ON login.id = user_id",
    "service": "SELECT id, name, full_price FROM services_service",
    "plan": "SELECT id, plan_type, discount_percent FROM services_plan",
    "subscription": "SELECT id, client_id, service_id, plan_id, price, external_id, started_at"
    " FROM services_subscription ORDER BY id",
}

Ask = Callable[..., Any]


def release(name: str) -> str:
    """The peer's package with its version, as its requirements have it."""
    distribution = DISTRIBUTIONS.get(name, name.replace("_", "-"))
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    match = re.search(rf"^{distribution}==(\S+)", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"{name}.txt does not pin {distribution}")
    return f"{distribution} {match[1]}"


@contextmanager
def python_with(name: str) -> Iterator[Path]:
    """The Python of an environment that has the peer and nothing else."""
    launcher = runpy.run_path(str(CHECKOUT / "pricebook"))
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder, "venv")
        launcher["make"](venv)
        launcher["install"](venv / "bin" / "python", [REQUIREMENTS / f"{name}.txt"])
        yield venv / "bin" / "python"


@contextmanager
def started(name: str, python: Path) -> Iterator[Ask]:
    """Start the peer's script on an empty database beside ours; yields what asks it."""
    database = f"{connection.settings_dict['NAME']}_peer"
    on_server(f'DROP DATABASE IF EXISTS "{database}"')
    on_server(f'CREATE DATABASE "{database}"')
    environment = environment_of_the_book() | {"DB_NAME": database}
    for ours in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE"):
        environment.pop(ours, None)
    process = subprocess.Popen(
        [python, SCRIPTS / f"{name}.py"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    questions, answers = process.stdin, process.stdout

    def ask(question: str, **arguments: Any) -> Any:
        questions.write(json.dumps({"do": question, **arguments}) + os.linesep)
        questions.flush()
        answer = answers.readline()
        if not answer:
            raise AssertionError(f"{name} has ended at {question!r}; its error stands above")
        return json.loads(answer)

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()
        on_server(f'DROP DATABASE "{database}" WITH (FORCE)')


@contextmanager
def files_of_the_book(rows: bool = True) -> Iterator[Path]:
    """A folder with the book's tables as CSV; without its rows, the subscriptions are left out."""
    with tempfile.TemporaryDirectory() as folder, outside() as ours, ours.cursor() as cursor:
        for table, query in TABLES.items():
            with Path(folder, f"{table}.csv").open("wb") as file:
                if table == "subscription" and not rows:
                    continue
                with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as copy:
                    for block in copy:
                        file.write(block)
        say("  a copy of the book for the peer…")
        yield Path(folder)
