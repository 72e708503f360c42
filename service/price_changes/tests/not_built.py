"""Rules of time that are not built yet: what histories leave out until they are.

Each has a test that fails by its shortest history (`test_oracle.TestNotBuilt`). Who builds a rule
takes it out here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from price_changes.tests.histories import Event, Telling


def _a_lock_after_the_end_of_a_lock(telling: Telling, event: Event) -> bool:
    return event.kind == "locked" and any(
        other.kind == "locked"
        and other.about["subscription"] == event.about["subscription"]
        and other.about.get("until", event.minute + 1) <= event.minute
        for other in telling.told
    )


def _an_end_before_its_last_state(telling: Telling, event: Event) -> bool:
    end = event.about.get("ended_at")
    if event.kind != "ended" or end is None or end > event.minute:
        return False
    return any(
        other.about.get("subscription") == event.about["subscription"]
        and other.kind not in ("started", "ended")
        and max(other.minute, other.about.get("until", 0)) >= end
        for other in telling.told
    )


def _deleted_with_its_period(telling: Telling, event: Event) -> bool:
    if event.kind != "deleted":
        return False
    facts, number = telling.oracle, event.about["subscription"]
    recorded_at = facts.opened(number).recorded_at
    return facts.end(number) is not None or facts.start(number) != recorded_at


# Rule 10: a set becomes a fact, all rows at once, at the first listing.
SETS = "sets"
# Rule 13: for new subscriptions only keeps others, from the instant on and without a worker.
FOR_NEW_ONLY = "for new only"
# Rule 8: a change of the catalogue under hold is held where its approver saw another value.
HOLD = "hold"
# Rule 7: a change may be taken back from its instant on, whether it is applied or not.
REVERT_AT_ANY_TIME = "revert at any time"
# Rule 4: the end of a lock that is written into the past releases now.
LOCK_CUT = "lock cut"
# Rule 15: the gap of one that was opened again stays unpaid.
GAP = "gap"
# Rule 15: who had ended when it was recorded paid at each instant what was in force then.
ENDED_WHEN_RECORDED = "ended when recorded"
# Rule 12: a lock after the end of another one keeps the price in force, swept or not.
AFTER_THE_END_OF_A_LOCK = "after the end of a lock"
# I9, T6: whose end is put before its last state has the price of its state at the end.
END_BEFORE_ITS_LAST_STATE = "end before its last state"
# I10: who was deleted has paid between its start and its end, and not until it was deleted.
DELETED_WITH_ITS_PERIOD = "deleted with its period"
# I9: what a late worker writes of an instant names the client of the instant.
CLIENT_OF_THE_INSTANT = "client of the instant"

NOT_BUILT: dict[str, Callable[[Telling, Event], bool]] = {
    SETS: lambda _, event: event.kind.startswith("set of "),
    FOR_NEW_ONLY: lambda _, event: event.kind == "for new only",
    HOLD: lambda _, event: event.about.get("when_moved") == "hold",
    REVERT_AT_ANY_TIME: lambda _, event: (
        event.kind in ("taken back", "restored") and event.about["by"] == "revert"
    ),
    LOCK_CUT: lambda _, event: event.kind == "lock cut",
    GAP: lambda _, event: event.kind == "reopened",
    ENDED_WHEN_RECORDED: lambda _, event: (
        event.kind == "opened" and event.about.get("ended_at", event.minute + 1) <= event.minute
    ),
    AFTER_THE_END_OF_A_LOCK: _a_lock_after_the_end_of_a_lock,
    END_BEFORE_ITS_LAST_STATE: _an_end_before_its_last_state,
    DELETED_WITH_ITS_PERIOD: _deleted_with_its_period,
    CLIENT_OF_THE_INSTANT: lambda _, event: event.kind == "moved to a client",
}

# Kinds of events that never come without one of these ("restored" needs a revert).
KINDS_NOT_BUILT = (
    "set of prices",
    "set of states",
    "for new only",
    "restored",
    "lock cut",
    "reopened",
    "moved to a client",
)
