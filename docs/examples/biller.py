"""A biller that keeps a copy of all that is paid: webhooks wake it, and the ledger's feed tells it.

    WEBHOOK_SECRETS=whsec_… PRICEBOOK_URL=https://prices.example.com PRICEBOOK_KEY=… \
        python3 biller.py
    python3 biller.py total 2027-01-31T23:59:59Z
    python3 biller.py compare 2027-01-31T23:59:59Z

Python's standard library alone, and receiver.py beside it. The key has the scope ledger:read, and
subscriptions:read for `compare`, which says where the store differs from the book as of an instant.
An event only says that there is something new; what that is comes from the feed, each entry
once, and is stored together with the place up to which it was read. So neither a kill of this
program nor of Pricebook, nor an event that is lost or comes twice, makes a wrong bill. Amounts are
asked for as texts, and stay decimals. docs/api.md, "What to bill", is the guide to entries;
docs/webhooks.md is that to events.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from http.server import ThreadingHTTPServer
from typing import Any

from receiver import KEY, PORT, SECRETS, URL, Receiver, Unverified, verify

STORE = os.environ.get("STORE", "bills.db")
POLL = float(os.environ.get("POLL", "60"))  # seconds: how late an event may be that was lost
TABLES = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY, subscription INTEGER, client INTEGER, service INTEGER, plan INTEGER,
    effective_at TEXT, price TEXT, started_at TEXT, ended_at TEXT, unpaid_since TEXT,
    currency TEXT);
CREATE TABLE IF NOT EXISTS place (after TEXT);
"""
ENTRY = (
    "id", "subscription_id", "client_id", "service_id", "plan_id", "effective_at", "price",
    "started_at", "ended_at", "unpaid_since", "currency",
)  # fmt: skip

OF_ANOTHER = ("place_of_another_life", "place_ahead")


def opened() -> sqlite3.Connection:
    database = sqlite3.connect(STORE, isolation_level=None, timeout=30)
    database.executescript(TABLES)
    return database


def asked(path: str, **query: object) -> dict[str, Any]:
    """The answer to a GET, with each amount as a text: no reader of JSON makes a float of it."""
    query = {name: value for name, value in query.items() if value is not None}
    address = urllib.parse.urlencode(query | {"decimals": "string"})
    request = urllib.request.Request(
        f"{URL}{path}?{address}", headers={"Authorization": f"Api-Key {KEY}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.loads(answer.read()))


def place_of(database: sqlite3.Connection) -> str | None:
    row = database.execute("SELECT after FROM place").fetchone()
    return row and str(row[0])


def begin_anew(database: sqlite3.Connection) -> None:
    database.executescript("BEGIN IMMEDIATE; DELETE FROM entry; DELETE FROM place; COMMIT")


def read_on(database: sqlite3.Connection) -> None:
    """Store all that is new, a page and its place in one transaction."""
    while True:
        place = place_of(database)
        try:
            page = asked("/api/ledger/", limit=1000, after=place)
        except urllib.error.HTTPError as error:
            if place is None or json.loads(error.read()).get("code") not in OF_ANOTHER:
                raise
            # The book was restored, and lacks what we have read last. To read on from the answer's
            # `common_until`, and compare, would do. This begins anew: compare what was billed.
            print("the place is of another history: reading it all again", file=sys.stderr)
            begin_anew(database)
            continue
        with database:
            database.execute("BEGIN IMMEDIATE")
            if place_of(database) != place:
                continue  # meanwhile it was begun anew
            database.executemany(
                f"INSERT INTO entry VALUES ({', '.join('?' * len(ENTRY))})",
                [[each[column] for column in ENTRY] for each in page["result"]],
            )
            database.execute("DELETE FROM place")
            database.execute("INSERT INTO place VALUES (?)", (page["next"],))
        if not page["result"]:
            return
        print(f"stored {len(page['result'])}", flush=True)


Paid = tuple[int, int, int, Decimal]  # client, service, plan and price


def bills(database: sqlite3.Connection, at: datetime) -> Iterator[tuple[int, Paid]]:
    """Each subscription that pays at an instant: who pays what for what."""
    rows = database.execute(
        "SELECT subscription, effective_at, client, service, plan, price,"
        "       started_at, ended_at, unpaid_since"
        "  FROM entry ORDER BY subscription, id"
    ).fetchall()
    histories: dict[int, list[Any]] = {}
    for subscription, *entry in rows:
        histories.setdefault(subscription, []).append(entry)
    for subscription, entries in histories.items():
        # The period of the last entry counts; one of an earlier release may say nothing of it.
        periods = [entry[5:7] for entry in entries if entry[5] is not None]
        if not periods or instant(periods[-1][0]) > at:
            continue
        if periods[-1][1] is not None and instant(periods[-1][1]) <= at:
            continue
        if any(gap and instant(gap) <= at < instant(since) for since, *_, gap in entries):
            continue
        # The greatest (effective_at, id): of several at one instant the last one.
        in_force = [(instant(since), n) for n, (since, *_) in enumerate(entries)]
        known = [each for each in in_force if each[0] <= at]
        if known:
            client, service, plan, price = entries[max(known)[1]][1:5]
            if price is not None:
                yield subscription, (client, service, plan, Decimal(price))


def theirs(at: datetime) -> Iterator[tuple[int, Paid]]:
    """The same by the book itself, in the order of the ids."""
    cursor = None
    while True:
        page = asked("/api/subscriptions/", as_of=at.isoformat(), page_size=1000, cursor=cursor)
        for row in page["result"]:
            service = row["service"]["id"]
            yield row["id"], (row["client_id"], service, row["plan_id"], Decimal(row["price"]))
        if page["next"] is None:
            return
        [cursor] = urllib.parse.parse_qs(urllib.parse.urlsplit(page["next"]).query)["cursor"]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class Bell(Receiver):
    """Answers each event at once, and wakes the reader: nothing else of it needs to be stored."""

    rung = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1_000_000))
        try:
            verify(self.headers, body, SECRETS, time.time())
        except Unverified as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return self.answer(401)
        event = json.loads(body)
        print(f"event {event['number']}, {event['type']}", flush=True)
        if event["type"] == "book.loaded":  # places of the feed have ended
            with closing(opened()) as database:
                begin_anew(database)
        self.rung.set()
        return self.answer(204)


def main() -> None:
    if sys.argv[1:2] in (["total"], ["compare"]):
        at = instant(sys.argv[2]) if sys.argv[2:] else datetime.now(UTC)
        ours = dict(bills(opened(), at))
        print(len(ours), sum((price for *_, price in ours.values()), Decimal(0)))
        if sys.argv[1] == "compare":
            book = dict(theirs(at))
            differ = sorted(id for id in ours | book if ours.get(id) != book.get(id))
            print(*[f"{id}: {ours.get(id)}, and in the book {book.get(id)}" for id in differ[:20]],
                  f"{len(differ)} differ from the book", sep="\n")  # fmt: skip
            sys.exit(1 if differ else 0)
        return
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Bell)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    database = opened()
    while True:
        Bell.rung.clear()
        try:
            read_on(database)
        except (OSError, ValueError) as error:  # no server just now: the feed waits for us
            print(f"can't read: {error}", file=sys.stderr, flush=True)
            time.sleep(min(1, POLL))
            continue
        Bell.rung.wait(POLL)


if __name__ == "__main__":
    main()
