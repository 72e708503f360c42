"""kill -9 of a worker, the web, Valkey or PostgreSQL at a named point loses and repeats nothing.

A round has a fresh book, a burst of price changes and ordinary writes from several connections with
heavy-tailed pauses, and Celery workers. A process is killed with -9 at a named point, and started
again; the queue drains, and everything is checked: rows against the rule, the changes and the
ledger, the counts of each change, and the answers that people got. The rounds have their own
PostgreSQL and Valkey.

`--seed S --rounds 1` plays one round again; `--fault NAME` puts in a fault, which the rounds must
detect.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.scratch import say
from price_changes.tests import kills
from price_changes.tests.kills.faults import FAULTS

COUNTS = {
    "wrong rows": "wrong_rows",
    "double history rows": "double_entries",
    "changes not accounted": "not_accounted",
    "acknowledged and lost": "lost_actions",
    "wrong answers": "wrong_answers",
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, help="rounds (default: 200)")
    parser.add_argument("--quick", action="store_true", help="20 rounds")
    parser.add_argument("--seed", type=int, default=0, help="that of the first round (default: 0)")
    parser.add_argument("--minutes", type=float, default=60, help="begin no round later (60)")
    parser.add_argument("--fault", choices=FAULTS, help="sow this fault; exit 0 if it is seen")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: HOME/bench)")
    chosen = parser.parse_args(arguments)
    chosen.rows = ["a fresh book each round"]
    chosen.rounds = chosen.rounds or (20 if chosen.quick else 200)
    if chosen.fault:
        return see(chosen.fault, chosen.seed)
    under = results.conditions(chosen) | {"seed": chosen.seed}
    played = play(chosen.rounds, chosen.seed, chosen.minutes * 60)
    figures = [
        of_kind(kind, [outcome for outcome in played if outcome["kind"] == kind])
        for kind in dict.fromkeys(outcome["kind"] for outcome in played)
    ]
    figures.append(of_kind("all", played))
    results.table("kill -9 at named points", figures)
    results.save("kills", chosen, under | {"played": len(played)}, figures)
    return int(any(outcome["findings"] for outcome in played))


def play(rounds: int, seed: int, seconds: float) -> list[dict[str, Any]]:
    played: list[dict[str, Any]] = []
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="kills") as home:
        for outcome in kills.run(Path(home), rounds, seed):
            played.append(outcome)
            shown(outcome, f"{len(played)}/{rounds}")
            if time.monotonic() > ends:
                say(f"The time is over after {len(played)} rounds.")
                break
    return played


def shown(outcome: dict[str, Any], which: str) -> None:
    said = "; ".join(outcome["findings"]) or "right"
    where = "at" if outcome["hit"] else "nobody came to"
    say(
        f"{which} seed {outcome['seed']}: {outcome['kind']} {where} “{outcome['point']}”,"
        f" {outcome['seconds']} s: {said}"
    )
    if outcome["findings"]:
        say(f"  again: ./pricebook bench kills --rounds 1 --seed {outcome['seed']}")


def of_kind(kind: str, played: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "killed": kind,
        "rounds": len(played),
        "at the point": sum(outcome["hit"] for outcome in played),
        "points": len({outcome["point"] for outcome in played if outcome["hit"]}),
        "price changes": sum(outcome["changes"] for outcome in played),
        **{head: sum(outcome[name] for outcome in played) for head, name in COUNTS.items()},
    }


def see(fault: str, seed: int) -> int:
    say(FAULTS[fault].says)
    seen = False
    with tempfile.TemporaryDirectory(prefix="kills") as home:
        for outcome in kills.run(Path(home), 0, seed, [fault]):
            shown(outcome, fault)
            seen = bool(outcome["findings"])
    print(f"{fault}: {'seen' if seen else 'NOT SEEN'}")
    return int(not seen)
