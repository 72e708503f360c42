"""Rules of time that are not built yet: what histories leave out until they are.

Each has a test that fails by its shortest history (`test_oracle.TestNotBuilt`). Who builds a rule
takes it out here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from price_changes.tests.histories import Event, Telling


# Rule 10: a set becomes a fact, all rows at once, at the first listing.
SETS = "sets"

NOT_BUILT: dict[str, Callable[[Telling, Event], bool]] = {
    SETS: lambda _, event: event.kind.startswith("set of "),
}

# Kinds of events that never come without one of these ("restored" needs a revert).
KINDS_NOT_BUILT = (
    "set of prices",
    "set of states",
)
