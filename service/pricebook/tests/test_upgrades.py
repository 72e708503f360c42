"""Upgrades as they are done: from the first release with a stop, from the last one without.

    ./pricebook test -m upgrade

The older code comes from the history of this repository.
"""

import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from itertools import count
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from pricebook.kit.scopes import SCOPES
from pricebook.local.home import Home
from pricebook.local.paths import CHECKOUT
from pricebook.local.postgres import (
    CHOSEN,
    SUPERUSER,
    Postgres,
    clean_environment,
    find_binaries,
    unprivileged,
)
from pricebook.local.programs import web_server
from pricebook.local.up import reserve
from pricebook.tests.servers import on_this_database, until

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(900)]

DEBIAN = Path("/usr/lib/postgresql/15/bin")
FIRST = "f3e7415"
LAST = "340e012f"
COLUMNS = (
    "company_name", "email", "service", "full_price", "plan_type", "discount_percent", "started_at",
)  # fmt: skip
CLIENTS = 60
START = "2025-01-01T00:00:00Z"
SERVICES = {"Phone": "10.00", "Streaming": "25.50", "Storage": "4.00"}


def code_of(revision: str, folder: Path) -> Path:
    """The tree of a revision."""
    known = subprocess.run(
        ["git", "-C", str(CHECKOUT), "cat-file", "-e", f"{revision}^{{commit}}"],
        capture_output=True,
    )
    if known.returncode:
        pytest.skip(f"the history of this checkout has no {revision}: it needs a whole clone")
    folder.mkdir()
    tree = subprocess.run(
        ["git", "-C", str(CHECKOUT), "archive", revision], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=tree.stdout, check=True)
    return folder


def a_book_file() -> str:
    """A book as import_book reads it: each client has each service, on one of two plans."""
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(COLUMNS)
    for number in range(CLIENTS):
        for name, price in SERVICES.items():
            plan = ("full", 0) if number % 2 else ("discount", 10)
            who = (f"Client {number}", f"c{number}@example.com")
            lines.writerow([*who, name, price, *plan, START])
    return out.getvalue()


# --- From the first release, with a stop ---------------------------------------------------------


