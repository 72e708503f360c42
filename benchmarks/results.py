"""The options of a claim, and how its figures are shown and stored."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import django
from django.db import connection

from benchmarks import stopwatch

Name = TypeVar("Name")
Figure = TypeVar("Figure")
CHECKOUT = Path(__file__).resolve().parent.parent


def options(
    doc: str | None, *, rows: Sequence[int], quick: Sequence[int], rounds: int
) -> argparse.ArgumentParser:
    """The options that every claim takes; `--rows` may be given several times."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = ", ".join(f"{size:,}" for size in rows)
    parser.add_argument(
        "--rows", type=int, action="append", metavar="N", help=f"subscriptions (default: {sizes})"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds")
    parser.add_argument("--rounds", type=int, help=f"rounds of all variants (default: {rounds})")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: HOME/bench)")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw the plot into DIR too")
    parser.set_defaults(sizes=list(rows), quick_sizes=list(quick), default_rounds=rounds)
    return parser


def parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    chosen = parser.parse_args(arguments)
    chosen.rows = chosen.rows or (chosen.quick_sizes if chosen.quick else chosen.sizes)
    chosen.rounds = chosen.rounds or (2 if chosen.quick else chosen.default_rounds)
    if chosen.quick:
        stopwatch.SECONDS /= 3
    return chosen


def conditions(chosen: argparse.Namespace) -> dict[str, Any]:
    """The conditions of a run, by which a reader can judge a figure or measure it again."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (postgresql,) = cursor.fetchone()
    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "load before": round(os.getloadavg()[0], 2),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "django": django.get_version(),
        "postgresql": postgresql,
        "rows": chosen.rows,
        "rounds": chosen.rounds,
    }


def directory() -> Path:
    """The directory for figures, HOME/bench."""
    return Path(os.environ.get("PRICEBOOK_HOME", CHECKOUT / ".pricebook")) / "bench"


def save(
    name: str, chosen: argparse.Namespace, under: dict[str, Any], figures: list[dict[str, Any]]
) -> None:
    place = chosen.out or directory()
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{name}.json"
    path.write_text(
        json.dumps({"conditions": under, "figures": figures}, indent=1, ensure_ascii=False) + "\n"
    )
    shown = ", ".join(f"{key} {value}" for key, value in under.items())
    print(f"\n{shown}\n{path}")


def table(title: str, figures: Iterable[dict[str, Any]]) -> None:
    """Print dicts with the same keys as an aligned table, numbers to the right."""
    rows = list(figures)
    heads = list(rows[0])
    cells = [[shown(row[head]) for head in heads] for row in rows]
    widths = [max(len(line[n]) for line in [heads, *cells]) for n in range(len(heads))]
    print(f"\n{title}")
    for line, row in [(heads, None), *zip(cells, rows, strict=True)]:
        aligned = [
            f"{cell:{'<' if isinstance((row or rows[0])[head], str) else '>'}{width}}"
            for cell, head, width in zip(line, heads, widths, strict=True)
        ]
        print("  ".join(aligned).rstrip())


def shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def ratio_to(control: Sequence[float], variant: Sequence[float]) -> float:
    """The median of variant / control over the rounds: neighbours disturb both in a round alike."""
    return statistics.median(v / c for c, v in zip(control, variant, strict=True))


def interleaved(
    variants: dict[Name, Callable[[], Figure]], rounds: int
) -> dict[Name, list[Figure]]:
    """Run every variant once a round, every other round in reverse; return what they returned."""
    measured: dict[Name, list[Figure]] = {name: [] for name in variants}
    for number in range(rounds):
        for name in list(variants)[:: -1 if number % 2 else 1]:
            measured[name].append(variants[name]())
    return measured
