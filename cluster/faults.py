"""The faults: each kind, what it does to which host, and how long writes may stand still."""

from __future__ import annotations

import http.client
import json
import random
from dataclasses import dataclass

from cluster.hosts import ADDRESSES, BROKERS, WEBS, WORKERS
from cluster.needs import faketime
from cluster.network import CUTS
from cluster.topology import Cluster
from pricebook.local.home import Fault

# Seconds without an acknowledged write that are promised: 5 for what is planned, 25 for a host that
# is lost, 36 for one that is cut off. Reads, where a replica lives: 3.
PLANNED, LOST, CUT = 5, 25, 36
WITHOUT_READS = 3
LIMITS = {
    "switchover": PLANNED,
    "primary killed": LOST,
    "primary cut": CUT,
    "standby killed": LOST,
    "standby cut": CUT,
    "broker killed": LOST,
    "broker cut": CUT,
    "worker killed": LOST,
    "worker cut": CUT,
    "web killed": LOST,
    "clock": LOST,
}
HOLD = 12  # seconds for which a fault lasts, or longer: until writes go on


@dataclass(frozen=True)
class Plan:
    """A round's fault: what a seed and a number say, before it is known who is the primary."""

    kind: str
    pick: int  # which of the hosts, counted around
    how: str  # a cut's way
    clock: int  # seconds

    @property
    def limit(self) -> int:
        return LIMITS[self.kind]


def plan(seed: int, number: int) -> Plan:
    """The fault of a round, counted from 1: each kind once in so many rounds, in another order."""
    kinds = list(LIMITS)
    deck, place = divmod(number - 1, len(kinds))
    random.Random(f"{seed}/{deck}").shuffle(kinds)
    chance = random.Random(f"{seed}/{deck}/{place}")
    return Plan(kinds[place], chance.randrange(6), chance.choice(CUTS), chance.choice((-300, 300)))


def victim(cluster: Cluster, plan: Plan) -> str:
    """The host that it is done to."""
    who = plan.kind.split()[0]
    if who in ("primary", "switchover"):
        return cluster.primary()
    if who == "standby":  # the synchronous one, which each commit waits for
        for member in cluster.members():
            if member["role"] == "sync_standby":
                return str(member["name"])
        raise Fault("cluster: there is no synchronous standby")
    among = {"broker": BROKERS, "worker": WORKERS, "web": WEBS, "clock": WORKERS}[who]
    return among[plan.pick % len(among)]


def strike(cluster: Cluster, plan: Plan, host: str) -> None:
    if plan.kind == "switchover":
        switch_over(cluster, host)
    elif plan.kind.endswith("killed"):
        cluster.network.kill(host)
    elif plan.kind.endswith("cut"):
        cluster.network.cut(host, plan.how)
    else:
        cluster.network.kill(host)
        cluster.start(host, skewed(cluster, plan.clock))


def undo(cluster: Cluster, plan: Plan, host: str) -> None:
    """Bring back what it has taken; nothing is repaired."""
    cluster.network.heal()
    if plan.kind == "clock":
        cluster.network.kill(host)
    if plan.kind.endswith("killed") or plan.kind == "clock":
        cluster.start(host)


def skewed(cluster: Cluster, seconds: int) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(faketime(cluster.places)),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def switch_over(cluster: Cluster, leader: str) -> None:
    """Ask Patroni for it; it names the synchronous standby itself."""
    connection = http.client.HTTPConnection(ADDRESSES[leader], 8008, timeout=60)
    body = json.dumps({"leader": leader})
    connection.request("POST", "/switchover", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    if answer.status not in (200, 202):
        raise Fault(f"cluster: no switchover: {answer.status} {text}")
