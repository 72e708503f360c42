"""The cost of writing the ledger, and of reading an instant, a client and the feed.

Every list price moves three times, so each subscription has four entries. Then, each way in turn:
the total of the whole book at an instant (before the first move, and now), by the ledger and by the
catalogue's history, which knows only subscriptions that follow and have never moved; the page of
one client; the feed; and the explanation of a price; at last the total in a year, with 1,000 list
prices and ends that are to come by then. All ways to a total must find the same one: by
the catalogue, by reading the whole ledger, and from points, which are made before. The write is one
UPDATE of all prices: with its entries; while all list prices have moved and are not copied, so that
it enters these moves too; and (the control) with the trigger told to write none.
"""

import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Sum

from benchmarks import results
from benchmarks.scratch import say, scratch_book
from services import catalogue_values, ledger, repricing
from services.catalogue_subject import CatalogueSubject
from services.ledger import points
from services.ledger.page import one_as_of, page_as_of
from services.models import LedgerEntry, MovedFollowers, Service, Subscription
from services.reading.filters import BookFilter

MOVES = 3
TO_COME = 1_000

# The other design: no entries for followers, whose price at an instant is the rule's at it.
BY_HISTORY = """
WITH pair AS MATERIALIZED (
    SELECT service.id AS service_id, plan.id AS plan_id,
           price_rule_at(service.id, plan.id, %(at)s) AS price
      FROM services_service service, services_plan plan
)
SELECT coalesce(sum(pair.price), 0), count(*)
  FROM services_subscription JOIN pair USING (service_id, plan_id)
"""


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[250_000], quick=[10_000], rounds=5)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("ledger", rows):
            figures += measure(chosen.rounds)
    results.table("The ledger", figures)
    results.save("ledger", chosen, under, figures)


def measure(rounds: int) -> list[dict[str, Any]]:
    write: dict[str, list[float]] = results.interleaved(
        {
            "one UPDATE, no entries": lambda: update(kept=True),
            "one UPDATE": update,
            "one UPDATE, list prices not copied": lambda: update(late=True),
        },
        rounds,
    )
    before = clock()
    for number in range(MOVES):
        say(f"  every list price moves, {number + 1} of {MOVES}")
        execute("UPDATE services_service SET full_price = full_price + 1")
        repricing.reprice(600)
    now = clock()
    for table in ("ledgerentry", "movedfollowers", "subscription"):
        execute(f"VACUUM ANALYZE services_{table}")
    entries = number_of_entries()

    assert_same(before, now)
    whole = results.interleaved(
        {
            name: lambda call=call: milliseconds(call)  # type: ignore[misc]
            for name, call in {
                "total of then, without points": lambda: ledger.total_as_of(before),
                "list of then, without points": lambda: page_as_of(before, BookFilter(), None, 100),
            }.items()
        },
        rounds,
    )
    started = time.perf_counter()
    made = points.make(600)
    execute("ANALYZE services_point")
    say(f"  {made:,} points in {time.perf_counter() - started:.1f} s")
    assert_same(before, now)

    middle = Subscription.objects.order_by("id")[Subscription.objects.count() // 2]
    of_client = BookFilter(client=middle.client_id)
    of_service = BookFilter(service=middle.service_id)
    ahead = now + timedelta(days=365)
    (place,) = execute(
        "SELECT xact, entry_ids[number / 2] FROM services_movedfollowers"
        " ORDER BY xact, id OFFSET (SELECT count(*) / 2 FROM services_movedfollowers) LIMIT 1"
    )
    read = results.interleaved(
        {
            name: lambda call=call: milliseconds(call)  # type: ignore[misc]
            for name, call in {
                "total of then, by the catalogue": lambda: execute(BY_HISTORY, {"at": before}),
                "total of then": lambda: ledger.total_as_of(before),
                "total of a service then": lambda: ledger.total_as_of(before, of_service),
                "total as of now": lambda: ledger.total_as_of(now),
                "total in a year": lambda: ledger.total_as_of(ahead),
                "list of then, 100 rows and total": lambda: page_as_of(
                    before, BookFilter(), None, 100
                ),
                "a client's list of then": lambda: page_as_of(before, of_client, None, 100),
                "one of then": lambda: one_as_of(before, middle.pk),
                "history of one": lambda: ledger.history(middle.pk),
                "why": lambda: ledger.explain(middle.pk, before),
                "feed, 1,000 from the middle": lambda: ledger.feed(ledger.Place(*place), 1000),
            }.items()
        },
        rounds,
    )
    to_come(ahead)
    read |= results.interleaved(
        {
            "total in a year, 1,000 facts to come": lambda: milliseconds(
                lambda: ledger.total_as_of(ahead)
            ),
            "total of a service in a year": lambda: milliseconds(
                lambda: ledger.total_as_of(ahead, of_service)
            ),
        },
        rounds,
    )
    (sizes,) = execute(
        "SELECT sum(pg_table_size(name)), sum(pg_indexes_size(name))"
        "  FROM unnest('{services_ledgerentry, services_movedfollowers}'::regclass[]) name"
    )
    say(f"  {sizes[0] / entries:.0f} bytes an entry, {sizes[1] / entries:.0f} in indexes")
    return [
        {"entries": entries, "what": name, "ms": statistics.median(times)}
        for name, times in {**write, **whole, **read}.items()
    ]


def to_come(ahead: datetime) -> None:
    """Decide `TO_COME` facts that come into force before an instant: list prices and ends."""
    services = list(Service.objects.all())
    for number in range(TO_COME // 2):
        service = services[number % len(services)]
        price = service.full_price + 1 + number // len(services)
        at = ahead - timedelta(days=300) + timedelta(hours=number)
        catalogue_values.decide(CatalogueSubject("service", service.pk), price, at, 0, "bench")
    ends = Subscription.objects.order_by("client_id", "id").values_list("pk", flat=True)
    chosen = list(ends[: TO_COME // 2])
    Subscription.objects.filter(pk__in=chosen).update(ended_at=ahead - timedelta(days=7))
    execute("ANALYZE services_cataloguevalue")


def number_of_entries() -> int:
    """The number of entries, including those that share a row."""
    moved = MovedFollowers.objects.aggregate(number=Sum("number"))["number"] or 0
    return LedgerEntry.objects.count() + int(moved)


def assert_same(*instants: datetime) -> None:
    for instant in instants:
        by_history = execute(BY_HISTORY, {"at": instant})[0]
        found = ledger.total_as_of(instant)
        if (found.amount, found.subscriptions) != by_history:
            raise AssertionError(f"{found} is not {by_history}")


def update(kept: bool = False, late: bool = False) -> float:
    """The milliseconds of one UPDATE of every price, rolled back.

    `late`: all list prices were edited just before, so that it enters these moves too.
    """
    with transaction.atomic():
        if kept:
            execute("SELECT set_config('pricebook.kept', 'on', true)")
        if late:
            execute("UPDATE services_service SET full_price = full_price + 1")
        sql = "UPDATE services_subscription SET price = price + 7, price_state = 'negotiated'"
        taken = milliseconds(lambda: execute(sql))
        transaction.set_rollback(True)
    execute("VACUUM services_subscription")
    execute("VACUUM services_ledgerentry")
    return taken


def clock() -> Any:
    return execute("SELECT clock_timestamp()")[0][0]


def milliseconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def execute(sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []
