"""The goals of reading: the list page, the total, requests a second."""

import io
import json
import statistics
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from rest_framework.pagination import PageNumberPagination
from rest_framework.viewsets import ReadOnlyModelViewSet

from benchmarks import list_page, results, total
from benchmarks.goals.line import BIG, Figures, goal
from benchmarks.scratch import fill, say, scratch_book
from benchmarks.stopwatch import one_session, timed
from benchmarks.web_server import OURS, a_site, get, rate
from keys import verbs
from keys.verbs import Maker
from pricebook.kit.scopes import READ_SCOPES
from services.models import Subscription
from services.reading.filters import BookFilter
from services.reading.ordering import BY_ID, Cursor, key_of_subscriptions
from services.serializers import SubscriptionSerializer

PAGE = "/api/subscriptions/?page_size=100"

# The first page written by hand, for this one question: ids limited first, joined late, the total
# from the subtotals, rows to bytes without a framework.
BY_HAND = """
SELECT (SELECT sum(amount) FROM services_subtotal),
       (SELECT sum(subscriptions)::bigint FROM services_subtotal),
       page.id, page.plan_id, company_name, email, plan_type, discount_percent, price, price_state,
       locked_until, price_reason, service_id, service.name, full_price, client_id, comment,
       page.source, page.external_id, started_at, ended_at
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
    _, key = verbs.make("benchmark", READ_SCOPES, Maker.operator("benchmark"))
    return request_with(address, HTTP_AUTHORIZATION=f"Api-Key {key}")


def page_of(address: str) -> Callable[[], bytes]:
    """The same by a person who has logged in, as a browser asks for a page."""
    browser = Client()
    browser.force_login(User.objects.create_superuser("benchmark"))
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    return request_with(address, HTTP_COOKIE=f"{settings.SESSION_COOKIE_NAME}={session}")


def request_with(address: str, **headers: str) -> Callable[[], bytes]:
    path, _, query = address.partition("?")
    factory = RequestFactory(SERVER_NAME="localhost", **headers)  # type: ignore[arg-type]
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
        goal("queries of the list page, the key's too", asked, at_most=2, unit=""),
    ]


def whatever_the_size(rows: int, rounds: int) -> Figures:
    fill(rows)
    return [*middle(rows, rounds), *totals(rows, rounds)]


def middle(rows: int, rounds: int) -> Figures:
    """The page in the middle of this book against the first page of one of 10,000."""
    big = connection.settings_dict["NAME"]
    half = Subscription.objects.order_by("pk")[rows // 2].pk
    cursor = Cursor(half, list_key=key_of_subscriptions(BookFilter(), BY_ID))
    in_the_middle = request_of(f"{PAGE}&cursor={cursor}")
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


def requests(rows: int, rounds: int) -> Figures:
    """The shipped site against the tutorial's last chapter, each under granian with two workers.

    The clients run on the same cores as the servers.
    """
    fill(rows)
    _, key = verbs.make("benchmark", READ_SCOPES, Maker.operator("benchmark"))
    seconds = 1.0 if rows <= 10_000 else 5.0
    with (
        a_site(OURS) as ours,
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
