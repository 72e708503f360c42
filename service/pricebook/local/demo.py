"""`demo`: the main job on a real book, from an empty database to prices that have moved.

It does over HTTP what a person would do, and checks it: read the list, change a service's price and
a plan's discount in the admin, watch the prices move, and compare every figure with one that was
computed from the file itself. If a figure is not as expected, it is named, and the exit code is 1.
"""

import contextlib
import json
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from pricebook.local.expected import BOOK, TOTAL, read_book, set_discount_of, set_price_of, total
from pricebook.local.home import Fault, Home
from pricebook.local.person import Person
from pricebook.local.programs import Child, stop
from pricebook.local.progress import Bar
from pricebook.local.runner import Runner
from pricebook.local.served import told
from pricebook.local.told import TYPE, Receiver
from pricebook.local.up import port_from_environment, reserve

DATABASE = "pricebook_demo"
MADE_BY = "made by ./pricebook demo, which drops it"
# The person's edits: ten percent more for the telephone, ten percent off for long contracts.
SERVICE_NAME, NEW_PRICE = "Phone", Decimal("22.00")
PLAN_TYPE, NEW_DISCOUNT = "discount", 10
PROCESSES = ("worker", "worker2", "web", "events", "beat")
# The limits of one person alone in the demo that is served.
DAYS = 14  # by which the book's clock is behind at first, where people look at it
LIMITS = {"APPROVAL_LIMIT_ROWS": "500"}
PATIENCE = 120  # seconds until prices that have not moved are a failure


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--serve"]):
        print(f"pricebook: demo takes --serve and no {' '.join(arguments)}", file=sys.stderr)
        return 2
    serve = bool(arguments)
    with Runner(Home.from_environment()) as runner, only_demo(runner), a_port(serve) as held:
        return Demo(runner, held.getsockname()[1]).run(serve=serve)


@contextlib.contextmanager
def only_demo(runner: Runner) -> Iterator[None]:
    """Fault if another demo uses the same database: each would drop the other's."""
    with runner.connect() as connection:
        asked = connection.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [DATABASE])
        if asked.fetchone() != (True,):
            raise Fault("a demo runs already: wait for its end, or stop one that serves (Ctrl-C)")
        yield


def a_port(serve: bool) -> socket.socket:
    """The port that was asked for; if it is taken, the next free one, but not for people to use.

    It is held until the socket is closed.
    """
    port = port_from_environment()
    for number in [port] if serve else [port, *range(port + 2, 65535)]:
        with contextlib.suppress(Fault):
            return reserve(number)
    raise Fault(f"port {port} is taken: choose another with --port N")


