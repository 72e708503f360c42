"""The bytes that a year writes follow from three sizes of a book: the model predicts the fourth.

Each size is a book of its own, to which one thing after another happens: it is filled, every list
price moves, a set of all prices moves, every tenth price is negotiated by SQL, events are made of
all of that; 100 are negotiated by the API, with their answers kept and an event each; people log
in, and all of it is sealed. For each are taken the bytes by which tables and indexes grow, the
bytes of WAL, and the seconds of CPU of this process and its session. Before each all tables are
vacuumed, and a checkpoint is made, so that all pages that it touches are in the WAL once.

A line `fixed + each x rows` is laid through all sizes but the greatest, and says what the greatest
one should have taken, beside what it took. A year together has to be right within 15 % in its bytes
and 30 % in its seconds, else the exit code is 1. Then: what a year writes by this model, for a
million rows and for 1,000,000,000. `--year NAME=N` gives another number of a thing to a
subscription and a year.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from rest_framework.test import APIClient

from benchmarks import results, stopwatch
from benchmarks.price_changes import SET, approve, position
from benchmarks.scratch import fill, on_server, say, scratch_database
from events import deriving
from events.models import Endpoint
from price_changes.models import PriceChange
from services import repricing
from services.ledger import seals
from services.models import Service, Subscription

BY_API, LOG_INS = 100, 200
SHAPE = 50, 8  # services and plans, at every size
BYTES_WITHIN, SECONDS_WITHIN = 15, 30  # per cent
NEGOTIATED = """
UPDATE services_subscription SET price_state = 'negotiated', price = price + 1 WHERE id %% 10 = 0
"""
# Heap with its maps and TOAST, and indexes, of each table that is there.
SIZES = """
SELECT relname, pg_table_size(oid), pg_indexes_size(oid)
  FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True)
class Taken:
    """A thing that happened: how often, and its cost."""

    times: int
    tables: dict[str, tuple[int, int]]  # the growth of each table and of its indexes, in bytes
    wal: int
    cpu: float
    wall: float

    @property
    def stored(self) -> int:
        return sum(map(sum, self.tables.values()))

    @property
    def kept(self) -> float:
        """The bytes that are left at the end of a year, of what came evenly over it."""
        return sum(
            sum(grown) * min(1.0, KEPT_DAYS.get(name, 365) / 365)
            for name, grown in self.tables.items()
        )


def main(arguments: list[str]) -> int:
    parser = results.options(
        __doc__,
        rows=[12_500, 25_000, 50_000, 100_000],
        quick=[2_000, 4_000, 6_000, 10_000],
        rounds=1,
    )
    parser.add_argument("--year", action="append", default=[], metavar="NAME=N", help=known())
    chosen = results.parse(parser, arguments)
    if len(set(chosen.rows)) < 4:
        parser.error("--rows has to be given four times, for three sizes and the one to predict")
    year = a_year(parser, chosen.year)
    chosen.rows = sorted(set(chosen.rows))
    under = results.conditions(chosen)
    logging.disable(logging.INFO)
    taken = {rows: one_book(rows) for rows in chosen.rows}
    each = list(taken[chosen.rows[-1]])
    by_table = [line for name in each for line in tables(name, taken[chosen.rows[-1]][name])]
    results.table(f"Bytes that a thing stores, in a book of {chosen.rows[-1]:,}", by_table)
    as_predicted, bad = checked(taken, year)
    results.table("The greatest size, as the others predict it", as_predicted)
    paper = [line for rows in (10**6, 10**9) for line in on_paper(taken, year, rows)]
    results.table("A year by this model", paper)
    results.save("growth", chosen, under, [*by_table, *as_predicted, *paper])
    for line in bad:
        say(f"off by more than it may be: {line['what']}, {line['of']}: {line['off by %']:.0f} %")
    return int(bool(bad))


# --- Things that happen -----------------------------------------------------------------------


def list_prices_move(rows: int) -> int:
    for pk, price in Service.objects.values_list("pk", "full_price"):
        approve({"kind": "list_price", "service": pk, "new_value": price + 1})
    return finish(rows)


def a_set_moves(rows: int) -> int:
    approve(SET)
    return finish(rows)


def finish(rows: int) -> int:
    going = PriceChange.objects.filter(status__in=["scheduled", "applying"])
    while going.exists():
        repricing.reprice(seconds=600)
    return rows


