"""Rules of time that are not built yet, which histories leave out until they are.

Each has a test that fails by its shortest history (`test_oracle.TestNotBuilt`). If you build a
rule, remove it here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from price_changes.tests.histories import Event, Telling


# A set that is to hold, or whose rows are frozen, is previewed without the set that comes before
# it: the page says so, and it is held then.
BEHIND_A_SET = "behind a set"


def is_behind_a_set(telling: Telling, event: Event) -> bool:
    at = event.about.get("at")
    if not event.kind.startswith("set of ") or event.about["when_moved"] == "current" or not at:
        return False
    sets = [other for other in telling.told if other.kind.startswith("set of ")]
    return any(event.minute <= other.about.get("at", 0) <= at for other in sets)


NOT_BUILT: dict[str, Callable[[Telling, Event], bool]] = {}

# Kinds of events that never come without one of these.
KINDS_NOT_BUILT: tuple[str, ...] = ()
