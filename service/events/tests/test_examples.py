"""The receivers, the biller and the exchange of docs/examples/, against real deliveries, and
through kills.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from runpy import run_path

import pytest
from django.conf import settings
from django.db import connection
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from events import endpoints
from events.delivering import deliver
from events.deriving import derive
from events.given import new_secret
from events.models import Attempt, Endpoint, Happening
from events.tests.making import LOOPBACK, an_endpoint, some_events
from keys.tests.making import a_key
from price_changes.tests.changes import drained
from pricebook.tests.servers import until
from pricebook.tests.web import WebServer
from services.jobs import running
from services.models import Service, Subscription, book_clock
from services.reading.total import figures
from services.repricing import reprice
from services.tests.factories import a_book, a_plan

EXAMPLES = Path(settings.BASE_DIR).parent / "docs" / "examples"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node on this machine")
PROGRAMS = {
    "receiver.py": [sys.executable, str(EXAMPLES / "receiver.py")],
    "receiver.mjs": [str(NODE), str(EXAMPLES / "receiver.mjs")],
    "biller.py": [sys.executable, str(EXAMPLES / "biller.py")],
}
# Programs that verify what is on their standard input, a case a line, and print true or false.
VERIFIERS = {
    "receiver.py": [
        sys.executable, "-c",
        "import json, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from receiver import Unverified, verify\n"
        "for line in sys.stdin:\n"
        "    headers, body, secrets = json.loads(line)\n"
        "    try: print(verify(headers, body.encode(), secrets, time.time()) is None)\n"
        "    except Unverified: print(False)\n",
        str(EXAMPLES),
    ],
    "receiver.mjs": [
        str(NODE), "--input-type=module", "-e",
        f"import {{ verify, Unverified }} from '{EXAMPLES}/receiver.mjs';\n"
        "import { readFileSync } from 'node:fs';\n"
        "for (const line of readFileSync(0, 'utf8').trim().split('\\n')) {\n"
        "  const [headers, body, secrets] = JSON.parse(line);\n"
        "  try { verify(headers, Buffer.from(body), secrets, Date.now() / 1000);"
        " console.log('True'); }\n"
        "  catch (error) { if (!(error instanceof Unverified)) throw error;"
        " console.log('False'); }\n"
        "}\n",
    ],
}  # fmt: skip


def in_both(*more: str) -> pytest.MarkDecorator:
    programs = ["receiver.py", pytest.param("receiver.mjs", marks=needs_node), *more]
    return pytest.mark.parametrize("program", programs)


def cases() -> Iterator[tuple[dict[str, str], str, list[str]]]:
    """Headers, body and secrets; the first are right, and then each thing is wrong in turn."""
    old, new, other = (new_secret() for _ in range(3))
    body, now = '{"amount":"1234.50","name":"Ромашка"}', datetime.now(UTC).replace(microsecond=0)

    def signed(secrets: list[str], at: datetime = now, by: str = "evt_1") -> dict[str, str]:
        return {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(Webhook(each).sign(by, at, body) for each in secrets),
        }

    yield signed([new]), body, [new]
    yield signed([new, old]), body, [old]
    yield signed([new]), body, [old, new]
    yield signed([new], now - timedelta(seconds=280)), body, [new]
    yield signed([new], now + timedelta(seconds=280)), body, [new]
    good = signed([new])
    yield good, body + " ", [new]
    yield good, body, [other]
    yield good | {"webhook-id": "evt_2"}, body, [new]
    yield good | {"webhook-timestamp": str(int(now.timestamp()) - 1)}, body, [new]
    yield signed([new], now - timedelta(seconds=320)), body, [new]
    yield signed([new], now + timedelta(seconds=320)), body, [new]
    for timestamp in ("", "-1", "1e3", "٣", "now"):
        yield good | {"webhook-timestamp": timestamp}, body, [new]
    signature = good["webhook-signature"]
    for wrong in ("", "v1,", "v1", "v2" + signature[2:], signature[:-3], "v1,?", signature[3:]):
        yield good | {"webhook-signature": wrong}, body, [new]
    for name in good:
        yield {each: good[each] for each in good if each != name}, body, [new]


def by_the_library(headers: dict[str, str], body: str, secrets: list[str]) -> bool:
    for secret in secrets:
        with contextlib.suppress(WebhookVerificationError, ValueError):
            Webhook(secret).verify(body, headers, json_parse=False)
            return True
    return False


@in_both()
def test_they_verify_as_the_library_of_the_specification_does(program):
    tried = list(cases())
    done = subprocess.run(
        VERIFIERS[program],
        input="".join(json.dumps(case) + "\n" for case in tried),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    found = [line == "True" for line in done.stdout.split()]
    assert found == [by_the_library(*case) for case in tried]
    assert found[:5] == [True] * 5
    assert not any(found[5:])


class Program:
    """An example as a process; a kill leaves its store, on which the next start goes on."""

    def __init__(self, name: str, directory: Path, secret: str, web: WebServer, key: str) -> None:
        self.name, self.log = name, directory / "log"
        self.store = directory / "store"
        self.environment = os.environ | {
            "WEBHOOK_SECRETS": secret,
            "PRICEBOOK_URL": f"http://localhost:{web.port}",
            "PRICEBOOK_KEY": key,
            "STORE": str(self.store),
            "PORT": "0",
            "POLL": "3600",  # so that nothing but an event wakes it
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it; returns its address."""
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                PROGRAMS[self.name], env=self.environment, stdout=output, stderr=output
            )
        until(lambda: "listening on" in self.said())
        address = self.said().split("listening on ")[1].split()[0]
        # The test's endpoint follows it to its new port.
        Endpoint.objects.update(url=address)
        return address

    def said(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stored(self) -> list[int]:
        """The numbers of the events that it has."""
        if self.name.endswith(".mjs"):
            lines = [json.loads(line) for line in self.store.read_text().splitlines()]
            return sorted(line["number"] for line in lines if "number" in line)
        with contextlib.closing(sqlite3.connect(self.store)) as database:
            rows = database.execute("SELECT number FROM event ORDER BY number")
            return [number for (number,) in rows]


@pytest.fixture(scope="module")
def web(tmp_path_factory, django_db_setup):
    server = WebServer(tmp_path_factory.mktemp("web") / "log")
    yield server
    server.stop()


@pytest.fixture
def mortal_web(tmp_path):
    server = WebServer(tmp_path / "web")
    yield server
    server.stop()


@pytest.fixture
def started(web, tmp_path, settings):
    """A function that starts an example, with an endpoint that sends to it."""
    settings.WEBHOOKS_TO_PRIVATE = LOOPBACK
    programs: list[Program] = []

    def start(name: str) -> tuple[Program, Endpoint]:
        endpoint = an_endpoint()
        _, key = a_key("receiver", "events:read", "ledger:read")
        programs.append(Program(name, tmp_path, endpoint.secret, web, key))
        programs[-1].start()
        return programs[-1], endpoint

    yield start
    for program in programs:
        program.kill()


def deliver_again() -> None:
    """Deliver what failed, without its pause."""
    Endpoint.objects.update(next_attempt_at=book_clock())
    deliver()


@in_both()
@pytest.mark.django_db(transaction=True)
def test_a_receiver_stores_each_event_once_and_misses_none(program, started):
    receiver, endpoint = started(program)
    some_events(1, 3)
    deliver()
    assert receiver.stored() == [1, 2, 3]
    endpoints.test(endpoint.pk, "ann")
    deliver()
    assert Attempt.objects.get(number=None).status_code == 204

    # A replay is the same events again; both secrets are good while one is rotated.
    endpoints.rotate(endpoint.pk, "ann")
    endpoints.replay(endpoint.pk, "ann", 1)
    deliver()
    assert receiver.stored() == [1, 2, 3]
    assert Attempt.objects.filter(number=1, status_code=204).count() == 2
    assert receiver.said().count(f"evt_{1:032}") == 1, "it was new once"

    # It gets what comes while it is dead when it lives again.
    receiver.kill()
    some_events(4, 6)
    deliver()
    receiver.start()
    deliver_again()
    until(lambda: receiver.stored() == [1, 2, 3, 4, 5, 6])
    until(lambda: "has all up to 6" in receiver.said())  # and reads no further by itself

    # Somebody lets the endpoint skip events: their numbers jump, and it reads what lies between.
    some_events(7, 9)
    endpoints.replay(endpoint.pk, "ann", 9)
    deliver()
    until(lambda: receiver.stored() == [1, 2, 3, 4, 5, 6, 7, 8, 9])

    # A secret that has leaked is good no more.
    secret = endpoints.rotate(endpoint.pk, "ann", 0).secret
    some_events(10, 10)
    deliver()
    assert Attempt.objects.filter(number=10).get().status_code == 401
    receiver.kill()
    receiver.environment["WEBHOOK_SECRETS"] = f"{endpoint.secret} {secret}"
    receiver.start()
    deliver_again()
    assert receiver.stored() == [*range(1, 11)]


@pytest.mark.django_db(transaction=True)
def test_a_biller_has_the_same_book_after_kills_of_both_sides(started, web, mortal_web):
    a_book(24)
    biller, _ = started("biller.py")
    biller.kill()
    biller.environment["PRICEBOOK_URL"] = f"http://localhost:{mortal_web.port}"
    biller.start()

    def total() -> tuple[int, Decimal]:
        done = subprocess.run(
            [*PROGRAMS["biller.py"], "total"],
            env=biller.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        number, amount = done.stdout.split()
        return int(number), Decimal(amount)

    def ours() -> tuple[int, Decimal]:
        paid = figures().paid
        return paid.subscriptions, paid.amount

    def told() -> None:
        derive()
        deliver_again()

    until(lambda: total() == ours())
    first, second, *_ = Service.objects.order_by("pk")
    Service.objects.filter(pk=first.pk).update(full_price=Decimal("123.45"))
    reprice()
    told()
    until(lambda: total() == ours())

    biller.kill()
    Service.objects.filter(pk=second.pk).update(full_price=Decimal("9.99"))
    reprice()
    Subscription.objects.filter(pk=Subscription.objects.earliest("pk").pk).update(
        ended_at=book_clock()
    )
    told()
    biller.start()
    until(lambda: total() == ours())

    mortal_web.stop()  # by kill -9; the biller is woken, and finds nobody to read from
    Subscription.objects.latest("pk").delete()
    Service.objects.filter(pk=first.pk).update(full_price=Decimal("200.01"))
    reprice()
    told()
    until(lambda: "can't read" in biller.said())
    biller.kill()
    biller.environment["PRICEBOOK_URL"] = f"http://localhost:{web.port}"
    biller.start()
    until(lambda: total() == ours())
    assert ours()[0] == 22

    # The places of its feed have ended: it begins anew.
    with contextlib.closing(sqlite3.connect(biller.store)) as database, database:
        prices = [price for (price,) in database.execute("SELECT price FROM entry")]
        database.execute("DELETE FROM entry WHERE id % 2 = 0")
    assert all(price is None or re.fullmatch(r"[0-9]+\.[0-9]{2}", price) for price in prices)
    assert total() != ours()
    Happening.objects.note("book.loaded")
    told()
    until(lambda: total() == ours())


def workers_at_work(over: threading.Event) -> None:
    """Do the work of the workers, until it is over."""
    try:
        while not over.wait(0.01):
            running.run()
            drained()
            derive()
            deliver_again()
    finally:
        connection.close()


def without_what_differs(text: str) -> list[str]:
    """The lines of a transcript, without ids, sums, and the kills of a server."""
    lines = [line for line in text.splitlines() if not line.startswith("    $ kill")]
    return [re.sub(r'"[0-9a-f]{32}"|[0-9]+', "N", line) for line in lines]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_transcript_of_an_exchange_is_what_comes_of_its_commands(tmp_path, settings):
    settings.WEBHOOKS_TO_PRIVATE = LOOPBACK
    web = WebServer(tmp_path / "web", WEBHOOKS_TO_PRIVATE="127.0.0.0/8")
    over = threading.Event()
    workers = threading.Thread(target=workers_at_work, args=(over,))
    a_plan(0, "full")
    exchange = run_path(str(EXAMPLES / "exchange.py"))
    keys = {
        f"{name.upper()}_KEY": a_key(name, *scopes)[1]
        for name, scopes in exchange["SCOPES"].items()
    }
    workers.start()
    try:
        done = subprocess.run(
            [sys.executable, EXAMPLES / "exchange.py"],
            env=os.environ | keys | {"PRICEBOOK_URL": f"http://localhost:{web.port}"},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        over.set()
        workers.join()
        web.stop()
    assert done.returncode == 0, done.stderr
    printed = (EXAMPLES.parent / "exchange.md").read_text()
    body = printed[printed.index("\n## ") :]
    assert without_what_differs(done.stdout) == without_what_differs(body)
