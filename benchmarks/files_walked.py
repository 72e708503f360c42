"""The number of our files through which a list request, an approval and an import line run.

It is a figure of the layout and not of speed: the files that a reader who follows the code has to
open. A file counts if a function or a property of it runs; each way runs once before it is counted.
"""

import io
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import goals, results
from benchmarks.scratch import scratch_book
from price_changes.planning import definition
from price_changes.running import lifecycle
from services.models import Service
from services.transfer.importing import import_book

SERVICE = Path(lifecycle.__file__).parents[2]


def main(arguments: list[str]) -> None:
    parser = results.options(__doc__, rows=[300], quick=[100], rounds=1)
    chosen = results.parse(parser, arguments)
    under = results.conditions(chosen)
    figures = []
    with scratch_book("files_walked", chosen.rows[0]):
        file = goals.transfer.a_file(1)
        ways: dict[str, Callable[[], object]] = {
            "list, first page": goals.pages.request_of(goals.pages.PAGE),
            "approval": approve,
            "import of a line": lambda: import_book(io.BytesIO(file)),
        }
        for name, way in ways.items():
            way()
            found = walked(way)
            folders = Counter(str(path.parent.relative_to(SERVICE)) for path in found)
            figures.append(
                {
                    "what": name,
                    "files": len(found),
                    "folders": len(folders),
                    "most in one": max(folders.values()),
                }
            )
    results.table("Files of ours that are run through", figures)
    results.save("files_walked", chosen, under, figures)


def approve() -> None:
    service = Service.objects.latest("pk")
    values = {"kind": "list_price", "service": service.pk, "new_value": service.full_price + 1}
    change = lifecycle.preview(definition.plan(values, "planner").pk)
    lifecycle.approve(change.pk, change.fingerprint, "approver")


def walked(way: Callable[[], object]) -> set[Path]:
    found: set[str] = set()

    def seen(frame: Any, event: str, argument: object) -> None:
        if event == "call":
            found.add(frame.f_code.co_filename)

    sys.setprofile(seen)
    try:
        way()
    finally:
        sys.setprofile(None)
    return {Path(name) for name in found if Path(name).is_relative_to(SERVICE)}
