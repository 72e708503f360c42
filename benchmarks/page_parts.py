"""The CPU of each part of a list page of 100, in Python and PostgreSQL, beside the page by hand.

And that of the desk's page of the same rows.

The parts are called separately, in turn with the whole; the rest of the whole is Django's handler,
its middleware and signals, and DRF's view around the list.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.http import HttpResponse, QueryDict
from django.test import RequestFactory
from django.urls import resolve

from benchmarks import results
from benchmarks.goals.pages import PAGE, by_hand, page_of, request_of
from benchmarks.scratch import scratch_book
from benchmarks.stopwatch import one_session, session_seconds
from keys import verbs
from keys.verbs import Maker
from pricebook.kit.attempts import AttemptsMiddleware
from pricebook.kit.content import JSONRenderer
from pricebook.kit.scopes import READ_SCOPES
from pricebook.kit.secrets_of_keys import verify
from pricebook.kit.stored_keys import key_of
from services.reading import filters, pages, parameters
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter

WHOLE, BY_HAND, DESK = "the whole request", "the page by hand", "the desk's page of 100"
DESK_PAGE = "/desk/subscriptions/?page_size=100&ordering=id"
CALLS = 50  # of each part in a round


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[10_000], quick=[10_000], rounds=7)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("page_parts", rows):
            figures += measure(rows, chosen.rounds)
    results.table("CPU of a page of 100, ms", figures)
    results.save("page_parts", chosen, under, figures)


def measure(rows: int, rounds: int) -> list[dict[str, Any]]:
    one_session()
    query = QueryDict(PAGE.partition("?")[2])
    key, secret = verbs.make("parts", READ_SCOPES, Maker.operator("benchmark"))
    everything = BookFilter()
    shown = {"result": pages.page(everything, None, 100).result}

    def read_and_verify_the_key() -> bool:
        found = key_of(key.prefix)
        return found is not None and verify(secret, found.hashed_key)

    def read_the_parameters() -> None:
        parameters.refuse_unknown(
            query, [*filters.FILTERS, "as_of", "ordering", *parameters.PAGING]
        )
        parameters.book_filter(query)
        parameters.page_size(query)

    parts: dict[str, Callable[[], object]] = {
        WHOLE: request_of(PAGE),
        "  is the session alive?": connection.is_usable,
        "  the key, read and verified": read_and_verify_the_key,
        "  rights, and limits for guessing": rights_and_limits_of(secret),
        "  the parameters": read_the_parameters,
        "  the statement, written": lambda: pages.statement(access_path(everything), None, 100),
        "  the page, with its statement": lambda: pages.page(everything, None, 100),
        "  rows to bytes": lambda: JSONRenderer.encoder.encode(shown),
        BY_HAND: by_hand,
        DESK: page_of(DESK_PAGE),
    }
    database: dict[str, list[float]] = {name: [] for name in parts}

    def python(name: str) -> float:
        """The CPU of this process; that of the session is appended to `database`."""
        call = parts[name]
        for _ in range(10):
            call()
        process, session = time.process_time(), session_seconds()
        for _ in range(CALLS):
            call()
        database[name].append((session_seconds() - session) / CALLS)
        return (time.process_time() - process) / CALLS

    measured = results.interleaved({name: lambda name=name: python(name) for name in parts}, rounds)  # type: ignore[misc]
    both = {name: [*map(sum, zip(measured[name], database[name], strict=True))] for name in parts}
    return [
        {
            "rows": rows,
            "part": name,
            "Python": 1000 * statistics.median(measured[name]),
            "PostgreSQL": 1000 * statistics.median(database[name]),
            "together": 1000 * statistics.median(both[name]),
            "× by hand": results.ratio_to(both[BY_HAND], both[name]),
            "× the whole": results.ratio_to(both[WHOLE], both[name]),
        }
        for name in parts
    ]


def rights_and_limits_of(key: str) -> Callable[[], object]:
    """The part of a page that asks for roles, scopes of keys and limits for guessing."""
    path = PAGE.partition("?")[0]
    asked = RequestFactory(HTTP_AUTHORIZATION=f"Api-Key {key}").get(path)
    found: Any = resolve(path).func
    view = found.cls(**found.initkwargs)
    view.action_map = found.actions
    request = view.request = view.initialize_request(asked)
    assert request.user.has_perm("services.view_subscription")  # so it is authenticated by now
    guarded = AttemptsMiddleware(lambda _: HttpResponse())

    def call() -> None:
        view.check_permissions(request)
        view.check_throttles(request)
        guarded(asked)

    return call
