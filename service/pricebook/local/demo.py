"""`demo`: the main job on a real book, from an empty database to prices that have moved.

What a person would do, done over HTTP and checked: read the list, change a service's price and a
plan's discount in the admin, watch the prices move, and compare every figure with one that was
computed from the file itself. Exit code 1 names the figure that is not as expected.
"""

import contextlib
import csv
import gzip
import http.cookiejar
import json
import secrets
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from html.parser import HTMLParser
from typing import Any

import psycopg
from psycopg import sql

from pricebook.local.home import Fault, Home
from pricebook.local.progress import Bar
from pricebook.local.runner import SERVICE, Runner
from pricebook.local.up import port_from_environment, reserve

BOOK = SERVICE / "services" / "data" / "telco_book.csv.gz"
TOTAL = Decimal("456360.00")  # stated in the NOTICE beside the book
DATABASE = "pricebook_demo"
MADE_BY = "made by ./pricebook demo, which drops it"

# What the person does: ten percent more for the telephone, ten percent off for long contracts.
SERVICE_NAME, NEW_PRICE = "Phone", Decimal("22.00")
PLAN_TYPE, NEW_DISCOUNT = "discount", 10
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
    """The port that was asked for; if it is taken, the next free one, unless people are to use it.

    Taken until the socket is closed.
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
        # Queue and cache keys of its own, so that it disturbs nothing on servers from outside.
        self.environment = runner.environment(database=DATABASE, broker=4, cache=5) | {
            "CELERY_QUEUE": DATABASE,
            "CACHE_PREFIX": f"{DATABASE}-{secrets.token_hex(4)}",
        }

    def run(self, *, serve: bool) -> int:
        say("Pricebook demo: a real book of 29,202 subscriptions, PostgreSQL, Valkey, two workers")
        with self.step("database and tables"):
            self.make_database()
            self.runner.manage("migrate", "--verbosity=0", environment=self.environment)
        children = [
            self.runner.start(name, self.environment, port=self.port)
            for name in ("worker", "worker2", "web", *(["beat"] if serve else []))
        ]
        with self.step("import of the book"):
            self.runner.manage("import_book", str(BOOK), environment=self.environment)
        password = secrets.token_urlsafe(15)
        with self.step("two workers and the web server answer"):
            key = self.runner.manage(
                "create_credentials", environment=self.environment, input=password
            ).strip()
            for child in children[:3]:
                child.wait_until_answers()

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
            self.serve(person.address, password, key)
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
        """A new, empty database; an older one goes, if it is a demo's."""
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

    def serve(self, address: str, password: str, key: str) -> None:
        say(f"\nserving on {address}/ until Ctrl-C")
        say(f"  admin    {address}/admin/   user admin, password {password}")
        say(f"  API      curl -H 'Authorization: Api-Key {key}' {address}/api/subscriptions/")
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


# What is expected, from the file alone -----------------------------------------------------------


def read_book() -> Iterator[dict[str, str]]:
    with gzip.open(BOOK, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def total(book: list[dict[str, str]]) -> Decimal:
    """Computed here from the rule's words, not by the code that it is to check."""
    return sum(
        (
            (Decimal(row["full_price"]) * (100 - int(row["discount_percent"])) / 100).quantize(
                Decimal("0.01"), ROUND_HALF_UP
            )
            for row in book
        ),
        Decimal("0.00"),
    )


def set_price_of(book: list[dict[str, str]], service: str, price: Decimal) -> int:
    rows = [row for row in book if row["service"] == service]
    for row in rows:
        row["full_price"] = str(price)
    return len(rows)


def set_discount_of(book: list[dict[str, str]], plan_type: str, percent: int) -> int:
    rows = [row for row in book if row["plan_type"] == plan_type]
    for row in rows:
        row["discount_percent"] = str(percent)
    return len(rows)


# A person at a browser ---------------------------------------------------------------------------


class Person:
    """Reads the API with a key, and fills in the admin's forms as a browser sends them."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self.key = key
        self.browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def api(self, query: str) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.address}/api/subscriptions/{query}",
            headers={"Authorization": f"Api-Key {self.key}"},
        )
        # JSON numbers as they are written: a float would not be exact to the cent.
        found: dict[str, Any] = json.loads(self.open(request), parse_float=Decimal)
        return found

    def total(self) -> Decimal:
        return Decimal(self.api("?page_size=1")["total_amount"])

    def log_in(self, user: str, password: str) -> None:
        self.submit("/admin/login/", username=user, password=password)

    def change(self, model: str, name: str, **fields: object) -> None:
        """Find it in the admin's list, open its form, change fields, save."""
        path = f"/admin/services/{model}/"
        links = Links(self.open(self.address + path + "?" + urllib.parse.urlencode({"q": name})))
        found = [link for link in links.hrefs if link.partition("?")[0].endswith("/change/")]
        if not found:
            raise Fault(f"the admin's list of {model}s shows no {name}")
        self.submit(found[0].partition("?")[0], **fields)

    def submit(self, path: str, **fields: object) -> None:
        form = Form(self.open(self.address + path), having=next(iter(fields)))
        data = form.data | {name: str(value) for name, value in fields.items()}
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.address + path,
            data=urllib.parse.urlencode(data).encode(),
            headers={"Referer": self.address + path},
        )
        answer = self.open(request)
        if errors := Errors(answer).text:
            raise Fault(f"the form at {path} was not taken: {errors}")

    def open(self, request: str | urllib.request.Request) -> str:
        url = request if isinstance(request, str) else request.full_url
        try:
            with self.browser.open(request, timeout=60) as response:
                text: str = response.read().decode()
                return text
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
            raise Fault(f"{url} answered {error.code}: {said}") from None


class Form(HTMLParser):
    """The fields of the form that has the field `having`, as a browser would send them."""

    def __init__(self, html: str, having: str) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self.select = self.textarea = ""
        self.feed(html)
        self.data = next((form for form in self.forms if having in form), {})
        if not self.data:
            raise Fault(f"the page has no form with a field {having}")

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in pairs}
        name, value = attributes.get("name", ""), attributes.get("value", "")
        if tag == "form":
            self.forms.append({})
        elif not self.forms:
            return
        elif tag == "input" and name:
            kind = attributes.get("type", "text")
            checkable = kind in ("checkbox", "radio")
            if kind not in ("submit", "button", "file") and (
                not checkable or "checked" in attributes
            ):
                self.forms[-1][name] = value or ("on" if checkable else "")
        elif tag == "select" and name:
            self.select = name
        elif tag == "option" and self.select and "selected" in attributes:
            self.forms[-1][self.select] = value
        elif tag == "textarea" and name:
            self.textarea = name
            self.forms[-1][name] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self.select = ""
        elif tag == "textarea":
            self.textarea = ""

    def handle_data(self, text: str) -> None:
        if self.textarea:
            self.forms[-1][self.textarea] += text


class Links(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and (href := dict(pairs).get("href")):
            self.hrefs.append(href)


class Errors(HTMLParser):
    """What stands in the page's lists of errors."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inside = False
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        self.inside = self.inside or "errorlist" in (dict(pairs).get("class") or "").split()

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "ul"

    def handle_data(self, text: str) -> None:
        if self.inside:
            self.text = f"{self.text} {text.strip()}".strip()
