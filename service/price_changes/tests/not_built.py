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
# Rule 13: for new subscriptions only keeps others, from the instant on and without a worker.
FOR_NEW_ONLY = "for new only"
# Rule 8: a change of the catalogue under hold is held where its approver saw another value.
HOLD = "hold"
# Rule 7: a change may be taken back from its instant on, whether it is applied or not.
REVERT_AT_ANY_TIME = "revert at any time"

NOT_BUILT: dict[str, Callable[[Telling, Event], bool]] = {
    SETS: lambda _, event: event.kind.startswith("set of "),
    FOR_NEW_ONLY: lambda _, event: event.kind == "for new only",
    HOLD: lambda _, event: event.about.get("when_moved") == "hold",
    REVERT_AT_ANY_TIME: lambda _, event: (
        event.kind in ("taken back", "restored") and event.about["by"] == "revert"
    ),
}

# Kinds of events that never come without one of these ("restored" needs a revert).
KINDS_NOT_BUILT = (
    "set of prices",
    "set of states",
    "for new only",
    "restored",
)
