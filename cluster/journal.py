"""The journal: one line of JSON for each round that was judged, so that no round is repeated."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, Any]]:
    """The rounds; a last line that a kill has cut short is none."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def append(path: Path, round: dict[str, Any]) -> None:
    """Append a round; it is on disk when this returns."""
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a") as file:
        file.write(("" if whole else "\n") + json.dumps(round) + "\n")
        file.flush()
        os.fsync(file.fileno())


def left(path: Path, seed: int, rounds: int) -> list[int]:
    """The numbers of a seed's rounds that the journal does not have yet."""
    had = {round["round"] for round in read(path) if round["seed"] == seed}
    return [number for number in range(1, rounds + 1) if number not in had]
