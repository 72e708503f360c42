"""Finance brings a spreadsheet in, a list price moves, and a biller ends with the same book.

    python3 docs/examples/exchange.py

It starts a server of its own in a temporary folder, says each command with what came of it, kills
both sides in the middle, and takes the server down. docs/exchange.md has what it prints.

With PRICEBOOK_URL, and a key each in FINANCE_KEY, CHIEF_KEY and BILLER_KEY (SCOPES has what they
need), it goes to a server that runs. There it kills the biller alone.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
BOOK = CHECKOUT / "service" / "services" / "data" / "telco_book.csv.gz"
WRITES = ("clients:write", "services:write", "plans:write", "subscriptions:write")
SCOPES = {
    "finance": (*WRITES, "services:read", "price_changes:read", "price_changes:plan"),
    "chief": ("price_changes:read", "price_changes:approve"),
    "biller": ("ledger:read", "subscriptions:read", "events:read", "webhooks:manage"),
}
HEAD = "Kunde;E-Mail;service;Listenpreis;plan_type;discount_percent;source;external_id;started_at"
FILES = {
    "new.csv": f"""{HEAD}
Anna Bär;anna@example.com;Standleitung;1.234,50;full;0;erp;A-1;01.10.2025
Karl Wolf;karl@example.com;Standleitung;1.234,50;full;101;erp;A-2;01.10.2025
Eva Roth;eva@example.com;Notruf;19,99;full;0;erp;A-3;31.11.2025
""",
    "corrected.csv": f"""{HEAD}
Anna Bär;anna@example.com;Standleitung;1.234,50;full;0;erp;A-1;01.10.2025
Karl Wolf;karl@example.com;Standleitung;1.234,50;full;10;erp;A-2;01.10.2025
Eva Roth;eva@example.com;Notruf;19,99;full;0;erp;A-3;30.11.2025
""",
    "differs.csv": f"""{HEAD};comment
