"""A POST of one subscription costs little more than a view by hand that inserts it.

Both run in the shipped service, behind its middleware, with an API key and without an
Idempotency-Key. The view by hand reads and verifies the key, parses the body, inserts, and answers
with the id and the price: it checks no value, names no author, and shows nothing else. CPU is this
process and its PostgreSQL session together.
"""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from benchmarks import results
from benchmarks.goals.line import goal
from benchmarks.goals.pages import cpu_of
from benchmarks.scratch import say, scratch_book
from benchmarks.stopwatch import one_session
from keys import verbs
from keys.verbs import Maker
from pricebook import urls
from pricebook.kit.content import JSONRenderer
from pricebook.kit.scopes import ADD_SUBSCRIPTION
from pricebook.kit.secrets_of_keys import verify
from pricebook.kit.stored_keys import key_of
from services.models import Subscription

OURS, BY_HAND = "/api/subscriptions/", "/api/by-hand/"
INSERT = """
INSERT INTO services_subscription (client_id, service_id, plan_id, comment, source, external_id)
VALUES (%(client)s, %(service)s, %(plan)s, %(comment)s, %(source)s, %(external_id)s)
RETURNING id, price
"""


@csrf_exempt
def by_hand(request: HttpRequest) -> HttpResponse:
    sent = request.headers["Authorization"].removeprefix("Api-Key ")
    key = key_of(sent[:8])
    if key is None or not verify(sent, key.hashed_key) or ADD_SUBSCRIPTION not in key.granted:
        return HttpResponse(status=403)
    with connection.cursor() as cursor:
        cursor.execute(INSERT, json.loads(request.body))
        id, price = cursor.fetchone()
    written = JSONRenderer.encoder.encode({"id": id, "price": price})
    return HttpResponse(written, content_type="application/json", status=201)


urlpatterns = [path(BY_HAND[1:], by_hand), *urls.urlpatterns]


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[10_000], quick=[10_000], rounds=25)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    settings.ROOT_URLCONF = __name__
    figures = []
    for rows in chosen.rows:
        with scratch_book("one_write", rows):
            figures += measure(rows, chosen.rounds)
    results.table("A POST of one subscription, against one by hand", figures)
    results.save("one_write", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    one_session()
    calls = {"by hand": post_to(BY_HAND), "ours": post_to(OURS)}
    asked = {}
    for name, call in calls.items():
        for _ in range(10):  # plans and caches
            call()
        with CaptureQueriesContext(connection) as queries:
            before = Subscription.objects.count()
            call()
            if Subscription.objects.count() != before + 1:
                raise AssertionError(f"{name} has inserted nothing")
        asked[name] = len(queries) - 2
    cpu = results.interleaved({name: cpu_of(call) for name, call in calls.items()}, rounds)
    for name, measured in cpu.items():
        say(f"  {name}: {1000 * statistics.median(measured):.2f} ms, {asked[name]} queries")
    met = goal(
        "POST of a subscription, CPU against a view by hand",
        results.ratio_to(cpu["by hand"], cpu["ours"]),
        at_most=1.5,
    )
    return [{"rows": rows, **met}]


def post_to(address: str) -> Callable[[], bytes]:
    """A request that creates another subscription at each call."""
    scopes = ["subscriptions:write"]
    _, key = verbs.make("benchmark", scopes, Maker.operator("benchmark"))
    one = Subscription.objects.earliest("pk")
    factory = RequestFactory(SERVER_NAME="localhost", HTTP_AUTHORIZATION=f"Api-Key {key}")
    environ = factory.post(address, b"", content_type="application/json").environ
    site, number = WSGIHandler(), 0

    def call() -> bytes:
        nonlocal number
        number += 1
        body = json.dumps(
            {
                "client": one.client_id,
                "service": one.service_id,
                "plan": one.plan_id,
                "comment": "from the CRM",
                "source": address,
                "external_id": str(number),
            }
        ).encode()
        statuses: list[str] = []

        def start(status: str, headers: Any, error: Any = None, /) -> Callable[[bytes], object]:
            statuses.append(status)
            return lambda written: None

        sent = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        sent["CONTENT_TYPE"] = "application/json"
        response = site(environ | sent, start)
        answer = b"".join(response)
        response.close()
        if not statuses[0].startswith("201"):
            raise AssertionError(f"{address}: {statuses[0]} {answer[:500]!r}")
        return answer

    return call
