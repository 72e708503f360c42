"""The goals, and whether they are met: each is measured in this one run, as a ratio.

Every goal is a ratio of two things that ran in turn, round after round, on the same book; its
figure is the median over the rounds. Each function here says what it compares. `--rows` gives the
size; the goals are meant for a million rows and more, and 100,000 subscriptions to one service,
which is the size of a run without options.
"""

import csv
import io
import json
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.db.models import Sum
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from rest_framework.pagination import PageNumberPagination
from rest_framework.viewsets import ReadOnlyModelViewSet
from rest_framework_api_key.models import APIKey

from benchmarks import list_page, repricing, results, total
from benchmarks.progress import step
from benchmarks.scratch import (
    copy_of_the_book,
    environment_of_the_book,
    fill,
    outside,
    say,
    scratch_book,
    scratch_database,
)
from benchmarks.stopwatch import once, one_session, timed
from benchmarks.web_server import a_site, get, rate
from clients.models import Client
from services.models import Plan, Service, Subscription
from services.reading.filters import BookFilter
from services.reading.ordering import BY_ID, Cursor, marked
from services.serializers import SubscriptionSerializer
from services.transfer.chunks import Walk
from services.transfer.formats import CSV, FORMATS
from services.transfer.importing import import_book
from services.transfer.streaming import FIRST_CHUNK, in_pieces

Figures = list[dict[str, Any]]
CONNECTIONS = 8
BATCH = 2_000  # rows that bulk_create sends at once
PAGE = "/api/subscriptions/?page_size=100"


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[1_000_000], quick=[10_000], rounds=5)
    parser.add_argument("--only", choices=list(PARTS), help="the goals of one part")
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    parts = {chosen.only: PARTS[chosen.only]} if chosen.only else dict(PARTS)
    if chosen.quick and not chosen.only:
        del parts["repricing"]  # about big books; the ladder has the same figures of a small one
    figures: Figures = []
    with scratch_database("goals"):
        for rows in chosen.rows:
            for name, part in parts.items():
                step(f"goals, {rows:,}: {name}")
                with copy_of_the_book():
                    figures += [{"rows": rows, **figure} for figure in part(rows, chosen.rounds)]
    results.table("Goals", [{key: figure[key] for key in HEADS} for figure in figures])
    results.save("goals", chosen, under, figures)
    if chosen.plot:
        from benchmarks import plots  # matplotlib takes a second

        plots.goals(figures, chosen.plot)


HEADS = ("rows", "work", "measured", "goal", "met")


BIG = 1_000_000  # what some of the goals are about


def goal(
    work: str,
    measured: float,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    of: str = "×",
    small: bool = False,
) -> dict[str, Any]:
    """A line of the table; `small` says that the book is smaller than the goal is meant for."""
    if at_most is not None:
        wanted, margin = f"at most {at_most:g} {of}".rstrip(), at_most / max(measured, at_most / 10)
    else:
        assert at_least is not None
        wanted, margin = f"at least {at_least:g} {of}".rstrip(), measured / at_least
    missed = f"not with so few rows; it is about {BIG:,}" if small else "NO"
    return {
        "work": work,
        "measured": measured,
        "goal": wanted,
        "met": "yes" if margin >= 1 else missed,
        "margin": margin,
    }


# --- The list page ------------------------------------------------------------------------------

# The first page written by hand, for this one question: ids limited first, joined late, the total
# from the subtotals, rows to bytes without a framework.
BY_HAND = """
SELECT (SELECT sum(amount) FROM services_subtotal),
       (SELECT sum(subscriptions)::bigint FROM services_subtotal),
       page.id, page.plan_id, company_name, email, plan_type, discount_percent, price, price_state,
       locked_until, price_reason, service_id, service.name, full_price, client_id, comment,
       source, external_id, started_at, ended_at
  FROM (SELECT * FROM services_subscription ORDER BY id LIMIT 101) page
  JOIN clients_client client ON client.id = client_id
  JOIN auth_user login ON login.id = user_id
  JOIN services_service service ON service.id = service_id
  JOIN services_plan plan ON plan.id = plan_id
 ORDER BY page.id
"""
encoder = msgspec.json.Encoder(decimal_format="number")