def negotiated(rows: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(NEGOTIATED, ())
        return int(cursor.rowcount)


def by_the_api(rows: int) -> int:
    client = APIClient(SERVER_NAME="localhost")
    client.force_authenticate(User.objects.get(username="operator"))
    step = max(1, rows // BY_API)
    for number, pk in enumerate(Subscription.objects.values_list("pk", flat=True)[::step][:BY_API]):
        answer = client.post(
            f"/api/subscriptions/{pk}/negotiate/",
            {"price": "123.45", "reason": "by contract"},
            format="json",
            headers={"Idempotency-Key": f"growth-{number}"},
        )
        if answer.status_code != 200:
            raise AssertionError(answer.content)
        deriving.derive()  # or neighbours would be told together
    return BY_API


def log_ins(rows: int) -> int:
    for number in range(LOG_INS):
        session = SessionStore()
        session["_auth_user_id"], session["_auth_user_hash"] = str(number), "0" * 64
        session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
        session.create()
    return LOG_INS


def told(rows: int) -> int:
    """Make events of all lines of the feed; returns how many entries of the ledger they tell of."""
    deriving.derive()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM services_ledgerentry")
        return int(cursor.fetchone()[0])


def sealed(rows: int) -> int:
    seals.seal(3600)
    return seals.verify().rows


def filled(rows: int) -> int:
    fill(rows, SHAPE)
    return rows


HAPPENS: dict[str, Callable[[int], int]] = {
    "a subscription": filled,
    "a row of list prices": list_prices_move,
    "a row of a set": a_set_moves,
    "a price by SQL": negotiated,
    "an entry told": told,
    "a price by the API": by_the_api,
    "a log-in": log_ins,
    "a row sealed": sealed,
}
# How often each happens in a year, to a subscription. All that is recorded is sealed, and told.
YEAR = {
    "a subscription": 0.2,
    "a row of list prices": 12.0,
    "a row of a set": 1.0,
    "a price by SQL": 0.0,
    "an entry told": 1.2,
    "a price by the API": 0.5,
    "a log-in": 0.005,
    "a row sealed": 13.7,
}
# Tables that are not kept for a year: days of answers (48 hours), of sessions, and of events.
KEPT_DAYS = {
    "pricebook_answeredrequest": 2,
    "django_session": settings.SESSION_COOKIE_AGE / 86_400,
    "events_event": settings.EVENTS_KEPT_DAYS,
}


def known() -> str:
    each = ", ".join(f"{name}={often:g}" for name, often in YEAR.items())
    return f"times a year and subscription (default: {each})"


def a_year(parser: argparse.ArgumentParser, given: list[str]) -> dict[str, float]:
    year = dict(YEAR)
    for text in given:
        name, _, often = text.partition("=")
        try:
            year[name] = float(often) if name in YEAR else parser.error(f"there is no {name!r}")
        except ValueError:
            parser.error(f"--year {text}: a number has to follow the =")
    return year


# --- Their cost --------------------------------------------------------------------------------


def one_book(rows: int) -> dict[str, Taken]:
    with scratch_database("growth"):
        stopwatch.one_session()
        User.objects.create_superuser("operator")
        Endpoint.objects.create(name="growth", url="https://example.com/")
        taken = {}
        for name, happens in HAPPENS.items():
            taken[name] = took(happens, rows)
            say(f"  {rows:,}: {name}, {taken[name].times:,} times in {taken[name].wall:.1f} s")
        return taken


def took(happens: Callable[[int], int], rows: int) -> Taken:
    vacuum()
    before = sizes()
    checkpoint()
    wal = position()
    times, cpu, wall = stopwatch.once(lambda: happens(rows))
    wal = position() - wal
    vacuum()
    after = sizes()
    grown = {
        name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in after
    }
    return Taken(max(1, times), {n: g for n, g in grown.items() if any(g)}, wal, cpu, wall)


def sizes() -> dict[str, tuple[int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(SIZES)
        return {name: (table, indexes) for name, table, indexes in cursor.fetchall()}


def vacuum() -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def checkpoint() -> None:
    """Make one without a superuser's rights: copying a database by its files begins with one."""
    on_server("DROP DATABASE IF EXISTS bench_growth_checkpoint")
    on_server("CREATE DATABASE bench_growth_checkpoint TEMPLATE template0 STRATEGY file_copy")
    on_server("DROP DATABASE bench_growth_checkpoint")


# --- The model --------------------------------------------------------------------------------


def line_through(points: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """The line whose squared distances, each in parts of its point, are least together."""
    weights = [1 / max(y, 1e-9) ** 2 for _, y in points]
    whole = sum(weights)
    x_mean = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / whole
    y_mean = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / whole
    spread = sum(w * (x - x_mean) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    both = sum(w * (x - x_mean) * (y - y_mean) for w, (x, y) in zip(weights, points, strict=True))
    each = both / spread if spread else 0.0
    return lambda x: y_mean + each * (x - x_mean)


MEASURES: dict[str, Callable[[Taken], float]] = {
    "bytes stored": lambda taken: taken.stored,
    "bytes of WAL": lambda taken: taken.wal,
    "s of CPU": lambda taken: taken.cpu,
}

ON_PAPER = {"bytes kept": lambda taken: taken.kept} | MEASURES


def checked(
    taken: dict[int, dict[str, Taken]], year: dict[str, float]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Each measure of the greatest size, predicted by the others; and what is too far off.

    Judged is a year together: what happens often in it counts for more. Each thing is shown beside.
    """
    *fitted, greatest = sorted(taken)
    found, bad = [], []
    for measure, of in MEASURES.items():
        sums = [0.0, 0.0]
        for name, often in year.items():
            points = [(float(rows), float(of(taken[rows][name]))) for rows in fitted]
            both = line_through(points)(greatest), float(of(taken[greatest][name]))
            found.append(compared(name, measure, *both))
            in_a_year = often * greatest / taken[greatest][name].times
            sums = [total + one * in_a_year for total, one in zip(sums, both, strict=True)]
        found.append(compared("a year together", measure, *sums))
        may = SECONDS_WITHIN if measure == "s of CPU" else BYTES_WITHIN
        if found[-1]["off by %"] > may:
            bad.append(found[-1])
    return found, bad


def compared(name: str, measure: str, predicted: float, measured: float) -> dict[str, Any]:
    off = 100 * abs(predicted / measured - 1) if measured else 0.0
    return {
        "what": name,
        "of": measure,
        "predicted": predicted,
        "measured": measured,
        "off by %": off,
    }


def on_paper(
    taken: dict[int, dict[str, Taken]], year: dict[str, float], rows: int
) -> list[dict[str, Any]]:
    """A year of a book of so many rows, by the line through all sizes."""
    lines = []
    for name, often in year.items():
        if not often:
            continue
        line: dict[str, Any] = {"rows": rows, "what": name, "times": round(often * rows)}
        for measure, of in ON_PAPER.items():
            line[measure] = each_at(taken, name, of, rows) * often * rows
        lines.append(line)
    total = {"rows": rows, "what": "together", "times": sum(line["times"] for line in lines)}
    total |= {measure: sum(line[measure] for line in lines) for measure in ON_PAPER}
    return [
        {
            "rows": line["rows"],
            "what": line["what"],
            "times": line["times"],
            "GB kept": line["bytes kept"] / 1e9,
            "GB of WAL": line["bytes of WAL"] / 1e9,
            "hours of CPU": line["s of CPU"] / 3600,
        }
        for line in [*lines, total]
    ]


def grows(times: Sequence[int]) -> bool:
    """Whether a thing happens more often in a greater book, and not a fixed number of times."""
    return max(times) > 1.5 * min(times)


def each_at(
    taken: dict[int, dict[str, Taken]], name: str, of: Callable[[Taken], float], rows: int
) -> float:
    """The cost of one of these in a book of so many rows."""
    times = [taken[size][name].times for size in taken]
    if not grows(times):
        return sum(of(taken[size][name]) for size in taken) / sum(times)
    points = [(float(taken[size][name].times), float(of(taken[size][name]))) for size in taken]
    each = line_through(points)
    return (each(2.0 * rows) - each(float(rows))) / rows


def tables(name: str, taken: Taken) -> list[dict[str, Any]]:
    """The bytes that one of these stores in each table, the greatest first."""
    grown = sorted(taken.tables.items(), key=lambda item: -sum(item[1]))
    return [
        {
            "what": name,
            "times": taken.times,
            "table": table,
            "table, bytes each": heap / taken.times,
            "indexes, bytes each": indexes / taken.times,
            "WAL, bytes each": taken.wal / taken.times if not number else None,
            "µs of CPU each": taken.cpu / taken.times * 1e6 if not number else None,
        }
        for number, (table, (heap, indexes)) in enumerate(grown)
        if (heap + indexes) / taken.times >= 0.5
    ]
