"""A bulk of 10,000 subscriptions over HTTP is 20 times as fast as POSTs of each.

And at least half as fast as `import_book` with the same lines, which has no web server, no JSON
and no result a line. The bulk and the POSTs go through the shipped server on one connection, with
an API key and without an Idempotency-Key; of the POSTs the first 500 are sent, and their rate is
compared. Both create; the second bulk and the second import change the comment of each line.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import random
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from benchmarks import results
from benchmarks.goals.line import goal
from benchmarks.scratch import say, scratch_book
from benchmarks.web_server import OURS, a_site
from clients.models import Client
from keys import verbs
from keys.verbs import Maker
from services.models import Plan, Service, Subscription
from services.transfer.importing import import_book

LINES = 10_000
SINGLE = 500  # POSTs whose rate is that of all
Line = dict[str, Any]


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[100_000], quick=[10_000], rounds=3)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    for rows in chosen.rows:
        with scratch_book("bulk_write", rows), a_site(OURS) as port:
            figures += measure(rows, chosen.rounds, port)
    results.table(f"{LINES:,} subscriptions in bulk", figures)
    results.save("bulk_write", chosen, under, figures)


def measure(rows: int, rounds: int, port: int) -> list[dict[str, Any]]:
    _, key = verbs.make("benchmark", ["subscriptions:write"], Maker.operator("benchmark"))
    site = Site(port, key)
    site.post("/api/subscriptions/", draw("warm", 1)[0])
    site.bulk(ndjson_of(draw("bench bulk changes", LINES)))
    imported(file_of(draw("bench import changes", LINES)))
    number = count(1)

    def created(source: str, how_many: int = LINES) -> list[Line]:
        return draw(f"bench {source} {next(number)}", how_many)

    def changed(source: str) -> list[Line]:
        return draw(f"bench {source} changes", LINES, comment=f"version {next(number)}")

    taken = results.interleaved(
        {
            "single": lambda: alone(site, created("single", SINGLE)),
            "bulk": lambda: seconds(site.bulk, ndjson_of(created("bulk"))),
            "import": lambda: seconds(imported, file_of(created("import"))),
            "bulk changes": lambda: seconds(site.bulk, ndjson_of(changed("bulk"))),
            "import changes": lambda: seconds(imported, file_of(changed("import"))),
        },
        rounds,
    )
    expected = (2 * LINES + SINGLE) * rounds + 2 * LINES
    if Subscription.objects.filter(source__startswith="bench ").count() != expected:
        raise AssertionError("they have not done the same")
    for name, measured in taken.items():
        say(f"  {name}: " + ", ".join(f"{LINES / each:,.0f} lines/s" for each in measured))

    def times(work: str, control: str, variant: str, least: float) -> dict[str, Any]:
        faster = 1 / results.ratio_to(taken[control], taken[variant])
        return {"rows": rows, **goal(work, faster, at_least=least)}

    return [
        times("bulk, lines a second against single POSTs", "single", "bulk", 20),
        times("bulk, lines a second against import_book", "import", "bulk", 0.5),
        times("the same, of comments that differ", "import changes", "bulk changes", 0.5),
    ]


class Site:
    """The server on one connection."""

    def __init__(self, port: int, key: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.headers = {"Authorization": f"Api-Key {key}"}

    def post(self, path: str, body: Any, type: str = "application/json") -> bytes:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request("POST", path, sent, self.headers | {"Content-Type": type})
        answer = self.connection.getresponse()
        got = answer.read()
        if answer.status not in (200, 201):
            raise AssertionError(f"{path}: {answer.status} {got[:500]!r}")
        return got

    def bulk(self, body: bytes) -> None:
        got = self.post("/api/subscriptions/bulk/", body, "application/x-ndjson")
        end = json.loads(got[got[:-1].rindex(b"\n") :])["end"]
        if end["created"] + end["changed"] != end["lines"]:
            raise AssertionError(end)


def alone(site: Site, lines: list[Line]) -> float:
    """The seconds that all lines would take as single POSTs."""

    def write(bodies: list[bytes]) -> None:
        for body in bodies:
            site.post("/api/subscriptions/", body)

    return seconds(write, [json.dumps(line).encode() for line in lines]) * LINES / SINGLE


def seconds(write: Callable[[Any], None], sent: Any) -> float:
    began = time.perf_counter()
    write(sent)
    return time.perf_counter() - began


def draw(source: str, number: int, comment: str = "") -> list[Line]:
    """So many lines, the same ones for each source."""
    drawn = random.Random(7)
    clients, services, plans = (
        list(model._default_manager.order_by("pk").values_list("pk", flat=True))
        for model in (Client, Service, Plan)
    )
    return [
        {
            "source": source,
            "external_id": str(n),
            "client": drawn.choice(clients),
            "service": drawn.choice(services),
            "plan": drawn.choice(plans),
            "started_at": "2026-01-01T00:00:00Z",
            "comment": comment,
        }
        for n in range(number)
    ]


def ndjson_of(lines: list[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def imported(file: io.BytesIO) -> None:
    import_book(file, update=True)


def file_of(lines: list[Line]) -> io.BytesIO:
    """The file of a book with these lines."""
    clients = {each.pk: each for each in Client.objects.select_related("user")}
    services, plans = Service.objects.in_bulk(), Plan.objects.in_bulk()
    rows = []
    for line in lines:
        client = clients[line["client"]]
        service, plan = services[line["service"]], plans[line["plan"]]
        rows.append(
            {
                "company_name": client.company_name,
                "email": client.user.email,
                "full_address": client.full_address,
                "service": service.name,
                "full_price": service.full_price,
                "plan_type": plan.plan_type,
                "discount_percent": plan.discount_percent,
                **{name: line[name] for name in ("source", "external_id", "started_at", "comment")},
            }
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return io.BytesIO(text.getvalue().encode())
