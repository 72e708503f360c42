"""A receiver of Pricebook's events: verifies each, stores it once, and misses none.

    WEBHOOK_SECRETS=whsec_… PRICEBOOK_URL=https://prices.example.com PRICEBOOK_KEY=… \
        python3 receiver.py

Python's standard library alone. It listens on 127.0.0.1, port PORT (8001): put a proxy with TLS in
front. WEBHOOK_SECRETS has both secrets, with a blank between, while they are rotated. Events go
into the SQLite file STORE (events.db). The key, with the scope events:read, is for reading on where
the numbers jump; TYPES has the types of the endpoint, with commas between, if it does not take
all. docs/webhooks.md is the guide.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRETS = os.environ.get("WEBHOOK_SECRETS", "").split()
URL = os.environ.get("PRICEBOOK_URL", "").rstrip("/")
KEY = os.environ.get("PRICEBOOK_KEY", "")
TYPES = os.environ.get("TYPES", "")
STORE = os.environ.get("STORE", "events.db")
PORT = int(os.environ.get("PORT", "8001"))
TOLERANCE = 300  # seconds between our clock and the timestamp
LONGEST_BODY = 1_000_000  # bytes

Event = dict[str, Any]


class Unverified(Exception):
    """This request is not from Pricebook, or somebody sends an old one again."""


def verify(headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: float) -> None:
    """Raise Unverified unless one of the signatures is by one of the secrets, and is new."""
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()):
        raise Unverified("there is no timestamp")
    if abs(now - int(timestamp)) > TOLERANCE:
        raise Unverified("the timestamp is too old or too new")
    signed = f"{id}.{timestamp}.".encode() + body  # the bytes as they came, before any parsing
    ours = [
        hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256)
        for secret in secrets
    ]
    for signature in headers.get("webhook-signature", "").split(" "):
        version, _, text = signature.partition(",")
        try:
            theirs = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
        if version == "v1" and any(hmac.compare_digest(theirs, each) for each in ours):
            return
    raise Unverified("no signature is by one of our secrets")


class Store:
    """The events in a file. `through`: all up to this number are stored."""

    def __init__(self, path: str) -> None:
        self.lock = threading.Lock()
        self.database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.database.executescript(
            """
            CREATE TABLE IF NOT EXISTS event (
                webhook_id TEXT PRIMARY KEY, number INTEGER, type TEXT, body TEXT);
            CREATE TABLE IF NOT EXISTS place (through INTEGER);
            """
        )

    def through(self) -> int | None:
        with self.lock:
            return self._through()

    def _through(self) -> int | None:
        row = self.database.execute("SELECT through FROM place").fetchone()
        return None if row is None else int(row[0])

    def add(self, events: Iterable[tuple[str, Event, str]], through: int | None = None) -> bool:
        """Store those that are new, and say whether some are missing before them: one transaction.

        `through`: all up to there have been read.
        """
        jumps = False
        with self.lock, self.database:
            self.database.execute("BEGIN IMMEDIATE")
            place = before = self._through()
            for webhook_id, event, body in events:
                number = int(event["number"])
                done = self.database.execute(
                    "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)",
                    (webhook_id, number, event["type"], body),
                )
                if done.rowcount:
                    print(f"{number} {event['type']} {webhook_id}", flush=True)
                if place is None or number == place + 1:
                    place = number
                jumps = jumps or number > place
            if through is not None:
                place = max(through, place or 0)
            if before is None and place is not None:
                self.database.execute("INSERT INTO place VALUES (?)", (place,))
            elif place != before:
                self.database.execute("UPDATE place SET through = ?", (place,))
        return jumps


def read_on(store: Store) -> None:
    """Fetch what lies behind `through`: what was missed, or is of types that we don't take."""
    while (after := store.through()) is not None:
        query = {"after": after, "page_size": 1000} | ({"type": TYPES} if TYPES else {})
        request = urllib.request.Request(
            f"{URL}/api/events/?{urllib.parse.urlencode(query)}",
            headers={"Authorization": f"Api-Key {KEY}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                page = json.loads(answer.read(), parse_float=Decimal)
        except urllib.error.HTTPError as error:
            if error.code != 410:
                raise
            oldest = json.loads(error.read())["oldest"]
            print(f"lost: the events before {oldest}; read the ledger", file=sys.stderr, flush=True)
            page = {"result": [], "next": oldest - 1}
        store.add(
            ((each["webhook_id"], each, json.dumps(each, default=str)) for each in page["result"]),
            page["next"],
        )
        if page["next"] == after:
            return print(f"has all up to {after}", flush=True)


class Receiver(BaseHTTPRequestHandler):
    store: Store
    missing = threading.Event()
    timeout = 30

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > LONGEST_BODY:
            return self.answer(413)
        body = self.rfile.read(int(length))
        try:
            verify(self.headers, body, SECRETS, time.time())
        except Unverified as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return self.answer(401)
        event = json.loads(body, parse_float=Decimal)
        if event["number"] is None:
            print(f"{event['type']} {self.headers['webhook-id']}", flush=True)
            return self.answer(204)
        # It is stored before it is answered, because nothing that was answered by 2xx comes again.
        # One that comes twice has the same id. Work on it elsewhere: an answer has 10 s.
        if self.store.add([(self.headers["webhook-id"], event, body.decode())]):
            self.missing.set()
        return self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def keep_whole(store: Store) -> None:
    """Read on whenever numbers have jumped; after a failure once more, some seconds later."""
    while True:
        Receiver.missing.wait()
        Receiver.missing.clear()
        try:
            read_on(store)
        except (OSError, ValueError, KeyError) as error:
            print(f"can't read on: {error}", file=sys.stderr, flush=True)
            time.sleep(5)
            Receiver.missing.set()


def main() -> None:
    if not SECRETS:
        raise SystemExit("WEBHOOK_SECRETS is not set: it has the secret of the endpoint.")
    Receiver.store = Store(STORE)
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Receiver)
    if URL:
        threading.Thread(target=keep_whole, args=[Receiver.store], daemon=True).start()
        Receiver.missing.set()  # what came while we were away
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
