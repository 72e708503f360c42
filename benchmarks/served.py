"""No list that is served reads longer than 250 ms at a million rows; a refusal costs little.

For each way of reading a page (docs/reads.md) it takes the filters that leave most to read: as many
rows as `access_paths.SCAN_ROWS` allows, by each ordering. Cold: the total of the filter has to be
summed, as for the first reader of a book; warm: for the next one. In the book the starts are spread
over three years, and the price of every tenth subscription is negotiated.
"""

import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.core.cache import cache
from django.db import connection

from benchmarks import results
from benchmarks.scratch import say, scratch_book
from benchmarks.stopwatch import timed
from services.models import Plan, Service, Subscription
from services.reading import access_paths, pages
from services.reading.filters import BookFilter
from services.reading.ordering import BY_ID, ORDERINGS

LONGEST = 250.0  # ms
FIRST, DAYS = datetime(2023, 1, 1, tzinfo=UTC), 1_000

SPREAD = """
UPDATE services_subscription
   SET started_at = %s + random() * interval '1 day' * %s,
       ended_at = CASE WHEN id %% 20 = 0 THEN %s + interval '1 day' * (%s + id %% 50) END,
       price = CASE WHEN id %% 10 = 0 THEN price + 1 ELSE price END,
       price_state = CASE WHEN id %% 10 = 0 THEN 'negotiated' ELSE price_state END
"""


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[1_000_000], quick=[20_000], rounds=3)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures: list[dict[str, Any]] = []
    for rows in chosen.rows:
        with scratch_book("served", rows):
            spread()
            figures += measure(rows, chosen.rounds)
    results.table("Pages of 100 by filter and ordering", figures)
    longest = max((f for f in figures if f["way"] != "refused"), key=lambda f: f["cold, ms"])
    say(f"The longest takes {longest['cold, ms']:.0f} ms of the {LONGEST:.0f} that are meant.")
    results.save("served", chosen, under, figures)


def spread() -> None:
    with connection.cursor() as cursor:
        cursor.execute(SPREAD, [FIRST, DAYS, FIRST, DAYS])
        cursor.execute("VACUUM (FULL, ANALYZE) services_subscription")
        cursor.execute("VACUUM ANALYZE")


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = []
    for asked in cases(rows):
        book_filter = BookFilter.of({name: asked[name] for name in asked if name != "ordering"})
        for descending in ("", "-"):
            ordering = ORDERINGS[descending + asked.get("ordering", "id")]
            call = partial(page, book_filter, ordering)
            times = results.interleaved(
                {
                    "cold": partial(seconds, call, cache.clear),
                    "warm": partial(seconds, call),
                },
                rounds,
            )
            way = access_paths.access_path(book_filter, ordering).way.value if call() else "refused"
            figures.append(
                {
                    "rows": rows,
                    "filter": ", ".join(
                        f"{name}={value}" for name, value in asked.items() if name != "ordering"
                    ),
                    "ordering": str(ordering),
                    "way": way,
                    "cold, ms": 1000 * statistics.median(times["cold"]),
                    "warm, ms": 1000 * statistics.median(times["warm"]),
                }
            )
            say(
                "  {way:11} {cold, ms:8.1f} {warm, ms:8.1f} ms  {ordering:12} {filter}".format(
                    **figures[-1]
                )
            )
    return figures


def seconds(call: Callable[[], object], before_each: Callable[[], object] | None = None) -> float:
    return timed(call, before_each)[1]


def page(book_filter: BookFilter, ordering: Any = BY_ID) -> bool:
    """Read a page; whether it is served."""
    try:
        pages.page(book_filter, None, 100, ordering)
    except access_paths.NotServed:
        return False
    return True


def cases(rows: int) -> list[dict[str, Any]]:
    """Combinations of filters and orderings."""
    middle = Subscription.objects.select_related("client__user").get(
        pk=Subscription.objects.order_by("pk")[rows // 2].pk
    )
    service, plan = Service.objects.first(), Plan.objects.first()
    assert service is not None
    assert plan is not None
    past = {
        name: (FIRST + timedelta(days=DAYS * max(0.0, 1 - limit / rows))).isoformat()
        for name, limit in access_paths.SCAN_ROWS.items()
    }
    few: list[dict[str, Any]] = [
        {"client": middle.client_id},
        {"email": middle.client.user.email},
        {"source": middle.source, "external_id": middle.external_id},
    ]
    return [
        # walked
        {},
        {"service": service.pk},
        {"plan": plan.pk},
        {"service": service.pk, "plan": plan.pk},
        {"plan_type": "discount"},
        {"ordering": "started_at"},
        {"ordering": "started_at", "started_from": past["price"]},
        {"ordering": "client_name"},
        # found
        *(asked | {"ordering": ordering} for asked in few for ordering in access_paths.SCAN_ROWS),
        {"source": middle.source},
        {"comment_prefix": "row 1"},
        {"started_from": past["price"]},
        {"started_from": past["price"], "price_to": 50},
        {"ended_to": past["started_at"]},
        {"ended_from": FIRST.isoformat()},
        # scanned, as much as may be
        {"price_from": 1_000_000},
        {"price_state": "locked"},
        {"price_state": "negotiated"},
        {"state": "active"},
        {"state": "ended", "price_to": 1},
        *(
            {"ordering": name, "started_from": started, "price_from": 1}
            for name, started in past.items()
            if name != "started_at"
        ),
        {"ordering": "started_at", "started_from": past["started_at"], "price_state": "negotiated"},
        {"ordering": "price", "service": service.pk},
        {"ordering": "client_name", "plan": plan.pk},
        {"q": "Service 7"},
        {"q": "Servise 7", "ordering": "price"},
        {"q": f"Company {middle.client_id}"},
        # refused, where the book is large
        {"ordering": "price"},
        {"ordering": "client_name", "price_from": 1},
        {"q": "Company"},
    ]
