"""A round: clients work, a fault strikes, all comes back, and what came of it is judged."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from typing import Any

import psycopg

from cluster import faults, hosts, journal, judge
from cluster.clients import Load, make_book
from cluster.faults import WITHOUT_READS, Plan
from cluster.hosts import ADDRESSES
from cluster.topology import Cluster, ask, say
from pricebook.local.processes import until

CALM = 3  # seconds of work before and after
LONGEST = 60  # seconds for which a fault may keep writes away before it is undone
BACK = 180  # seconds for all to be well again


def run(cluster: Cluster, seed: int, wanted: int) -> int:
    """Play the rounds of a seed that the journal lacks; 1 if a count is not 0."""
    numbers = journal.left(cluster.places.journal, seed, wanted)
    if not numbers:
        say(f"the journal has {wanted} rounds of seed {seed}: ./pricebook cluster report")
        return 0
    if cluster.is_up():
        cluster.network.enter("out")
    unfinished = cluster.places.unfinished
    if not cluster.is_up() or unfinished.exists() or not until(cluster.is_well, 30):
        cluster.up()
    bad = False
    for number in numbers:
        plan = faults.plan(seed, number)
        unfinished.touch()
        result = {"seed": seed, "round": number} | play(cluster, plan, f"{seed}.{number}")
        journal.append(cluster.places.journal, result)
        bad = bad or bool(result["not_zero"])
        tell(result)
        if result["well_after"] is None:
            say("it did not come back by itself; starting anew")
            cluster.up()
        unfinished.unlink(missing_ok=True)
    return int(bad)


def play(cluster: Cluster, plan: Plan, name: str) -> dict[str, Any]:
    cluster.wait("well cluster", cluster.is_well, BACK)
    if plan.kind.startswith("broker"):
        cluster.wait("three brokers", cluster.brokers_are_well, BACK)
    things = make_book(cluster)
    tag = f"{name}.{os.getpid()}"
    load = Load(cluster, tag, things)
    load.start()
    time.sleep(CALM)
    host = faults.victim(cluster, plan)
    restarts = cluster.restarts()
    struck = time.monotonic()
    faults.strike(cluster, plan, host)
    until(lambda: load.wrote_since(struck + 1), LONGEST)
    time.sleep(max(0.0, struck + faults.HOLD - time.monotonic()))
    faults.undo(cluster, plan, host)
    undone = time.monotonic()
    well = until(cluster.is_well, BACK)
    back = time.monotonic() - undone
    time.sleep(CALM)
    load.stop()
    drained = until(lambda: is_drained(cluster), 120)
    found, about = judge.verdict(cluster, load.attempts, tag, load.began, load.ended)
    return {
        "kind": plan.kind,
        "host": host,
        "how": plan.how if plan.kind.endswith("cut") else "",
        "clock": plan.clock if plan.kind == "clock" else 0,
        "limit": plan.limit,
        "well_after": round(back, 1) if well else None,
        "drained": drained,
        "restarts": cluster.restarts() - restarts,
        "load_average": round(os.getloadavg()[0], 1),
        "not_zero": found.must_be_zero,
        "over_limits": over(plan, found),
        "book": about,
    } | asdict(found)


def over(plan: Plan, found: judge.Verdict) -> dict[str, float]:
    """The times that are longer than promised."""
    limits = {"without_writes": plan.limit, "without_replica_reads": WITHOUT_READS}
    if found.by_replica:  # otherwise the API reads from the primary alone
        limits["without_reads"] = WITHOUT_READS
    return {name: getattr(found, name) for name in limits if getattr(found, name) > limits[name]}


# Edits whose rows have not all been written, and transactions that write. (Readiness says what it
# has seen within the last second.)
WORK = """
SELECT (SELECT count(*) FROM services_repricing WHERE finished_at IS NULL)
     + (SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND backend_xid IS NOT NULL)
"""


def is_drained(cluster: Cluster) -> bool:
    """Whether no work is due, as readiness says, nor any begun."""
    answer = ask(ADDRESSES["lb"], hosts.WEB, "/readyz")
    if not answer or json.loads(answer).get("due_work", {}).get("oldest_seconds"):
        return False
    try:
        with cluster.sql(hosts.PRIMARY) as session:
            return bool(session.execute(WORK).fetchone() == (0,))
    except psycopg.Error:  # it may not be back yet
        return False


def tell(result: dict[str, Any]) -> None:
    verdict = "" if not result["not_zero"] else f"  NOT ZERO: {result['not_zero']}"
    late = f"  over: {result['over_limits']}" if result["over_limits"] else ""
    of_fault = f"{result['kind']} {result['host']} {result['how'] or result['clock'] or ''}"
    times = ", ".join(
        f"{words} {result[f'without_{name}']}"
        for name, words in (("writes", "writes"), ("reads", "reads"), ("replica_reads", "replica"))
    )
    say(
        f"seed {result['seed']} round {result['round']}: {of_fault}: {result['done']} rows,"
        f" {result['edits']} edits, {result['reads']} reads; seconds without: {times};"
        f" well after {result['well_after']} s{late}{verdict}"
    )
