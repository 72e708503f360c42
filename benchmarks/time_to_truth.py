"""How soon every reader sees a list price that has moved, and what it costs to read meanwhile.

An edit of one list price is committed and no worker runs: it measures the time until the list, the
totals, the list of services, an instant of the past and the explanation have all shown the new
price, each read once and compared; and the time until one worker has written the last copy. Then a
page with its total, and the total alone, are read while nothing is due, while 100 list prices are
due and not copied, and again when they are undone: the whole endpoint, from the request to the
bytes.
"""

import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from rest_framework.test import APIClient

from benchmarks import results
from benchmarks.ledger import execute, milliseconds
from benchmarks.scratch import say, scratch_book
from services import catalogue_values, ledger, repricing
from services.catalogue_subject import CatalogueSubject
from services.models import CatalogueValue, Service, Subscription, book_clock
from services.reading.filters import BookFilter
from services.reading.total import total_amount

DUE = 100


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[1_000_000], quick=[10_000], rounds=5)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("time_to_truth", rows):
            figures += measure(rows, chosen.rounds)
    results.table("Time to truth", figures)
    results.save("time_to_truth", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    reader = APIClient(SERVER_NAME="localhost")
    reader.force_authenticate(User(username="reader", is_staff=True, is_superuser=True))
    truth: list[float] = []
    copied: list[float] = []
    for _ in range(rounds):
        shown, written = one_edit(reader)
        truth.append(shown)
        copied.append(written)
    say(f"  {statistics.median(truth):.1f} ms until true, {statistics.median(copied):.0f} copied")
    page = {name: read(reader) for name, read in READS.items()}
    times: dict[str, dict[str, list[float]]] = {name: {} for name in page}
    for state in ("idle", "due", "undone"):
        if state == "due":
            decide()
        elif state == "undone":
            CatalogueValue.objects.filter(started=False).delete()
        for name, call in page.items():
            call()
            times[name][state] = [milliseconds(call) for _ in range(40 * rounds)]
    figures = [
        {
            "subscriptions": rows,
            "what": "true for every reader, no worker",
            "ms": statistics.median(truth),
            "×": 1.0,
        },
        {
            "subscriptions": rows,
            "what": "the last copy written, one worker",
            "ms": statistics.median(copied),
            "×": statistics.median(copied) / statistics.median(truth),
        },
    ]
    for name, by_state in times.items():
        idle = statistics.median(by_state["idle"] + by_state["undone"])
        for state, each in by_state.items():
            ms = statistics.median(each)
            figures.append(
                {"subscriptions": rows, "what": f"{name}, {state}", "ms": ms, "×": ms / idle}
            )
    return figures


def one_edit(reader: APIClient) -> tuple[float, float]:
    """The milliseconds from an edit's commit until all reads show it, and until it is copied."""
    service = Service.objects.order_by("pk")[0]
    follower = Subscription.objects.filter(service=service, price_state="follows").order_by("pk")[0]
    price = service.full_price + 1
    before = total_amount().amount
    Service.objects.filter(pk=service.pk).update(full_price=price)
    committed = time.perf_counter()
    found = reader.get("/api/subscriptions/", {"service": service.pk, "page_size": 100}).json()
    rows = [row for row in found["result"] if row["price_state"] == "follows"]
    shown = [Decimal(str(row["service"]["full_price"])) == price for row in rows]
    amount = total_amount(BookFilter(service=service.pk)).amount
    agrees = [
        all(shown),
        ledger.explain(follower.pk).price  # type: ignore[union-attr]
        == Subscription.objects.in_force().get(pk=follower.pk).price,
        Decimal(str(found["total_amount"])) == amount,
        total_amount().amount > before,
        Decimal(str(reader.get(f"/api/services/{service.pk}/").json()["full_price"])) == price,
    ]
    true = 1000 * (time.perf_counter() - committed)
    if not all(agrees):
        raise AssertionError(f"somebody has read another price: {agrees}")
    repricing.reprice(600)
    return true, 1000 * (time.perf_counter() - committed)


def decide() -> None:
    """Write list prices that come into force now, as approvals write them, with no worker."""
    at = book_clock()
    for service in Service.objects.order_by("pk")[:DUE]:
        price = service.full_price + 1
        catalogue_values.decide(CatalogueSubject("service", service.pk), price, at, 0, "bench")
    execute("ANALYZE services_cataloguevalue")


READS: dict[str, Callable[[APIClient], Callable[[], Any]]] = {
    "page of 100 and total": lambda reader: (
        lambda: reader.get("/api/subscriptions/", {"page_size": 100}).content
    ),
    "totals by service": lambda reader: (
        lambda: reader.get("/api/totals/", {"by": "service"}).content
    ),
}
