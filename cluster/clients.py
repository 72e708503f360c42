"""The clients of a round: they write, edit prices and read, and note what came of each attempt."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster import hosts
from cluster.hosts import ADDRESSES
from cluster.topology import Cluster

DONE, REFUSED, UNKNOWN = "done", "refused", "unknown"
PATIENCE = 8  # seconds for which a client waits for an answer
PAUSE = 0.05
SERVICES, PLANS, CLIENTS = 6, 3, 20
SOURCE = "cluster"
NO_PRIMARY = "no_primary"  # in Book-Read-From: a standby has answered alone


@dataclass(frozen=True)
class Attempt:
    """One attempt of one client. Instants are seconds of a clock that no fault moves."""

    kind: str  # "row", "price", "read", "replica"
    began: float
    ended: float
    outcome: str
    name: str = ""  # of the row, or the service
    value: Any = None  # the row's id, the new price, or the newest id that was read
    expected: int = 0  # the newest id that this client must see
    read_from: str = ""  # Book-Read-From of the answer
    conflict: bool = False  # sent again with its key, it was refused as if it were another

    @property
    def by_replica(self) -> bool:
        return self.read_from.startswith("replica")

    @property
    def said_older(self) -> bool:
        """The answer said that it may be older than a write."""
        return NO_PRIMARY in self.read_from


class Api:
    """One client's connection to the web servers, by their one address."""

    def __init__(self, key: str) -> None:
        self.headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}
        self.connection: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[str, int, Any, str]:
        """The outcome, the status, the answer and what it was read from.

        Only Pricebook's own problem is a refusal; a proxy's 502 says nothing of what happened.
        """
        sent = None if body is None else json.dumps(body)
        try:
            if not self.connection:
                address = ADDRESSES["lb"]
                self.connection = http.client.HTTPConnection(address, hosts.WEB, timeout=PATIENCE)
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            self.connection.request(method, path, sent, self.headers | headers)
            answer = self.connection.getresponse()
            text = answer.read()
            read_from = answer.headers.get("Book-Read-From", "")
            if answer.status < 300:
                return DONE, answer.status, json.loads(text or b"null"), read_from
            problem = "problem+json" in answer.headers.get("Content-Type", "")
            outcome = REFUSED if problem else UNKNOWN
            return outcome, answer.status, text.decode(errors="replace"), read_from
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            return UNKNOWN, 0, None, ""

    def close(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection = None


class Load:
    """All clients of a round, each a thread. Nothing is sent before `start`, nor after `stop`."""

    def __init__(self, cluster: Cluster, tag: str, things: dict[str, list[int]]) -> None:
        self.cluster = cluster
        self.key = cluster.places.key.read_text()
        self.tag = tag
        self.things = things
        self.attempts: list[Attempt] = []  # appended to by all threads, which is atomic
        self.newest = 0  # the newest row that any client was told of
        self.ending = threading.Event()
        self.began = self.ended = 0.0
        clients: list[tuple[Callable[..., None], Any]] = [
            (self.write, 1), (self.write, 2), (self.write_surely, 3), (self.edit, 0),
            (self.read, 0), (self.read, 1), (self.read_replica, 0), (self.read_replica, 1),
        ]  # fmt: skip
        self.threads = [
            threading.Thread(target=client, args=[number], daemon=True)
            for client, number in clients
        ]

    def start(self) -> None:
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.ended = time.monotonic()
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def wrote_since(self, instant: float) -> bool:
        """Whether a write was acknowledged that was sent after an instant."""
        return any(
            attempt.kind == "row" and attempt.outcome == DONE and attempt.began > instant
            for attempt in self.attempts[-200:]
        )

    def note(self, kind: str, began: float, outcome: str, **more: Any) -> None:
        self.attempts.append(Attempt(kind, began, time.monotonic(), outcome, **more))

    # Clients ------------------------------------------------------------------------------------

    def row(self, name: str, chance: random.Random) -> dict[str, Any]:
        picked = {kind: chance.choice(self.things[kind]) for kind in ("client", "service", "plan")}
        return picked | {"source": SOURCE, "external_id": name}

    def write(self, number: int) -> None:
        """New subscriptions, each sent once."""
        api, chance = Api(self.key), random.Random(number)
        count = 0
        while not self.ending.wait(PAUSE):
            count += 1
            name = f"{self.tag}-{number}-{count}"
            began = time.monotonic()
            outcome, _, answer, _ = api.ask("POST", "/api/subscriptions/", self.row(name, chance))
            self.wrote(began, outcome, name, answer)

    def write_surely(self, number: int) -> None:
        """New subscriptions, each sent until it is done, as docs/api.md says: with one key."""
        api, chance = Api(self.key), random.Random(number)
        count = 0
        while not self.ending.wait(PAUSE):
            count += 1
            name = f"{self.tag}-{number}-{count}"
            body = self.row(name, chance)
            while True:
                began = time.monotonic()
                outcome, status, answer, _ = api.ask(
                    "POST", "/api/subscriptions/", body, Idempotency_Key=name
                )
                final = outcome == DONE or (400 <= status < 500 and status not in (408, 425, 429))
                conflict = final and outcome != DONE
                self.wrote(began, outcome, name, answer, conflict=conflict)
                if final or self.ending.wait(1):
                    break

    def wrote(
        self, began: float, outcome: str, name: str, answer: Any, conflict: bool = False
    ) -> None:
        id = answer["id"] if outcome == DONE else None
        self.note("row", began, outcome, name=name, value=id, conflict=conflict)
        if id:
            self.newest = max(self.newest, id)

    def edit(self, number: int) -> None:
        """New list prices, one after another; each moves all that follow the service."""
        api, chance = Api(self.key), random.Random(number)
        while not self.ending.wait(0.7):
            service = chance.choice(self.things["service"])
            price = f"{chance.randrange(1000, 99999) / 100:.2f}"
            began = time.monotonic()
            path = f"/api/services/{service}/"
            outcome, _, _, _ = api.ask("PATCH", path, {"full_price": price})
            self.note("price", began, outcome, name=str(service), value=price)

    def read(self, number: int) -> None:
        """The newest subscription: never older than one that this client has seen, or any other
        client was told of before the question. A standby alone may show a commit that its primary
        never confirmed, and says that it is alone: nobody may count on that."""
        api, seen = Api(self.key), 0
        while not self.ending.wait(PAUSE):
            began, expected = time.monotonic(), max(seen, self.newest)
            outcome, _, answer, read_from = api.ask(
                "GET", "/api/subscriptions/?page_size=1&ordering=-id"
            )
            found = answer["result"][0]["id"] if outcome == DONE and answer["result"] else 0
            self.note("read", began, outcome, value=found, expected=expected, read_from=read_from)
            if NO_PRIMARY not in read_from:
                seen = max(seen, found)

    def read_replica(self, number: int) -> None:
        """The newest subscription that some standby has, by SQL: is there one that answers?"""
        session: Any = None
        while not self.ending.wait(PAUSE):
            began = time.monotonic()
            found, outcome = 0, DONE
            try:
                session = session or self.cluster.sql(hosts.REPLICA)
                query = "SELECT coalesce(max(id), 0) FROM services_subscription"
                (found,) = session.execute(query).fetchone()
            except Exception:  # whatever it is, nothing was read
                outcome = UNKNOWN
                if session:
                    session.close()
                session = None
            self.note("replica", began, outcome, value=found)
        if session:
            session.close()


def make_book(cluster: Cluster, subscriptions: int = 2000) -> dict[str, list[int]]:
    """Make the things that rows are made of, once; the ids of each kind."""
    api = Api(cluster.places.key.read_text())
    path = cluster.places.data / "things.json"
    if path.exists():
        found: dict[str, list[int]] = json.loads(path.read_text())
        return found

    def made(kind: str, bodies: list[dict[str, Any]]) -> list[int]:
        ids = []
        for body in bodies:
            outcome, status, answer, _ = api.ask("POST", f"/api/{kind}/", body)
            assert outcome == DONE, f"{kind}: {status} {answer}"
            ids.append(answer["id"])
        return ids

    kinds = ("full", "student", "discount")
    things = {
        "client": made("clients", [{"company_name": f"Client {n}"} for n in range(CLIENTS)]),
        "service": made(
            "services",
            [{"name": f"Service {n}", "full_price": 10 * (n + 1)} for n in range(SERVICES)],
        ),
        "plan": made(
            "plans",
            [{"plan_type": kinds[n], "discount_percent": 7 * n} for n in range(PLANS)],
        ),
    }
    chance = random.Random(0)
    lines = [
        {kind: chance.choice(ids) for kind, ids in things.items()}
        | {"source": SOURCE, "external_id": f"before-{n}"}
        for n in range(subscriptions)
    ]
    outcome, status, answer, _ = api.ask("POST", "/api/subscriptions/bulk/", {"lines": lines})
    assert outcome == DONE, f"bulk: {status} {answer}"
    path.write_text(json.dumps(things))
    return things