Karl Wolf;karl@example.com;Standleitung;1.234,50;full;10;erp;A-2;01.10.2025;VIP
Eva Roth;eva@example.com;Notruf;21,50;full;0;erp;A-3;30.11.2025;
""",
}
AS = "-F column=Kunde:company_name -F column=E-Mail:email -F column=Listenpreis:full_price"
TEXTS = "decimals=string"
ENDED = ("done", "refused", "failed", "cancelled")
PATIENCE = 240.0  # seconds, on a busy machine
PAUSE = 0.05


class Exchange:
    """The story, told to `API`; the commands run in a folder, and are printed."""

    def __init__(self, url: str, keys: dict[str, str], folder: Path) -> None:
        self.url, self.keys, self.folder = url, keys, folder
        self.variables = {"API": url, "AS": AS} | {
            name.upper(): f"Authorization: Api-Key {key}" for name, key in keys.items()
        }
        self.biller: subprocess.Popen[bytes] | None = None

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder, env=os.environ | self.variables, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ask(self, command: str, *names: str) -> Any:
        """Run and print a curl command, with these members of its answer; return the answer."""
        say(f"$ {command}")
        answer = json.loads(self.run(command))
        show({name: answer.get(name) for name in names} if names else answer)
        return answer

    def quietly(self, who: str, path: str) -> Any:
        return json.loads(self.run(f'curl -sS "$API{path}" -H "${who.upper()}"'))

    def job(self, command: str, *names: str) -> dict[str, Any]:
        """Send what the workers do, and print the job when they have done it."""
        say(f"$ {command}")
        sent = json.loads(self.run(command))
        if "id" not in sent:
            raise SystemExit(f"refused: {sent}")
        path = f"/api/jobs/{sent['id']}/"
        say(f'$ curl -sS "$API{path}" -H "$FINANCE"')
        job: dict[str, Any] = until(
            lambda: found if (found := self.quietly("finance", path))["status"] in ENDED else None
        )
        show({name: job[name] for name in ("id", "status", *names)})
        return job

    def lines(self, job: dict[str, Any], query: str = "") -> None:
        command = f'curl -sS "$API/api/jobs/{job["id"]}/lines/{query}" -H "$FINANCE"'
        say(f"$ {command}")
        for line in json.loads(self.run(command))["result"]:
            show(line)

    def tell(self, kill_server: Callable[[], None] | None) -> None:
        for name, text in FILES.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        self._biller_begins()
        self._finance()
        self._list_price()
        self._kills(kill_server)
        self._compare()

    def _biller_begins(self) -> None:
        heading("The biller names its address, and starts")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        body = {"name": "biller", "url": f"http://127.0.0.1:{port}/"}
        answer = self.ask(
            'curl -sS "$API/api/webhooks/" -H "$BILLER" -H "Content-Type: application/json"'
            f" -d '{json.dumps(body)}'",
            *("id", "state", "types"),
        )
        self.variables |= {
            "WEBHOOK_SECRETS": answer["secret"], "PORT": str(port), "STORE": "bills.db",
            "PRICEBOOK_URL": self.url, "PRICEBOOK_KEY": self.keys["biller"],
        }  # fmt: skip
        self._start_biller()

    def _start_biller(self) -> None:
        say("$ python3 biller.py &")
        with (self.folder / "biller.log").open("ab") as log:
            self.biller = subprocess.Popen(
                [sys.executable, str(CHECKOUT / "docs" / "examples" / "biller.py")],
                cwd=self.folder, env=os.environ | self.variables, stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> None:
        if self.biller is not None:
            self.biller.kill()
            self.biller.wait()

    def _finance(self) -> None:
        heading("Finance sends a spreadsheet: semicolons, decimal comma, two mistakes")
        say(f"$ cat new.csv\n{FILES['new.csv']}$ AS='{AS}'")
        to, key = 'curl -sS "$API/api/imports/"', '-H "$FINANCE"'
        refused = self.job(f"{to} {key} $AS -F file=@new.csv")
        assert refused["status"] == "refused"
        show({name: refused["error"][name] for name in ("code", "refused", "understood")})
        for problem in refused["error"]["problems"]:
            show({name: problem[name] for name in ("line", "column", "value", "reason")})

        heading("It corrects both, looks at what would be written, and applies it")
        sent = f"{key} $AS -F file=@corrected.csv"
        self.lines(self.job(f"{to} {sent} -F dry_run=true", "dry_run", "counts"))
        self.job(f"{to} {sent} -H 'Idempotency-Key: erp-1'", "dry_run", "counts")

        heading("A second file differs from the book: look, apply, take back")
        say(f"$ cat differs.csv\n{FILES['differs.csv']}")
        sent = f"{key} $AS -F update=true -F file=@differs.csv"
        self.lines(self.job(f"{to} {sent} -F dry_run=true", "counts"), "?outcome=changed")
        applied = self.job(f"{to} {sent} -H 'Idempotency-Key: erp-2'", "counts")
        undo = f'curl -sS -X POST "$API/api/jobs/{applied["id"]}/undo/" {key}'
        self.lines(self.job(undo, "undoes", "counts"))

    def _list_price(self) -> None:
        heading("A list price is planned by one, approved by another, and moves")
        [service] = self.quietly("finance", "/api/services/?q=Standleitung")["result"]
        self.service = service["id"]
        body = {"kind": "list_price", "service": self.service, "new_value": "1299.90"}
        json_type = '-H "Content-Type: application/json"'
        change = self.ask(
            f'curl -sS "$API/api/price-changes/?{TEXTS}" -H "$FINANCE" {json_type}'
            f" -d '{json.dumps(body | {'title': 'Leased lines'})}'",
            *("id", "status", "old_value", "new_value", "fingerprint"),
        )
        path = f"/api/price-changes/{change['id']}/"
        body = {"fingerprint": change["fingerprint"]}
        told = self.said().count("prices.moved")
        self.ask(
            f'curl -sS "$API{path}approve/?{TEXTS}" -H "$CHIEF" {json_type}'
            f" -d '{json.dumps(body)}'",
            *("id", "status", "approved_by"),
        )
        until(lambda: self.quietly("chief", path)["status"] == "applied")
        self.ask(f'curl -sS "$API{path}?{TEXTS}" -H "$CHIEF"', "id", "status", "outcome")
        self.between = datetime.now(UTC)
        until(lambda: self.said().count("prices.moved") > told)
        command = "grep prices.moved biller.log | tail -1"
        say(f"$ {command}\n{self.run(command)}")

    def said(self) -> str:
        return (self.folder / "biller.log").read_text()

    def _kills(self, kill_server: Callable[[], None] | None) -> None:
        heading("kill -9 on both sides, and a price between")
        assert self.biller is not None
        say(f"$ kill -9 {self.biller.pid}    # the biller")
        self.stop()
        self.ask(
            f'curl -sS -X PATCH "$API/api/services/{self.service}/?{TEXTS}" -H "$FINANCE"'
            " -H 'Content-Type: application/json' -d '{\"full_price\": \"1310.05\"}'",
            *("name", "full_price", "currency"),
        )
        if kill_server is not None:
            say("$ kill -9 …    # the web server, both workers and the worker of events")
            kill_server()
        before = self.said().count("stored")
        self._start_biller()
        until(lambda: self.said().count("stored") > before)

    def _compare(self) -> None:
        heading("The biller's book, and ours")
        now = datetime.now(UTC)
        past = [datetime(2025, 10, 15, tzinfo=UTC), datetime(2025, 12, 15, tzinfo=UTC)]
        future = now + timedelta(days=365)
        for at in (*past, self.between, now, future):
            instant = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            command = f"python3 biller.py compare {instant}"
            say(f"$ {command}")
            program = [sys.executable, str(CHECKOUT / "docs" / "examples" / "biller.py")]
            said = self.run(shlex.join([*program, "compare", instant])).splitlines()
            say("\n".join(said))


def heading(text: str) -> None:
    print(f"\n## {text}\n", flush=True)


def say(text: str) -> None:
    print(textwrap.indent(text.rstrip("\n"), "    "), flush=True)


def show(answer: Any) -> None:
    say(json.dumps(answer, ensure_ascii=False))


def until(found: Callable[[], Any]) -> Any:
    """What `found` returns, once it is something; a server that was killed is waited for."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(PAUSE)
    raise SystemExit(f"nothing came within {PATIENCE:.0f} s")


