"""A book that `./pricebook up` runs in a home of its own, for tests that break a part of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from pricebook.local.home import Home
from pricebook.local.paths import CHECKOUT
from pricebook.local.postgres import SUPERUSER, Postgres
from pricebook.local.up import reserve, status
from pricebook.local.valkey import Valkey
from pricebook.tests.servers import until

KEPT = ("PATH", "HOME", "PYTHONPYCACHEPREFIX")
WRITES = (
    "subscriptions:read",
    "services:write",
    "price_states:set",
    "totals:read",
    "clients:write",
)
FILLED = "from services.tests.factories import a_book; a_book({rows}, services=2, plans=2)"


LAUNCHER = str(CHECKOUT / "pricebook")


class Running:
    """The parts of `up`, by their names: web, worker, worker2, events, beat, flower."""

    def __init__(self, path: Path, **variables: str) -> None:
        self.home = Home(path)
        self.postgres, self.valkey = Postgres(self.home), Valkey(self.home)
        self.log = path.with_name(f"{path.name}.log")  # not on the home's disk, which may be full
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environment |= variables
        self.key = ""
        self.patience = 30.0  # seconds for an answer
        with reserve(0) as held:
            self.port: int = held.getsockname()[1]
        command = [LAUNCHER, "--home", str(path), "--port", str(self.port), "up"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        until(lambda: self.says("Ctrl-C stops all of it"), 90)

    def fill(self, rows: int) -> None:
        self.manage("shell", "--no-imports", "-c", FILLED.format(rows=rows))
        scopes = [word for scope in WRITES for word in ("--scope", scope)]
        made = json.loads(self.manage("api_key", "create", "nights", *scopes, "--json"))
        self.key = made["key"]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.run("down")

    # Seen by people and programs ---------------------------------------------------------------

    def says(self, words: str, since: int = 0) -> bool:
        """Whether the log of `up` and its parts has these words, behind a place in it."""
        return words in self.log.read_text(errors="replace")[since:]

    def so_far(self) -> int:
        """The place in the log at which it ends now."""
        return len(self.log.read_text(errors="replace"))

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [LAUNCHER, "--home", str(self.home.path), "--port", str(self.port)]
        return subprocess.run(
            [*command, *arguments],
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def manage(self, *arguments: str) -> str:
        done = self.run("manage", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def faults(self) -> list[str]:
        """The faults that `doctor` finds."""
        lines = self.run("doctor").stdout.splitlines()
        return [line.removeprefix("✗ ") for line in lines if line.startswith("✗")]

    def ask(
        self, method: str, path: str, body: Any = None, seconds: float | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and the body of an answer; 0 and the error if there was none."""
        client = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=seconds or self.patience
        )
        headers = {"Authorization": f"Api-Key {self.key}", "Content-Type": "application/json"}
        try:
            client.request(method, path, body and json.dumps(body), headers)
            answer = client.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, {"error": type(error).__name__}
        finally:
            client.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, {"text": text.decode(errors="replace")}

    def negotiate(self, subscription: int, price: str) -> tuple[int, str]:
        """Write one price; the status and the code of the answer."""
        body = {"price": price, "reason": "a night"}
        status, said = self.ask("POST", f"/api/subscriptions/{subscription}/negotiate/", body)
        return status, str(said.get("code", said.get("error", "")))

    def readiness(self) -> tuple[int, dict[str, Any]]:
        return self.ask("GET", "/readyz", seconds=10)

    # Its parts ----------------------------------------------------------------------------------

    def pid(self, part: str) -> int:
        pid: int = status(self.home)["children"][part]
        return pid

    def signal(self, part: str, number: int) -> None:
        os.killpg(self.pid(part), number)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.session() as session:
            cursor = session.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def session(self, user: str = SUPERUSER) -> Iterator[psycopg.Connection[Any]]:
        info = self.postgres.conninfo(user)
        writes = "-c default_transaction_read_only=off"  # whatever a night has set
        with psycopg.connect(info, autocommit=True, options=writes) as session:
            yield session

    def is_settled(self) -> bool:
        """Whether it takes writes, and no price has to be copied."""
        return self.readiness()[0] == 200 and not self.sql(
            "SELECT FROM services_repricing WHERE finished_at IS NULL LIMIT 1"
        )


class Prices:
    """The prices that were acknowledged, which have to be there afterwards."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.ids = [
            row[0] for row in running.sql("SELECT id FROM services_subscription ORDER BY 1")
        ]
        self.written: dict[int, str] = {}
        self.number = 0

    def write(self) -> tuple[int, str]:
        """Write one more price; the status and the code."""
        self.number += 1
        subscription, price = self.ids[self.number % len(self.ids)], f"{self.number}.50"
        answer = self.running.negotiate(subscription, price)
        if answer[0] == 200:
            self.written[subscription] = price
        return answer

    def goes_on(self, seconds: float = 30) -> None:
        until(lambda: self.write()[0] == 200, seconds)
        until(self.running.is_settled, 60)

    def has_lost_nothing(self) -> None:
        found = {
            id: str(price)
            for id, price in self.running.sql(
                "SELECT id, price FROM services_subscription WHERE id = ANY(%s)", list(self.written)
            )
        }
        assert found == self.written
        self.running.manage("check_book")  # fails if anything differs