class Release:
    """A launcher of some checkout, on a home that the next one takes over."""

    def __init__(self, checkout: Path, home: Path):
        self.command = [str(checkout / "pricebook"), "--home", str(home)]

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name == CHOSEN
            or not name.startswith(
                ("DB_", "PG", "REDIS", "CELERY", "DATABASE", "PYTEST", "PRICEBOOK_")
            )
        }
        done = subprocess.run(
            [*self.command, *arguments], input=given, env=kept, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def asked(self, python: str) -> list:
        return json.loads(self("manage", "shell", "-v0", "-c", python).strip().splitlines()[-1])


READ = """
import json
from services.models import LedgerEntry, Subscription
rows = Subscription.objects.select_related("client", "service")
entries = LedgerEntry.objects.order_by("id").values_list("id", "subscription_id", "price")
paid = sorted([row.client.company_name, row.service.name, str(row.price)] for row in rows)
print(json.dumps([paid, [list(map(str, entry)) for entry in entries]]))
"""
VERSION = """
import json
from django.db import connection
print(json.dumps([connection.pg_version // 10000]))
"""
PLACE = """
import json
from rest_framework.test import APIClient
from django.contrib.auth.models import User
asker = APIClient()
asker.force_authenticate(User(username="reader", is_staff=True, is_superuser=True))
after = {after}
found, page = [], None
while page is None or page["result"]:
    given = {{"limit": 1000}} | ({{"after": after}} if after else {{}})
    page = asker.get("/api/ledger/", given, headers={{"host": "localhost"}}).json()
    found += [entry["id"] for entry in page["result"]]
    after = page["next"] or after
print(json.dumps([found, after]))
"""
RAISED = """
from services.models import Service
from services.repricing import reprice
Service.objects.filter(name="Phone").update(full_price=12)
reprice()
"""


def test_from_the_first_release_takes_one_stop(tmp_path):
    home = tmp_path / "home"
    old = Release(code_of(FIRST, tmp_path / "old"), home)
    new = Release(CHECKOUT, home)
    try:
        old("manage", "migrate", "-v0")
        (tmp_path / "book.csv").write_text(a_book_file())
        old("manage", "import_book", str(tmp_path / "book.csv"))
        old("manage", "shell", "-v0", "-c", RAISED)
        paid, entries = old.asked(READ)
        assert len(paid) == CLIENTS * len(SERVICES)
        assert ["Client 1", "Phone", "12.00"] in paid
        old("down")
        began = time.monotonic()
        new("manage", "migrate", "-v0")
        stop = time.monotonic() - began
        paid_now, entries_now = new.asked(READ)
        assert paid_now == paid
        assert entries_now[: len(entries)] == entries
        new("manage", "shell", "-v0", "-c", RAISED.replace("12", "13"))
        assert ["Client 1", "Phone", "13.00"] in new.asked(READ)[0]
        new("manage", "check_book")
        new("manage", "verify_ledger")
    finally:
        new("down")
    print(f"\nThe stop: {stop:.1f} s for {len(paid)} subscriptions and {len(entries)} entries.")


# --- From one PostgreSQL to another --------------------------------------------------------------


@pytest.mark.skipif(
    not (DEBIAN / "postgres").exists(), reason="no PostgreSQL 15: apt-get install postgresql-15"
)
def test_from_postgresql_15_to_18_by_pg_upgrade(tmp_path, monkeypatch):
    """As docs/upgrades.md has it."""
    book = Release(CHECKOUT, tmp_path / "home")
    now = Postgres(Home(tmp_path / "home"))
    monkeypatch.setenv(CHOSEN, str(DEBIAN))
    try:
        book("manage", "migrate", "-v0")
        (tmp_path / "book.csv").write_text(a_book_file())
        book("manage", "import_book", str(tmp_path / "book.csv"))
        before = book.asked(READ)
        place = book.asked(PLACE.format(after="None"))[1]
        book("down")
        monkeypatch.delenv(CHOSEN)
        binaries = find_binaries()
        old = now.data.rename(tmp_path / "home" / "postgres.15")
        prefix, owner = unprivileged()
        now.initialise(prefix, owner, "--no-data-checksums")
        work = tmp_path / "work"
        work.mkdir()
        os.chown(work, owner, -1)
        command = ["-b", str(DEBIAN), "-B", str(binaries), "-d", str(old), "-D", str(now.data)]
        done = subprocess.run(
            [*prefix, str(binaries / "pg_upgrade"), *command, "-U", SUPERUSER],
            cwd=work, env=clean_environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert book.asked(READ) == before
        assert book.asked(VERSION) == [18]
        assert book.asked(PLACE.format(after=repr(place)))[0] == []
        book("manage", "shell", "-v0", "-c", RAISED)
        assert len(book.asked(PLACE.format(after=repr(place)))[0]) == CLIENTS
        book("manage", "check_book")
        book("manage", "verify_ledger")
    finally:
        book("down")


# --- From the last release, without one ----------------------------------------------------------


class Processes:
    """Web servers and workers of two releases, on one database and one broker."""

    def __init__(self, folder: Path, database: str, broker_url: str):
        self.folder = folder
        self.environment = on_this_database() | {
            "DB_NAME": database,
            "CELERY_BROKER_URL": broker_url,
            "OPEN_READS": "1",
            "ALLOWED_HOSTS": "127.0.0.1",
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def _start(self, name, service, command, **more):
        path = {"PYTHONPATH": str(service)}
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command, cwd=service, env=self.environment | path | more,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def web(self, name, service, **more):
        with reserve(0) as held:
            port = held.getsockname()[1]
            command = [*web_server("pricebook.asgi:application"), "--port", str(port)]
            self._start(name, service, command, DB_POOL="1", **more)
        address = f"http://127.0.0.1:{port}"
        until(lambda: status_of(f"{address}/healthz") == 200, 120)
        return address

    def worker(self, name, service):
        command = [sys.executable, "-m", "celery", "-A", "celery_app.app", "worker", "-c", "2"]
        self._start(name, service, [*command, f"--hostname={name}@tests", "--loglevel=INFO"])
        until(lambda: " ready." in self.said(name), 120)

    def manage(self, service, *arguments, given=None):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], input=given, cwd=service,
            env=self.environment | {"PYTHONPATH": str(service)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def said(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self, *names):
        """As a deployment does: the work that is under way is finished."""
        for name in names or tuple(self.running):
            self.running[name].terminate()
        for name in names or tuple(self.running):
            self.running.pop(name).wait(30)


def status_of(address):
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status
    except OSError:
        return None


class Callers:
    """Programs that read, edit list prices and comments, and follow the feed, without a pause.

    Each asks the next of the servers that stand in `servers`, as behind a load balancer.
    """

    def __init__(self, secret, ids, services):
        self.secret, self.ids, self.services = secret, ids, services
        self.servers = []
        self.failed = []
        self.answered = count()
        self.fed = []
        self.ends = threading.Event()
        calls = (self.reads, self.edits, self.comments, self.follows)
        self.threads = [threading.Thread(target=self._goes, args=(call,)) for call in calls]

    def _goes(self, call):
        for round in count():
            if self.ends.is_set():
                return
            server = self.servers[round % len(self.servers)]
            try:
                call(server, round)
                next(self.answered)
            except urllib.error.HTTPError as error:
                self.failed.append((call.__name__, error.code, error.read()[:300]))
            except Exception as error:
                self.failed.append((call.__name__, repr(error)))

    def ask(self, address, body=None, method="GET"):
        head = {"Authorization": f"Api-Key {self.secret}", "Content-Type": "application/json"}
        given = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, given, head, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def reads(self, server, round):
        page = self.ask(f"{server}/api/subscriptions/?page_size=50")
        assert len(page["result"]) == 50, page
        self.ask(f"{server}/api/totals/?by=service")

    def edits(self, server, round):
        service = self.services[round % len(self.services)]
        price = f"{10 + round % 90}.00"
        answer = self.ask(f"{server}/api/services/{service}/", {"full_price": price}, "PATCH")
        assert float(answer["full_price"]) == float(price), answer
        time.sleep(0.2)

    def comments(self, server, round):
        row = self.ids[round % len(self.ids)]
        self.ask(f"{server}/api/subscriptions/{row}/", {"comment": f"round {round}"}, "PATCH")

    def follows(self, server, round):
        after = f"&after={self.after}" if self.after else ""
        page = self.ask(f"{server}/api/ledger/?limit=500{after}")
        self.fed += [entry["id"] for entry in page["result"]]
        self.after = page["next"] or self.after
        return page["result"]

    after = ""

    def begin(self, *servers):
        self.servers = list(servers)
        for thread in self.threads:
            thread.start()

    def end(self):
        self.ends.set()
        for thread in self.threads:
            thread.join(30)


@pytest.fixture
def database(db):
    """A database of its own beside the suite's."""
    name = "upgraded"
    given = connection.get_connection_params() | {"dbname": "postgres"}
    kept = {each: given[each] for each in ("host", "port", "user", "password") if each in given}
    kept["dbname"] = given["dbname"]
    with psycopg.connect(**kept, autocommit=True) as server:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        server.execute(drop)
        make = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
        server.execute(sql.SQL(make).format(sql.Identifier(name)))
        yield name
        server.execute(drop)


IDS = """
import json
from services.models import Service, Subscription
ids = lambda model: list(model.objects.order_by("pk").values_list("pk", flat=True))
print(json.dumps([ids(Subscription), ids(Service)]))
"""
ENTRIES = """
import json
from services.models import WholeLedger
print(json.dumps(sorted(WholeLedger.objects.values_list("id", flat=True))))
"""


def test_from_the_last_release_stops_nobody(tmp_path, database, broker):
    old, new = code_of(LAST, tmp_path / "old") / "service", CHECKOUT / "service"
    all_of_it = Processes(tmp_path, database, broker.broker_url)
    manage = all_of_it.manage
    manage(old, "migrate", "-v0")
    manage(old, "import_book", "-", given=a_book_file())
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    secret = json.loads(manage(old, "api_key", "create", "caller", *scopes, "--json"))["key"]
    ids, services = json.loads(manage(old, "shell", "-v0", "-c", IDS).splitlines()[-1])
    callers = Callers(secret, ids, services)
    try:
        before = all_of_it.web("old web", old)
        all_of_it.worker("old worker", old)
        callers.begin(before)
        time.sleep(2)
        began = time.monotonic()
        manage(new, "migrate", "-v0")
        migrated = time.monotonic() - began
        time.sleep(2)
        after = all_of_it.web("new web", new, FEED_SHORT_PLACES="1")
        callers.servers = [before, after]
        all_of_it.worker("new worker", new)
        time.sleep(4)
        callers.servers = [after]
        time.sleep(1)
        all_of_it.stop("old web", "old worker")
        time.sleep(2)
        callers.end()
        assert not callers.failed
        manage(new, "shell", "-v0", "-c", "from services.repricing import reprice; reprice()")
        manage(new, "check_book")
        manage(new, "verify_ledger")
        while callers.follows(after, 1):
            pass
        entries = json.loads(manage(new, "shell", "-v0", "-c", ENTRIES).splitlines()[-1])
        assert sorted(callers.fed) == entries
        for name in ("old worker", "new worker"):
            assert "Traceback" not in all_of_it.said(name)
            assert "succeeded" in all_of_it.said(name), name
    finally:
        callers.end()
        all_of_it.stop()
    answered = next(callers.answered)
    print(f"\n{answered} calls answered, none failed; the migration took {migrated:.1f} s of them.")
