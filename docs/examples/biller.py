"""A biller that keeps a copy of all that is paid: webhooks wake it, and the ledger's feed tells it.

    WEBHOOK_SECRETS=whsec_… PRICEBOOK_URL=https://prices.example.com PRICEBOOK_KEY=… \
        python3 biller.py
    python3 biller.py total 2027-01-31T23:59:59Z

Python's standard library alone, and receiver.py beside it. The key has the scope ledger:read. An
event only says that there is something new; what that is comes from the feed, each entry once, and
is stored together with the place up to which it was read. So neither a kill of this program nor of
Pricebook, nor an event that is lost or comes twice, makes a wrong bill. docs/api.md, "What to
bill", is the guide to entries; docs/webhooks.md is that to events.
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
from datetime import UTC, datetime
from decimal import Decimal
from http.server import ThreadingHTTPServer
from typing import Any

from receiver import KEY, PORT, SECRETS, URL, Receiver, Unverified, verify

STORE = os.environ.get("STORE", "bills.db")
POLL = float(os.environ.get("POLL", "60"))  # seconds: how late an event may be that was lost
TABLES = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY, subscription INTEGER, effective_at TEXT, price TEXT,
    started_at TEXT, ended_at TEXT, unpaid_since TEXT, currency TEXT);
CREATE TABLE IF NOT EXISTS place (after TEXT);
"""


def opened() -> sqlite3.Connection:
    database = sqlite3.connect(STORE, isolation_level=None, timeout=30)
    database.executescript(TABLES)
    return database


def page_after(place: str | None) -> dict[str, Any]:
    query = {"limit": 1000} | ({"after": place} if place else {})
    request = urllib.request.Request(
        f"{URL}/api/ledger/?{urllib.parse.urlencode(query)}",
        headers={"Authorization": f"Api-Key {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.loads(answer.read(), parse_float=Decimal))  # never through a float


def read_on(database: sqlite3.Connection) -> None:
    """Store all that is new, a page and its place in one transaction."""
    while True:
        row = database.execute("SELECT after FROM place").fetchone()
        try:
            page = page_after(row and row[0])
        except urllib.error.HTTPError as error:
            if row is None or json.loads(error.read()).get("code") != "place_ahead":
                raise
            # The server was restored from a backup: begin anew, and check what was billed since.
            print("the place is of another history: reading it all again", file=sys.stderr)
            with database:
                database.executescript("BEGIN; DELETE FROM entry; DELETE FROM place; COMMIT")
            continue
        with database:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(
                "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (each["id"], each["subscription_id"], each["effective_at"],
                     None if each["price"] is None else str(each["price"]), each["started_at"],
                     each["ended_at"], each["unpaid_since"], each["currency"])
                    for each in page["result"]
                ],
            )  # fmt: skip
            database.execute("DELETE FROM place")
            database.execute("INSERT INTO place VALUES (?)", (page["next"],))
        if not page["result"]:
            return
        print(f"stored {len(page['result'])}", flush=True)


def bills(database: sqlite3.Connection, at: datetime) -> Iterator[tuple[int, Decimal]]:
    """Each subscription that pays at an instant, and what it pays."""
    rows = database.execute(
        "SELECT subscription, effective_at, price, started_at, ended_at, unpaid_since"
        "  FROM entry ORDER BY subscription, id"
    ).fetchall()
    histories: dict[int, list[Any]] = {}
    for subscription, *entry in rows:
        histories.setdefault(subscription, []).append(entry)
    for subscription, entries in histories.items():
        *_, started_at, ended_at, _ = entries[-1]  # the period of the last entry counts
        if started_at is None or instant(started_at) > at:
            continue
        if ended_at is not None and instant(ended_at) <= at:
            continue
        if any(gap and instant(gap) <= at < instant(since) for since, *_, gap in entries):
            continue
        # The greatest (effective_at, id): of several at one instant the last one.
        in_force = [(instant(since), n) for n, (since, *_) in enumerate(entries)]
        known = [each for each in in_force if each[0] <= at]
        price = entries[max(known)[1]][1] if known else None
        if price is not None:
            yield subscription, Decimal(price)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class Bell(Receiver):
    """Answers each event at once, and wakes the reader: nothing of it needs to be stored."""

    rung = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1_000_000))
        try:
            verify(self.headers, body, SECRETS, time.time())
        except Unverified as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return self.answer(401)
        self.rung.set()
        return self.answer(204)


def main() -> None:
    if sys.argv[1:2] == ["total"]:
        at = instant(sys.argv[2]) if sys.argv[2:] else datetime.now(UTC)
        amounts = [price for _, price in bills(opened(), at)]
        print(len(amounts), sum(amounts, Decimal(0)))
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
