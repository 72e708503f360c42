"""The goals of the whole book at once: the import of a file, the stream."""

import csv
import io
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from unittest.mock import patch

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Sum

from benchmarks import results
from benchmarks.goals.line import BIG, Figures, goal
from benchmarks.scratch import copy_of_the_book, environment_of_the_book, fill
from benchmarks.stopwatch import once, one_session
from clients.models import Client
from services.models import Plan, Service, Subscription
from services.transfer.chunks import Walk
from services.transfer.formats import CSV, FORMATS
from services.transfer.importing import import_book
from services.transfer.streaming import FIRST_CHUNK, in_pieces

BATCH = 2_000  # rows that bulk_create sends at once


def imports(rows: int, rounds: int) -> Figures:
    """`import_book` into an empty book against `bulk_create` of the same, triggers included."""
    file = a_file(min(rows, BIG))
    sums = set()
    cpu: dict[str, list[float]] = {"import": [], "bulk_create": []}

    def load(way: str, call: Callable[[bytes], object]) -> float:
        with copy_of_the_book():
            _, of_cpu, seconds = once(partial(call, file))
            cpu[way].append(1 / of_cpu)
            sums.add(Subscription.objects.aggregate(total=Sum("price"))["total"])
        return 1 / seconds

    rates = results.interleaved(
        {
            "import": partial(load, "import", lambda content: import_book(io.BytesIO(content))),
            "bulk_create": partial(load, "bulk_create", bulk_create),
        },
        rounds,
    )
    if len(sums) != 1:
        raise AssertionError(f"not the same book: {sums}")
    return [
        goal(work, results.ratio_to(each["bulk_create"], each["import"]), at_least=8)
        for work, each in {
            "import_book against bulk_create": rates,
            "the same in CPU, PostgreSQL's too": cpu,
        }.items()
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
        goal("memory that streaming adds, MB", grown, at_most=10, unit="MB"),
        goal("first text of the stream, ms", 1000 * first, at_most=100, unit="ms"),
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


def resident_kilobytes(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0])
