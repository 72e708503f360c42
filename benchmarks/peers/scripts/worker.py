"""The process of a peer: it reads questions from standard input, a line of JSON each, and answers.

It runs in the peer's own environment, so it imports nothing of Pricebook. A question is the name of
one of the methods of `Peer`, with its arguments; the answer is what the method returns. Amounts are
texts, so that no figure is rounded on the way.
"""

import json
import os
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

Move = Callable[[Decimal], None]


class Peer(ABC):
    """A peer: each gives its ways to move prices, and to read the past."""

    # Its ways to give all followers of the only service another price, with their history.
    moves: dict[str, Move] = {}
    # The records that each leaves in the history, a row.
    records = 1
    # The largest number of rows at which a slow way is measured.
    most: dict[str, int] = {}
    # The total of the whole book at an instant; None where the package has no way to it.
    whole_then: Callable[[datetime], Decimal] | None = None
    # The price of one subscription at an instant.
    one_then: Callable[[datetime, int], Decimal] | None = None

    @abstractmethod
    def fill(self, folder: Path) -> None:
        """Make the tables, and put the book of these CSV files into them, with a first history."""

    def history(self) -> int:
        """The number of records in the history; 0 where there is none."""
        return 0

    @abstractmethod
    def total(self) -> Decimal:
        """The sum of all prices."""

    @abstractmethod
    def rest(self) -> None:
        """Clean up after a move: VACUUM."""

    @abstractmethod
    def sessions(self) -> Iterable[int]:
        """The process ids of its PostgreSQL sessions."""

    def cpu(self) -> float:
        """The CPU of this process and of its sessions, in seconds."""
        files = (Path(f"/proc/{session}/schedstat") for session in self.sessions())
        return time.process_time() + sum(int(file.read_text().split()[0]) / 1e9 for file in files)

    # --- Questions --------------------------------------------------------------------------------

    def ask_fill(self, folder: str) -> None:
        self.fill(Path(folder))

    def ask_offered(self) -> dict[str, Any]:
        """The measurements that there are; asked before the book is filled."""
        return {
            "ways": {name: self.most.get(name) for name in self.moves},
            "records": self.records,
            "reads": [name for name in ("whole_then", "one_then") if getattr(self, name)],
        }

    def ask_move(self, way: str, price: str) -> dict[str, Any]:
        """Move the prices; the CPU that it took, in seconds."""
        cpu = self.cpu()
        self.moves[way](Decimal(price))
        return {"cpu": self.cpu() - cpu}

    def ask_state(self) -> dict[str, Any]:
        return {"history": self.history(), "total": str(self.total())}

    def ask_rest(self) -> None:
        self.rest()

    def ask_read(self, what: str, at: str, ids: list[int], seconds: float) -> dict[str, Any]:
        """Read the past for so long, three times at least: the value, the median CPU of one."""
        read = getattr(self, what)
        instant = datetime.fromisoformat(at)
        taken: list[float] = []
        began = time.perf_counter()
        while time.perf_counter() - began < seconds or len(taken) < 3:
            cpu = self.cpu()
            value = read(instant, *ids)
            taken.append(self.cpu() - cpu)
        return {"cpu": statistics.median(taken), "value": str(value)}


def serve(peer: Any) -> None:
    """Answer until standard input ends. Anything that a package prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        method = getattr(peer, "ask_" + question.pop("do"))
        print(json.dumps(method(**question)), file=answers, flush=True)
