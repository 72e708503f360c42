"""The metrics of the book: read from the database at the scrape, in a time that is bounded.

Each part is a statement of its own. A part that fails is left out, and `pricebook_part_ok` of it is
0; if the database doesn't answer, `pricebook_database_up` is 0 and no part is there. So each figure
is one of now.

The seal of the ledger, when there is one, belongs here too: a part "seal" with the entries that are
not sealed yet, and the age of the last block.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import psycopg
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pricebook.database.base import REPLICA
from pricebook.kit import replica
from pricebook.seeing import statements
from pricebook.seeing.look import Look, NoAnswer, Session
from services import sweeps
from services.audit.book_check import kept_check
from services.lives import Standing

logger = logging.getLogger(__name__)

SECONDS = 5.0  # Prometheus waits for 10 by default

Rows = list[Any]
KINDS = ("changes", "repricings", "locks", "jobs", "happenings")
STATUSES = ("planned", "scheduled", "held", "applying", "paused")
STATES = ("delivering", "failing", "disabled")


def gauge(name: str, said: str, value: Any) -> Metric:
    return GaugeMetricFamily(f"pricebook_{name}", said, value=float(value))


def gauges(name: str, said: str, label: str, values: Iterable[tuple[Any, Any]]) -> Metric:
    family = GaugeMetricFamily(f"pricebook_{name}", said, labels=[label])
    for of, value in values:
        family.add_metric([str(of)], float(value))
    return family


def counter(name: str, said: str, value: Any) -> Metric:
    return CounterMetricFamily(f"pricebook_{name}", said, value=float(value))


def life(rows: Rows) -> Iterator[Metric]:
    system, timeline, in_recovery = rows[0]
    labels = {"system_identifier": system, "timeline": str(timeline)}
    labels["in_recovery"] = str(in_recovery).lower()
    yield InfoMetricFamily("pricebook_database", "The life of the database", value=labels)


def standing(rows: Rows) -> Iterator[Metric]:
    said = "Whether the book was restored, and after_restore has not been run since"
    yield gauge("restored_unattended", said, Standing.of(rows).waits)


def due(rows: Rows) -> Iterator[Metric]:
    found = {kind: (count, age) for kind, count, age in rows}
    counts = [(kind, found.get(kind, (0, 0))[0]) for kind in KINDS]
    ages = [(kind, max(0, found.get(kind, (0, 0))[1])) for kind in KINDS]
    yield gauges("due", "Work that is due, and not done", "kind", counts)
    yield gauges("oldest_due_seconds", "Age of the oldest work that is due", "kind", ages)


def running(rows: Rows) -> Iterator[Metric]:
    def each(name: str, said: str, value: Callable[[Any], float]) -> Metric:
        return gauges(f"change_{name}", said, "change", [(row[0], value(row)) for row in rows])

    yield each("rows", "Rows of a change that is being applied", lambda row: row[1])
    yield each("rows_done", "Rows of it that workers have looked at", lambda row: row[2])
    yield each("rows_failed", "Rows of it that could not be moved", lambda row: row[3])
    yield each(
        "rows_per_second",
        "Rows that workers look at a second, since it began",
        lambda row: row[2] / row[4] if row[4] > 0 else 0.0,
    )


def changes(rows: Rows) -> Iterator[Metric]:
    found = {status: count for status, count, *_ in rows}
    counts = [(status, found.get(status, 0)) for status in STATUSES]
    yield gauges("changes", "Price changes that are open", "status", counts)
    braked, stuck = (sum(row[nth] for row in rows) for nth in (2, 3))
    yield gauge("changes_braked", "Scheduled changes that the brake holds, or will hold", braked)
    said = "Scheduled changes that came a minute ago or more, and that no worker has begun"
    yield gauge("changes_stuck", said, stuck)


def brake(rows: Rows) -> Iterator[Metric]:
    yield gauge("brake_on", "Whether the brake is on", rows[0][0])


def feed_holder(rows: Rows) -> Iterator[Metric]:
    said = "Age of the oldest transaction that writes: what was written since waits in the feed"
    labels = ["database", "user", "application"]
    family = GaugeMetricFamily("pricebook_feed_lag_seconds", said, labels=labels)
    *names, age = rows[0] if rows else ("", "", "", 0.0)
    family.add_metric(names, max(0.0, age))
    yield family


def feed_waiting(rows: Rows) -> Iterator[Metric]:
    said = "Rows of the ledger that the feed does not show yet"
    yield gauge("feed_rows_waiting", said, rows[0][0])


def webhooks(rows: Rows) -> Iterator[Metric]:
    in_state = [(state, sum(row[1] == state for row in rows)) for state in STATES]
    yield gauges("webhook_endpoints", "Endpoints, by their state", "state", in_state)
    behind = [(row[0], row[2]) for row in rows]
    yield gauges("webhook_events_waiting", "Events an endpoint has not had", "endpoint", behind)
    failing = [(row[0], row[3]) for row in rows]
    said = "Seconds for which no attempt has succeeded; 0: the last one has"
    yield gauges("webhook_failing_seconds", said, "endpoint", failing)


def folds(rows: Rows) -> Iterator[Metric]:
    said = "Rows beside the subtotals that wait to be merged into them"
    yield gauges("folds_waiting", said, "kind", rows)


def hot(rows: Rows) -> Iterator[Metric]:
    updates, touching_none, live, dead = rows[0]
    said = "Updates of subscriptions since PostgreSQL's counters began"
    yield counter("subscription_updates", said, updates)
    said = "Those of them that touched no index (HOT)"
    yield counter("subscription_hot_updates", said, touching_none)
    yield gauge("subscription_rows", "Rows of subscriptions, as PostgreSQL estimates", live)
    yield gauge("subscription_dead_rows", "Dead rows that no vacuum has removed", dead)


def sessions(rows: Rows) -> Iterator[Metric]:
    yield gauge("database_sessions", "Sessions of clients on the server", rows[0][0])
    yield gauge("database_sessions_limit", "Sessions that it takes (max_connections)", rows[0][1])


def last_sweep(rows: Rows) -> Iterator[Metric]:
    """Its age; nothing if the cache does not know it."""
    if (swept := sweeps.last()) is not None:
        said = "Seconds since a worker last looked for work"
        yield gauge("last_sweep_seconds", said, max(0.0, rows[0][0] - swept))


def last_check(rows: Rows) -> Iterator[Metric]:
    """Its age and result; nothing if there was none."""
    for *row, age in rows:
        yield gauge("book_check_age_seconds", "Seconds since the last book check", max(0.0, age))
        said = "Whether the last book check found a difference"
        yield gauge("book_check_differs", said, kept_check(*row).differences > 0)


def seals(rows: Rows) -> Iterator[Metric]:
    yield gauge("sealed_block", "The newest sealed block of the ledger; 0: none", rows[0][0])


def unsealed(rows: Rows) -> Iterator[Metric]:
    count, _oldest, seconds, is_ahead = rows[0]
    yield gauge("unsealed_rows", "Rows of the ledger that are not sealed", count)
    yield gauge("unsealed_seconds", "Age of the oldest of them", seconds)
    said = "Whether the newest block is of transactions that this server has not reached"
    yield gauge("sealed_ahead", said, is_ahead)


def replica_of(session: Session) -> list[Metric]:
    """How far the replica is behind; no values without one. Two queries, one of them there."""
    up = GaugeMetricFamily("pricebook_replica_up", "Whether the replica answers, as a standby")
    said = "Bytes of WAL that the primary has on disk, and the replica has not replayed"
    behind = GaugeMetricFamily("pricebook_replica_lag_bytes", said)
    said = "Age of the last commit that the replica has, if it is behind; else 0"
    seconds = GaugeMetricFamily("pricebook_replica_lag_seconds", said)
    found: list[Metric] = [up, behind, seconds]
    if not replica.is_set():
        return found
    try:
        there = Session(2.0, REPLICA)
        with closing(there.connection):
            ((replayed, last, in_recovery),) = there.rows(statements.REPLICA)
    except psycopg.Error as error:
        logger.warning("No metrics of the replica: %s", str(error).strip())
        in_recovery = False
    up.add_metric([], float(in_recovery))
    if in_recovery:
        # Asked afterwards: the lag is rather told too great than too small.
        ((wal, clock),) = session.rows(statements.WAL)
        lag = max(0, lsn(wal) - lsn(replayed))
        behind.add_metric([], lag)
        # Both instants are of the primary's clock.
        seconds.add_metric([], max(0.0, clock - last) if lag and last else 0.0)
    return found


def lsn(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


PARTS: dict[str, tuple[str, Callable[[Rows], Iterator[Metric]]]] = {
    "life": (statements.LIFE, life),
    "standing": (statements.STANDING, standing),
    "due": (statements.DUE, due),
    "running": (statements.RUNNING, running),
    "changes": (statements.CHANGES, changes),
    "brake": (statements.BRAKE, brake),
    "feed holder": (statements.FEED_HOLDER, feed_holder),
    "feed waiting": (statements.FEED_WAITING, feed_waiting),
    "webhooks": (statements.WEBHOOKS, webhooks),
    "folds": (statements.FOLDS, folds),
    "hot": (statements.HOT, hot),
    "sessions": (statements.SESSIONS, sessions),
    "last sweep": (statements.NOW, last_sweep),
    "last check": (statements.LAST_CHECK, last_check),
    "seals": (statements.SEALED, seals),
    "unsealed": (statements.UNSEALED, unsealed),
}


def ask(session: Session) -> list[Metric]:
    """All parts that the database answers, each a query, and the cache once."""
    found: list[Metric] = []
    ok = []
    for name, (statement, families) in PARTS.items():
        try:
            found += families(session.rows(statement))
            ok.append((name, 1))
        except psycopg.Error as error:
            if session.connection.closed:
                raise
            logger.warning("No metrics of %s: %s", name, str(error).strip())
            ok.append((name, 0))
    found += replica_of(session)
    said = "Whether a part of the metrics could be read"
    return [*found, gauges("part_ok", said, "part", ok)]


class BookCollector(Collector):
    """Prometheus's collector of the figures above."""

    def collect(self) -> Iterable[Metric]:
        began = time.perf_counter()
        try:
            found = look()
        except NoAnswer as error:
            logger.warning("No metrics of the book: %s", error)
            found = []
        yield gauge("database_up", "Whether the database has answered the scrape", bool(found))
        yield from found
        took = math.ceil((time.perf_counter() - began) * 1e6) / 1e6
        yield gauge("scrape_seconds", "Seconds that reading all of this took", took)


look = Look(ask, seconds=SECONDS)
