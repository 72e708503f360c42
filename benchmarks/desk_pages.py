"""The desk's pages cost a few list pages of the API each, however large the book is.

Each page is asked for as a whole request, by a session: the desk's and, where the admin has a page
that answers the same question, that one, by turns; and the API's page of 100, by a key, in the same
run. In a large book the admin refuses (400) a search that more names fit than it compares.

CPU is this process and its PostgreSQL session together. `PAGES` has a name, the desk's path
and the admin's for each page; a path may name a record of the book by `{client}`, `{large}` (a
client of 2,000 subscriptions), `{subscription}`, `{service}`, `{plan}`, `{change}` (of a list
price) and `{planned}` (the same, not approved), and instants by `{past}` and `{future}`.
"""

import io
import statistics
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import Client as Browser
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from benchmarks import results
from benchmarks.ledger import clock
from benchmarks.scratch import scratch_book
from benchmarks.stopwatch import one_session, timed
from clients.models import Client
from keys import verbs
from keys.verbs import Maker
from price_changes.planning import definition
from price_changes.running import lifecycle
from pricebook.kit.scopes import READ_SCOPES
from services import repricing
from services.ledger import points
from services.models import Subscription

API = "the API's page of 100"
ADMIN = "/admin/services"
CHANGES = "/admin/price_changes/pricechange"
PAGES: list[tuple[str, str, str | None]] = [
    (API, "/api/subscriptions/?page_size=100", None),
    ("home", "/", "/admin/"),
    ("search", "/desk/search/?q=Company+7", f"{ADMIN}/subscription/?q=Company+7"),
    ("subscriptions", "/desk/subscriptions/", f"{ADMIN}/subscription/"),
    ("clients", "/desk/clients/", "/admin/clients/client/"),
    ("services", "/desk/services/", f"{ADMIN}/service/"),
    ("plans", "/desk/plans/", f"{ADMIN}/plan/"),
    ("client", "/desk/clients/{client}/", "/admin/clients/client/{client}/change/"),
    ("client of 2,000", "/desk/clients/{large}/", "/admin/clients/client/{large}/change/"),
    ("its history", "/desk/clients/{large}/?history=1", None),
    (
        "subscription",
        "/desk/subscriptions/{subscription}/",
        ADMIN + "/subscription/{subscription}/change/",
    ),
    ("service", "/desk/services/{service}/", ADMIN + "/service/{service}/change/"),
    ("service, counted", "/desk/services/{service}/?count=1", None),
    ("plan", "/desk/plans/{plan}/", ADMIN + "/plan/{plan}/change/"),
    ("changes", "/desk/changes/", f"{CHANGES}/"),
    ("a change", "/desk/changes/{change}/", CHANGES + "/{change}/change/"),
    ("its rows", "/desk/changes/{change}/rows/", CHANGES + "/{change}/rows/"),
    ("its approval", "/desk/changes/{planned}/approve/", CHANGES + "/{planned}/approve/"),
    ("as of then", "/desk/then/?at={past}", None),
    ("as of a year ahead", "/desk/then/?at={future}", None),
    ("bridge", "/desk/then/bridge/?from={past}", None),
    ("bridge by client", "/desk/then/bridge/?from={past}&by=client", None),
    ("files", "/desk/files/", f"{ADMIN}/job/"),
]
SIDES = DESK, IN_ADMIN = "desk", "admin"
LARGE = 2_000


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[29_202, 1_000_000], quick=[10_000], rounds=5)
    parser.add_argument("--only", action="append", metavar="PAGE", help="these pages alone")
    chosen = results.parse(parser, arguments)
    pages = [page for page in PAGES if not chosen.only or page[0] in (API, *chosen.only)]
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("desk_pages", rows):
            figures += measure(rows, chosen.rounds, pages)
    results.table("Pages of the desk, and those of the admin that answer the same", figures)
    results.save("desk_pages", chosen, under, figures)


def measure(
    rows: int, rounds: int, pages: list[tuple[str, str, str | None]]
) -> list[dict[str, Any]]:
    settings.ALLOWED_HOSTS = ["*"]
    one_session()
    records = _records()
    _, secret = verbs.make("pages", READ_SCOPES, Maker.operator("benchmark"))
    browser = Browser()
    browser.force_login(User.objects.create_superuser("ann", "ann@example.com", "x"))
    by_session = {"HTTP_COOKIE": f"sessionid={browser.cookies['sessionid'].value}"}
    by_key = {"HTTP_AUTHORIZATION": f"Api-Key {secret}"}
    handler = WSGIHandler()

    def ask(path: str) -> tuple[str, bytes]:
        """Its status and body."""
        more: dict[str, Any] = by_key if path.startswith("/api/") else by_session
        environ = RequestFactory().get(path, **more).environ | {"wsgi.errors": io.StringIO()}
        said: list[str] = []

        def start(status: str, *_: Any) -> Any:
            said.append(status)

        body = b"".join(handler(environ, start))
        status = said[0].partition(" ")[0]
        assert status == "200" or path.startswith("/admin/"), (path, said)
        return status, body

    paths = {
        (name, side): path.format(**records)
        for name, *both in pages
        for side, path in zip(SIDES, both, strict=True)
        if path is not None
    }
    taken = results.interleaved(
        {page: lambda path=path: timed(lambda: ask(path)) for page, path in paths.items()},  # type: ignore[misc]
        rounds,
    )
    cpu = {page: [each for each, _ in times] for page, times in taken.items()}
    found = []
    for page, path in paths.items():
        with CaptureQueriesContext(connection) as queries:
            status, body = ask(path)
        name, side = page
        found.append(
            {
                "rows": rows,
                "page": name,
                "of": side if name != API else "API",
                "status": status,
                "CPU, ms": round(statistics.median(cpu[page]) * 1000, 1),
                "clock, ms": round(statistics.median(wall for _, wall in taken[page]) * 1000, 1),
                "times the API's": round(results.ratio_to(cpu[API, DESK], cpu[page]), 1),
                "times the desk's": round(results.ratio_to(cpu[name, DESK], cpu[page]), 2),
                "queries": len(queries),
                "kB": round(len(body) / 1000, 1),
            }
        )
    return found


def _records() -> dict[str, Any]:
    """The records that paths name; one client gets the subscriptions of others."""
    some = Subscription.objects.order_by("-id")[:1].get()
    large = Client.objects.exclude(pk=some.client_id).order_by("id")[0].pk
    ids = list(Subscription.objects.order_by("id").values_list("pk", flat=True)[:LARGE])
    Subscription.objects.filter(pk__in=ids).exclude(pk=some.pk).update(client=large)
    past = clock()
    list_price = {"kind": "list_price", "service": some.service_id, "new_value": Decimal(500)}
    change = lifecycle.preview(definition.plan(list_price, "benchmark").pk)
    lifecycle.approve(change.pk, change.fingerprint, "benchmark")
    repricing.reprice(3_600)
    planned = lifecycle.preview(
        definition.plan(list_price | {"new_value": Decimal(600)}, "benchmark").pk
    )
    points.make(600)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE services_subscription, services_ledgerentry")
    return {
        "client": some.client_id,
        "large": large,
        "subscription": some.pk,
        "service": some.service_id,
        "plan": some.plan_id,
        "change": change.pk,
        "planned": planned.pk,
        "past": quote(past.isoformat()),
        "future": (past + timedelta(days=365)).date(),
    }