class Server:
    """`./pricebook up` in a folder of its own, with the real book and a key for each program."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.command = [str(CHECKOUT / "pricebook"), "--home", str(home), "--port", str(port)]
        self.url = f"http://127.0.0.1:{port}"
        with (home.parent / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, "up"], stdout=log, stderr=log,
                env=os.environ | {"WEBHOOKS_TO_PRIVATE": "127.0.0.0/8"},
            )  # fmt: skip
        try:
            self._begin()
        except BaseException:
            self.stop()
            raise

    def _begin(self) -> None:
        answers = ["curl", "-sSf", "-o", os.devnull, f"{self.url}/healthz"]
        until(lambda: subprocess.run(answers, stderr=subprocess.DEVNULL).returncode == 0)
        self.manage("import_book", str(BOOK))
        self.keys = {name: self.key(name, scopes) for name, scopes in SCOPES.items()}

    def manage(self, *arguments: str) -> str:
        command = [*self.command, "manage", *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout

    def key(self, name: str, scopes: tuple[str, ...]) -> str:
        given = [word for scope in scopes for word in ("--scope", scope)]
        return str(json.loads(self.manage("api_key", "create", name, *given, "--json"))["key"])

    def kill(self) -> None:
        """kill -9 what answers and what works; `up` starts them again."""
        children = json.loads((self.home / "run" / "up.json").read_text())["children"]
        for name in ("web", "worker", "worker2", "events"):
            os.killpg(children[name], signal.SIGKILL)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if url := os.environ.get("PRICEBOOK_URL"):
            keys = {name: os.environ[f"{name.upper()}_KEY"] for name in SCOPES}
            exchange, server = Exchange(url, keys, Path(folder)), None
        else:
            server = Server(Path(folder) / "home")
            exchange = Exchange(server.url, server.keys, Path(folder))
        try:
            exchange.tell(None if server is None else server.kill)
        finally:
            exchange.stop()
            if server is not None:
                server.stop()


if __name__ == "__main__":
    main()