def by_hand() -> bytes:
    rows = connection.connection.execute(BY_HAND).fetchall()
    return encoder.encode(
        {
            "result": [
                {
                    "id": row[2],
                    "plan_id": row[3],
                    "client_name": row[4],
                    "email": row[5],
                    "plan": {"id": row[3], "plan_type": row[6], "discount_percent": row[7]},
                    "price": row[8],
                    "price_state": row[9],
                    "locked_until": row[10],
                    "price_reason": row[11],
                    "service": {"id": row[12], "name": row[13], "full_price": row[14]},
                    "client_id": row[15],
                    "comment": row[16],
                    "source": row[17],
                    "external_id": row[18],
                    "started_at": row[19],
                    "ended_at": row[20],
                }
                for row in rows[:100]
            ],
            "total_amount": rows[0][0],
            "count": rows[0][1],
        }
    )


class Numbered(PageNumberPagination):
    page_size = 100


class Stock(ReadOnlyModelViewSet):
    """DRF as it is commonly used: a ModelSerializer, select_related, pages with numbers."""

    queryset = Subscription.objects.select_related("client__user", "plan", "service").order_by("id")
    serializer_class = SubscriptionSerializer
    pagination_class = Numbered


def request_of(address: str) -> Callable[[], bytes]:
    """A request with an API key through the shipped service: middleware, authentication, view,
    JSON.
    """
    _, key = APIKey.objects.create_key(name="benchmark")
    path, _, query = address.partition("?")
    factory = RequestFactory(SERVER_NAME="localhost", HTTP_AUTHORIZATION=f"Api-Key {key}")
    environ = factory.get(path).environ | {"QUERY_STRING": query}
    site = WSGIHandler()

    def call() -> bytes:
        statuses: list[str] = []

        def start(status: str, headers: Any, error: Any = None, /) -> Callable[[bytes], object]:
            statuses.append(status)
            return lambda written: None

        response = site(environ | {"wsgi.input": io.BytesIO()}, start)
        body = b"".join(response)
        response.close()
        if not statuses[0].startswith("200"):
            raise AssertionError(f"{address}: {statuses[0]} {body[:500]!r}")
        return body

    return call


def cpu_of(call: Callable[[], object]) -> Callable[[], float]:
    def measured() -> float:
        call()
        return timed(call)[0]

    return measured


def list_pages(rows: int, rounds: int) -> Figures:
    """The shipped page against one by hand, and DRF's own (no middleware, no key) against ours."""
    fill(rows)
    one_session()
    call = request_of(PAGE)
    stock = list_page.call_of(Stock, "")
    call()
    with CaptureQueriesContext(connection) as queries:
        answer = json.loads(call(), parse_float=Decimal)
    asked = len(queries)  # before the next request empties the log
    written = json.loads(by_hand(), parse_float=Decimal)
    if any(answer[key] != written[key] for key in written):
        raise AssertionError(f"not the same page: {written}, not {answer}")
    if [row["id"] for row in json.loads(stock())["results"]] != [
        row["id"] for row in answer["result"]
    ]:
        raise AssertionError("DRF's own page has other rows")
    ways = {"ours": call, "by hand": by_hand, "stock": stock}
    # A round is short, and sharing the processor's caches costs the longer code more.
    cpu = results.interleaved({name: cpu_of(way) for name, way in ways.items()}, max(rounds, 9))
    say("  " + ", ".join(f"{way} {1000 * statistics.median(cpu[way]):.2f} ms" for way in cpu))
    return [
        goal(
            "list page, CPU against the page by hand",
            results.ratio_to(cpu["by hand"], cpu["ours"]),
            at_most=1.6,
        ),
        goal(
            "ModelSerializer with page numbers against it",
            results.ratio_to(cpu["ours"], cpu["stock"]),
            at_least=8,
            small=rows < BIG,
        ),
        goal("queries of the list page, the key's too", asked, at_most=2, of=""),
    ]


def whatever_the_size(rows: int, rounds: int) -> Figures:
    fill(rows)
    return [*middle(rows, rounds), *totals(rows, rounds)]


