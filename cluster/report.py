"""The summary of all rounds in a journal, as docs/cluster.md shows it."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from cluster import journal
from cluster.faults import LIMITS, WITHOUT_READS

ZERO = {
    "lost": "acknowledged writes that were lost",
    "wrong_prices": "wrong prices",
    "backward": "reads that went back",
    "conflicts": "rows sent again with their key, and refused",
}
COUNTED = {
    "refused_there": "writes that are there though they were refused",
    "unknown_there": "writes that are there and whose answer never came",
    "older_said": "reads that were older, and said that they may be",
    "refused": "writes that were refused",
    "unknown": "writes whose answer never came",
    "restarts": "programs of Pricebook's that ended, and were started again",
}
DONE = {
    "done": "rows",
    "edits": "list prices",
    "reads": "reads over the API",
    "by_replica": "of these answered by a standby",
    "replica_reads": "reads of standbys by SQL",
}


def of(path: Path) -> str:
    rounds = journal.read(path)
    if not rounds:
        return f"No rounds yet in {path}: ./pricebook cluster run"
    seeds = sorted({round["seed"] for round in rounds})
    lines = [
        f"{len(rounds)} rounds, of the seeds {', '.join(map(str, seeds))}; acknowledged: "
        + ", ".join(f"{total(rounds, name):,} {words}" for name, words in DONE.items())
        + ".",
        "",
        "| count | all rounds |",
        "|---|--:|",
        *(f"| **{words}** | **{total(rounds, name):,}** |" for name, words in ZERO.items()),
        *(f"| {words} | {total(rounds, name):,} |" for name, words in COUNTED.items()),
        "",
        "Seconds, the longest of each kind of fault (in brackets the median):",
        "",
        "| fault | rounds | without writes | promised | without reads over the API"
        " | without reads of standbys by SQL | one write | well again after |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, limit in LIMITS.items():
        of_kind = [round for round in rounds if round["kind"] == kind]
        if of_kind:
            lines.append(
                f"| {kind} | {len(of_kind)} | {longest(of_kind, 'without_writes')} | {limit} |"
                f" {longest(of_kind, 'without_reads')} |"
                f" {longest(of_kind, 'without_replica_reads')} |"
                f" {longest(of_kind, 'slowest_write')} | {longest(of_kind, 'well_after')} |"
            )
    lines += ["", *exceptions(rounds)]
    return "\n".join(lines)


def total(rounds: list[dict[str, Any]], name: str) -> int:
    return sum(round.get(name) or 0 for round in rounds)


def longest(rounds: list[dict[str, Any]], name: str) -> str:
    found = sorted(round[name] for round in rounds if round.get(name) is not None)
    never = sum(name in round and round[name] is None for round in rounds)
    missing = f", {never} times not at all" if never else ""
    if not found:
        return "never" if never else "–"
    return f"{found[-1]} ({median(found):.1f}){missing}"


def exceptions(rounds: list[dict[str, Any]]) -> list[str]:
    """The rounds that broke a count or a time, each by its name; or a sentence that none did."""
    lines = []
    for round in rounds:
        name = f"- seed {round['seed']}, round {round['round']} ({round['kind']}"
        name += f", {round['how']})" if round["how"] else ")"
        if round["not_zero"]:
            lines.append(f"{name}: **{round['not_zero']}**")
        if round["over_limits"]:
            over = ", ".join(f"{key} {value} s" for key, value in round["over_limits"].items())
            lines.append(f"{name}: {over}, at a load of {round['load_average']}")
        if not round["drained"]:
            lines.append(f"{name}: work was still due after two minutes")
    promise = f"each count that must be 0 was, each time was within its limit, {WITHOUT_READS} s"
    return lines or [f"In every round {promise} for reads of standbys."]