class Demo:
    def __init__(self, runner: Runner, port: int) -> None:
        self.runner = runner
        self.port = port
        self.times: list[tuple[str, float]] = []
        self.figures: list[Figure] = []
        # Its own queue and cache keys, so that it disturbs nothing on external servers.
        self.book: dict[str, Any] = {
            "database": DATABASE,
            "broker": 4,
            "cache": 5,
            "variables": {
                "CELERY_QUEUE": DATABASE,
                "CACHE_PREFIX": f"{DATABASE}-{secrets.token_hex(4)}",
                "WEBHOOKS_TO_PRIVATE": "127.0.0.0/8",
            },
        }
        self.environment = self.environment_of_book()

    def environment_of_book(self) -> dict[str, str]:
        servers = {name: self.book[name] for name in ("database", "broker", "cache")}
        variables: dict[str, str] = self.book["variables"]
        return self.runner.environment(**servers) | variables

    def run(self, *, serve: bool) -> int:
        say("Pricebook demo: a real book of 29,202 subscriptions, PostgreSQL, Valkey, two workers")
        with self.step("database and tables"):
            self.make_database()
            self.runner.manage("migrate", "--verbosity=0", environment=self.environment)
            if serve:  # its price changes are not all of one day
                self.runner.manage("demo_clock", str(DAYS), environment=self.environment)
        children = self.start()
        with self.step("import of the book"):
            self.runner.manage("import_book", str(BOOK), environment=self.environment)
        password = secrets.token_urlsafe(15)
        with self.step("workers and the web server answer"):
            key = self.runner.manage(
                "create_credentials", environment=self.environment, input=password
            ).strip()
            for child in children[:4]:
                child.wait_until_answers()
        with self.step("a receiver of events listens"):
            receiver = Receiver(self.runner, self.environment, PATIENCE)

        person = Person(f"http://127.0.0.1:{self.port}", key)
        book = list(read_book())
        self.check("subscriptions", len(book), person.api("?page_size=1")["count"])
        self.check("total before", TOTAL, self.show_list(person))

        person.log_in("admin", password)
        before = set_price_of(book, SERVICE_NAME, NEW_PRICE)
        with self.step(f"{SERVICE_NAME}: list price 20 → {NEW_PRICE}"):
            person.change("service", SERVICE_NAME, full_price=NEW_PRICE)
            self.watch(f"{SERVICE_NAME} → {NEW_PRICE}", expected=before)
        self.check(f"total with {SERVICE_NAME} at {NEW_PRICE}", total(book), person.total())

        number, *_ = receiver.wait_for(TYPE).split()
        say(f"  event {number}, {TYPE}, has come to a receiver; its signature is right")

        before = set_discount_of(book, PLAN_TYPE, NEW_DISCOUNT)
        with self.step(f"plan {PLAN_TYPE}: 0 → {NEW_DISCOUNT} %"):
            person.change("plan", PLAN_TYPE, discount_percent=NEW_DISCOUNT)
            self.watch(f"{PLAN_TYPE} → {NEW_DISCOUNT} %", expected=before)
        self.check("total after", total(book), self.show_list(person))

        with self.step("book check"):
            report = json.loads(
                self.runner.manage("check_book", "--json", environment=self.environment)
            )
        self.check("rows that differ from the rule", 0, report["differing"] + report["waiting"])
        self.check("totals that differ from their rows", 0, len(report["wrong_subtotals"]))
        self.print_table()
        wrong = [figure.name for figure in self.figures if not figure.right]
        if wrong:
            say(f"\n✗ not as expected: {', '.join(wrong)}")
            return 1
        if serve:
            people = self.year()
            self.serve(person.address, {"admin": password, **people}, key)
        say("\n✓ every figure is as expected. Next: ./pricebook demo --serve, or ./pricebook up")
        return 0

    # Steps --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.times.append((name, time.monotonic() - started))
        say(f"✓ {name} ({self.times[-1][1]:.1f} s)")

    def make_database(self) -> None:
        """Make a new, empty database; an older one is dropped, if it is a demo's."""
        name = sql.Identifier(DATABASE)
        try:
            with self.runner.connect() as connection:
                found = connection.execute(
                    "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
                    " WHERE datname = %s",
                    [DATABASE],
                ).fetchone()
                if found and found[0] != MADE_BY:
                    raise Fault(
                        f"there is a database {DATABASE} that no demo has made: "
                        "rename it, the demo would drop it"
                    )
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
                connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
                connection.execute(
                    sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(MADE_BY))
                )
        except psycopg.Error as error:
            raise Fault(f"the demo's database can't be made: {str(error).strip()}") from None

    def watch(self, name: str, expected: int) -> None:
        """Show the newest repricing until it is finished, and check how many rows it moved."""
        deadline = time.monotonic() + PATIENCE
        bar = Bar(name)
        with self.runner.connect(DATABASE) as connection:
            while True:
                row = connection.execute(
                    """
                    SELECT repriced, finished_at IS NOT NULL,
                           extract(epoch FROM coalesce(finished_at, clock_timestamp())
                                              - requested_at)::float8
                      FROM services_repricing ORDER BY id DESC LIMIT 1
                    """
                ).fetchone()
                repriced, finished, seconds = row or (0, False, 0.0)
                bar.show(repriced, expected, seconds)
                if finished:
                    break
                if time.monotonic() > deadline:
                    raise Fault(
                        f"after {PATIENCE} s the workers have moved {repriced:,} of {expected:,} "
                        f"prices; their logs are in {self.runner.home.logs}"
                    )
                time.sleep(0.05)
        bar.end()
        self.check(f"rows repriced, {name}", expected, repriced)
        self.figures[-1].note = f"{repriced / seconds:,.0f} rows/s"

    def show_list(self, person: "Person") -> Decimal:
        page = person.api("?page_size=3")
        say(f"  GET {person.address}/api/subscriptions/?page_size=3")
        for row in page["result"]:
            plan = row["plan"]
            say(
                f"    {row['id']:>6}  {row['client_name']:<12} {row['service']['name']:<22}"
                f" {plan['plan_type']:<9}{plan['discount_percent']:>3} % {row['price']:>8.2f}"
            )
        say(f"    … {page['count']:,} subscriptions, total_amount {page['total_amount']:,.2f}")
        return Decimal(page["total_amount"])

    def start(self) -> list[Child]:
        return [self.runner.start(name, self.environment, port=self.port) for name in PROCESSES]

    def year(self) -> dict[str, str]:
        """Give the book a year, for people to look at; the names and passwords of two more people.

        After it one person alone moves no more than LIMITS, so that four eyes can be tried.
        """
        say("\nand for you to look at, a year before today and what is to come:")
        people = {name: secrets.token_urlsafe(12) for name in ("approver", "reader")}
        # Nobody else is there: the command does all of it, and waits for no worker.
        stop(self.runner.children)
        with self.step("a year of history"):
            said = self.runner.manage(
                "demo_year", environment=self.environment, input=json.dumps(people)
            )
        say(f"  {said.strip()}")
        self.book["variables"] |= LIMITS
        self.environment = self.environment_of_book()
        children = self.start()
        with self.step("book check of the year"):
            self.runner.manage("check_book", "--json", environment=self.environment)
        with self.step("another person approves from here on"):
            for child in children[:4]:
                child.wait_until_answers()
        return people

    def serve(self, address: str, people: dict[str, str], key: str) -> None:
        say(f"\nserving on {address}/ until Ctrl-C")
        for name, password in people.items():
            say(f"  log in   {address}/desk/log-in/   user {name}, password {password}")
        limit = LIMITS["APPROVAL_LIMIT_ROWS"]
        say(f"           admin plans; beyond {limit} rows approver approves; reader only reads")
        say("  commands ./pricebook manage price_change list, beside this, with the same --home")
        say(f"  API      curl -H 'Authorization: Api-Key {key}' {address}/api/subscriptions/")
        with told(self.runner.home, self.port, self.book):
            self.runner.wait()

    # Figures ------------------------------------------------------------------------------------

    def check(self, name: str, expected: Decimal | int, found: Decimal | int) -> None:
        self.figures.append(Figure(name, expected, found))

    def print_table(self) -> None:
        say(f"\n  {'':<40}{'expected':>14}{'found':>14}")
        for figure in self.figures:
            say(
                f"{'✓' if figure.right else '✗'} {figure.name:<40}{figure.expected:>14,}"
                f"{figure.found:>14,}  {figure.note}".rstrip()
            )
        say(f"\n  {'time':<40}{'seconds':>14}")
        for name, seconds in self.times:
            say(f"  {name:<40}{seconds:>14.1f}")


@dataclass
class Figure:
    name: str
    expected: Decimal | int
    found: Decimal | int
    note: str = ""

    @property
    def right(self) -> bool:
        return self.expected == self.found


def say(text: str) -> None:
    print(text, flush=True)