def middle(rows: int, rounds: int) -> Figures:
    """The page in the middle of this book against the first page of one of 10,000."""
    big = connection.settings_dict["NAME"]
    half = Subscription.objects.order_by("pk")[rows // 2].pk
    in_the_middle = request_of(f"{PAGE}&cursor={Cursor(half, of=marked(BookFilter(), BY_ID))}")
    with scratch_book("goals_small", 10_000):
        small = connection.settings_dict["NAME"]
        first = request_of(PAGE)

        def in_book(name: str, call: Callable[[], bytes]) -> float:
            connection.close()
            connection.settings_dict["NAME"] = name
            for _ in range(5):
                call()
            return timed(call)[0]

        cpu = results.interleaved(
            {
                "first": partial(in_book, small, first),
                "middle": partial(in_book, big, in_the_middle),
            },
            rounds,
        )
        connection.close()
        connection.settings_dict["NAME"] = small
    connection.close()
    connection.settings_dict["NAME"] = big
    return [
        goal(
            "page in the middle against the first of 10,000",
            results.ratio_to(cpu["first"], cpu["middle"]),
            at_most=1.3,
        )
    ]


def totals(rows: int, rounds: int) -> Figures:
    """The exact total against a GET of one value from Valkey, by the clock."""
    ratios = {figure["total"]: figure["× GET"] for figure in total.measure(rows, rounds)}
    return [
        goal("total of all against a bare GET", ratios["shipped"], at_most=3),
        goal("total of a service against a bare GET", ratios["shipped, of a service"], at_most=3),
    ]


# --- Writes -------------------------------------------------------------------------------------

# In the server, so that no client's time dilutes the ratio.
INSERTS = """
DO $$
BEGIN
    FOR n IN 1..{number} LOOP
        INSERT INTO services_subscription (client_id, service_id, plan_id, comment)
        VALUES ({client}, {service}, {plan}, '');
        COMMIT;
    END LOOP;
END $$
"""


def inserts(rows: int, rounds: int) -> Figures:
    """Eight connections insert into one service and plan, against the same without subtotals."""
    fill(min(rows, 10_000))
    one = Subscription.objects.earliest("pk")
    each = 50 if rows <= 10_000 else 500
    statement = INSERTS.format(
        number=each, client=one.client_id, service=one.service_id, plan=one.plan_id
    )

    def insert(kept: bool) -> float:
        state = "ENABLE" if kept else "DISABLE"
        execute(f"ALTER TABLE services_subscription {state} TRIGGER subtotal_of_insert")
        connections = [outside() for _ in range(CONNECTIONS)]
        threads = [
            threading.Thread(target=other.execute, args=(statement,)) for other in connections
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = time.perf_counter() - began
        for other in connections:
            other.close()
        return CONNECTIONS * each / taken

    before = Subscription.objects.count()
    rates = results.interleaved(
        {"without": partial(insert, False), "kept": partial(insert, True)}, max(rounds, 3)
    )
    expected = before + 2 * CONNECTIONS * each * len(rates["kept"])
    if Subscription.objects.count() != expected:
        raise AssertionError("not all rows were inserted")
    return [
        goal(
            "inserts/s of eight connections, total kept",
            results.ratio_to(rates["without"], rates["kept"]),
            at_least=0.8,
        )
    ]


def list_price(rows: int, rounds: int) -> Figures:
    """The save of a list price that 100,000 subscriptions follow against one that 100 follow."""
    many = min(rows, 100_000)
    fill(many, (1, 8))
    few = Service.objects.create(name="A service of few", full_price=100)
    execute(
        "INSERT INTO services_subscription (client_id, service_id, plan_id, comment)"
        f" SELECT client_id, {few.pk}, plan_id, '' FROM services_subscription ORDER BY id LIMIT 100"
    )

    def save(service: Service) -> float:
        taken = []
        for _ in range(5):
            service.full_price += 1
            taken.append(once(service.save)[2])
        return statistics.median(taken)

    services = {"many": Service.objects.earliest("pk"), "few": few}
    times = results.interleaved(
        {name: partial(save, service) for name, service in services.items()}, max(rounds, 5)
    )
    return [
        goal(
            f"list price: {many:,} affected against 100",
            results.ratio_to(times["few"], times["many"]),
            at_most=1.2,
        )
    ]


def repricings(rows: int, rounds: int) -> Figures:
    """All services: one worker against one UPDATE; two workers against the tutorial's way.

    That way is a task for each subscription through its queue, on all cores, hence two workers; see
    benchmarks/repricing.py.
    """
    fill(rows)
    measured = repricing.measure(rows, rounds)
    results.table("Subscriptions repriced a second", measured)
    ways = {figure["way"]: figure for figure in measured}
    ours, two = ways["Pricebook"], ways["Pricebook, two workers"]
    growth = max(ours["heap +%"], ours["indexes +%"])
    return [
        goal("repricing against one UPDATE", ours["× one UPDATE"], at_least=1.3, small=rows < BIG),
        goal("heap and indexes grow by a repricing, %", growth, at_most=15, of="%"),
        goal(
            "repricing by two workers against one task a row",
            two["rows/s"] / ways["one task a row"]["rows/s"],
            at_least=500,
            small=rows < BIG,
        ),
    ]


def imports(rows: int, rounds: int) -> Figures:
    """`import_book` into an empty book against `bulk_create` of the same, triggers included."""
    file = a_file(min(rows, BIG))
    sums = set()

    def load(way: Callable[[bytes], object]) -> float:
        with copy_of_the_book():
            seconds = once(partial(way, file))[2]
            sums.add(Subscription.objects.aggregate(total=Sum("price"))["total"])
        return 1 / seconds

    rates = results.interleaved(
        {
            "import": partial(load, lambda content: import_book(io.BytesIO(content))),
            "bulk_create": partial(load, bulk_create),
        },
        rounds,
    )
    if len(sums) != 1:
        raise AssertionError(f"not the same book: {sums}")
    return [
        goal(
            "import_book against bulk_create",
            results.ratio_to(rates["bulk_create"], rates["import"]),
            at_least=5,
        )
    ]


COLUMNS = (
    *("company_name", "email", "service", "full_price", "plan_type", "discount_percent"),
    *("source", "external_id", "started_at", "comment"),
)


def a_file(rows: int) -> bytes:
    """A file with five subscriptions for each client, to fifty services by eight plans."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for n in range(rows):
        client, service, plan = n % max(1, rows // 5), n * 7 % 50, n * 3 % 8
        writer.writerow(
            [
                f"Company {client}",
                f"client-{client}@example.com",
                f"Service {service}",
                100 + service,
                "discount",
                5 * plan,
                "crm",
                n,
                "2024-01-01T00:00:00Z",
                f"row {n}",
            ]
        )
    return text.getvalue().encode()


def bulk_create(content: bytes) -> None:
    """The import as usual with the ORM: table after table, two thousand rows at a time."""

    def rows() -> Iterator[dict[str, str]]:
        return csv.DictReader(io.StringIO(content.decode()))

    names = {row["email"]: row["company_name"] for row in rows()}
    prices = {row["service"]: Decimal(row["full_price"]) for row in rows()}
    discounts = {(row["plan_type"], row["discount_percent"]) for row in rows()}
    users = User.objects.bulk_create(
        [User(username=email, email=email, password="!") for email in names], batch_size=BATCH
    )
    clients = Client.objects.bulk_create(
        [Client(user=user, company_name=names[user.email]) for user in users], batch_size=BATCH
    )
    services = Service.objects.bulk_create(
        [Service(name=name, full_price=price) for name, price in prices.items()]
    )
    plans = Plan.objects.bulk_create(
        [Plan(plan_type=kind, discount_percent=int(percent)) for kind, percent in discounts]
    )
    client_of = dict(zip(names, clients, strict=True))
    service_of = {service.name: service for service in services}
    plan_of = {(plan.plan_type, str(plan.discount_percent)): plan for plan in plans}
    subscriptions = (
        Subscription(
            client=client_of[row["email"]],
            service=service_of[row["service"]],
            plan=plan_of[row["plan_type"], row["discount_percent"]],
            source=row["source"],
            external_id=row["external_id"],
            started_at=row["started_at"],
            comment=row["comment"],
        )
        for row in rows()
    )
    while batch := list(islice(subscriptions, BATCH)):
        Subscription.objects.bulk_create(batch)


# --- Everything at once -------------------------------------------------------------------------

COPY = f"""
COPY (SELECT rtrim({CSV.line}, E'\\n')
        FROM services_subscription subscription
        JOIN clients_client client ON client.id = subscription.client_id
        JOIN auth_user login ON login.id = client.user_id
        JOIN services_service service ON service.id = subscription.service_id
        JOIN services_plan plan ON plan.id = subscription.plan_id
       ORDER BY subscription.id) TO STDOUT
"""


def stream(rows: int, rounds: int) -> Figures:
    """The lines of the whole book by chunks against one COPY of the same text.

    Both are in the order of the ids, each in one session without parallel workers, and are read by
    the same loop here. COPY hashes all clients once, and holds one snapshot as long as it lasts.
    """
    fill(rows)
    one_session()
    sizes: set[tuple[int, int]] = set()

    def copy() -> Iterator[bytes]:
        with connection.connection.cursor().copy(COPY) as found:
            yield from map(bytes, found)

    def read(texts: Callable[[], Iterable[bytes]]) -> float:
        began, lines, size = time.perf_counter(), 0, 0
        for text in texts():
            lines += text.count(b"\n")
            size += len(text)
        sizes.add((lines, size))
        return rows / (time.perf_counter() - began)

    def walk() -> Walk:
        return Walk(CSV, first_chunk=FIRST_CHUNK)

    first = statistics.median(once(lambda: next(iter(walk())))[2] for _ in range(5))
    with (
        patch.dict(os.environ, environment_of_the_book(), clear=True),
        multiprocessing.get_context("spawn").Pool(1) as processes,
    ):
        grown = processes.apply(memory_of_a_stream)
    rates = results.interleaved(
        {"COPY": partial(read, copy), "ours": partial(read, walk)}, max(rounds, 3)
    )
    if len(sizes) != 1:
        raise AssertionError(f"not the same text: {sizes}")
    return [
        goal(
            "rows/s streamed against COPY",
            results.ratio_to(rates["COPY"], rates["ours"]),
            at_least=0.5,
        ),
        goal("memory that streaming adds, MB", grown, at_most=10, of="MB"),
        goal("first text of the stream, ms", 1000 * first, at_most=100, of="ms"),
    ]


def memory_of_a_stream() -> float:
    """The MB by which a process grows that streams the book in each format.

    Call it in a process of its own: it would reuse memory that another part has taken and freed.
    """
    connection.ensure_connection()
    before = resident_kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    for format in FORMATS.values():
        for _ in in_pieces(iter(Walk(format, first_chunk=FIRST_CHUNK))):
            pass
    return (resident_kilobytes("VmHWM") - before) / 1024


def resident_kilobytes(of: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{of}:")[2].split()[0])


# --- Requests a second --------------------------------------------------------------------------


def requests(rows: int, rounds: int) -> Figures:
    """The shipped site against the tutorial's last chapter, each under granian with two workers.

    The clients run on the same cores as the servers.
    """
    fill(rows)
    _, key = APIKey.objects.create_key(name="benchmark")
    seconds = 1.0 if rows <= 10_000 else 5.0
    with (
        a_site("pricebook.wsgi:application") as ours,
        a_site("benchmarks.tutorial_site:application") as theirs,
    ):
        asked = {
            "ours": (ours, PAGE, {"Authorization": f"Api-Key {key}"}),
            "theirs": (theirs, "/api/subscriptions/", {}),
        }
        answers = [json.loads(get(*request)) for request in asked.values()]
        if len({str([row["id"] for row in answer["result"]]) for answer in answers}) != 1:
            raise AssertionError("not the same page")
        rates = results.interleaved(
            {way: partial(rate, *request, seconds) for way, request in asked.items()},
            max(rounds, 4),
        )
    for way, measured in rates.items():
        say(f"  {way}: {statistics.median(measured):,.0f} requests/s")
    return [
        goal(
            "requests/s against the tutorial's last chapter",
            results.ratio_to(rates["theirs"], rates["ours"]),
            at_least=4,
        )
    ]


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


PARTS: dict[str, Callable[[int, int], Figures]] = {
    "page": list_pages,
    "size": whatever_the_size,
    "inserts": inserts,
    "list price": list_price,
    "repricing": repricings,
    "import": imports,
    "stream": stream,
    "requests": requests,
}
