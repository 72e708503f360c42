"""The cost of a bridge over a year, beside that of both totals and of reading the entries of it.

In each of twelve months every list price moves, and of a hundred subscriptions one negotiates its
price, one ends and one starts. Then, each in turn: the bridge over all of it, also by service and
by client; the page of rows behind a change; `total_as_of` at both ends; and COPY of the entries of
the ledger that people wrote in between. The totals of a bridge must be those of `total_as_of`.
"""

import statistics
import time
from datetime import datetime
from typing import Any

from django.db import connection

from benchmarks import results
from benchmarks.ledger import clock, execute, milliseconds
from benchmarks.scratch import say, scratch_book
from services import ledger, repricing
from services.ledger import points
from services.ledger.bridge import behind, bridge

MONTHS = 12
NEGOTIATE = """
UPDATE services_subscription
   SET price_state = 'negotiated', price = price + 1, price_reason = 'deal'
 WHERE id %% 100 = %s AND price_state = 'follows' AND ended_at IS NULL
"""
END = "UPDATE services_subscription SET ended_at = book_clock() WHERE id %% 100 = %s + 20"
START = """
INSERT INTO services_subscription (client_id, service_id, plan_id, comment)
SELECT client_id, service_id, plan_id, '' FROM services_subscription
 WHERE id <= %s AND id %% 100 = %s + 40
"""
OF_PEOPLE = """
COPY (SELECT * FROM services_ledgerentry
       WHERE effective_at > '{since}' AND effective_at <= '{until}'
         AND (price_state <> 'follows' OR change_id IS NULL)) TO STDOUT
"""


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[29_202, 1_000_000], quick=[5_000], rounds=5)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("bridge", rows):
            figures += measure(rows, chosen.rounds)
    results.table("The bridge", figures)
    results.save("bridge", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    since, until = a_year()
    say(f"  {points.make(600):,} points")
    execute("VACUUM ANALYZE services_ledgerentry")
    execute("VACUUM ANALYZE services_subscription")
    execute("ANALYZE services_point")
    found = bridge(since, until)
    for at, total in ((since, found.total_since), (until, found.total_until)):
        if total != (told := ledger.total_as_of(at)):
            raise AssertionError(f"{total} of the bridge is not {told}")
    change = max(found.steps, key=lambda step: (step.kind == "change", step.rows)).change_id
    calls = {
        "total of then, both ends": lambda: [ledger.total_as_of(at) for at in (since, until)],
        "COPY of the entries of people": lambda: copied(since, until),
        "bridge": lambda: bridge(since, until),
        "bridge by service": lambda: bridge(since, until, by="service"),
        "bridge by client": lambda: bridge(since, until, by="client"),
        "100 rows behind a change": lambda: behind(since, until, "change", change),
    }
    taken = results.interleaved(
        {
            name: lambda call=call: milliseconds(call)  # type: ignore[misc]
            for name, call in calls.items()
        },
        rounds,
    )
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return [
        {
            "subscriptions": rows,
            "what": name,
            "ms": ms,
            "x totals": ms / medians["total of then, both ends"],
            "x COPY": ms / medians["COPY of the entries of people"],
        }
        for name, ms in medians.items()
    ]


def a_year() -> tuple[datetime, datetime]:
    """The instants before and after it, in which so much happens as in a year."""
    [(newest,)] = execute("SELECT max(id) FROM services_subscription")
    since = clock()
    started = time.perf_counter()
    for month in range(MONTHS):
        execute("UPDATE services_service SET full_price = full_price + 1")
        execute(NEGOTIATE, [month])
        execute(END, [month])
        execute(START, [newest, month])
    repricing.reprice(3_600)
    say(f"  a year in {time.perf_counter() - started:.0f} s")
    return since, clock()


def copied(since: datetime, until: datetime) -> None:
    with connection.cursor() as cursor:
        statement = OF_PEOPLE.format(since=since.isoformat(), until=until.isoformat())
        with cursor.copy(statement) as copy:
            for _chunk in copy:
                pass
