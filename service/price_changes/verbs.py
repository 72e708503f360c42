"""The verbs of a price change. The admin, the API and the command call these; so may Python code.

    plan → preview → approve → (keep_instant, pause, resume, cancel) → revert
                   → reject
    an edit by SQL, beyond a limit → accept

Each is one transaction, records who did it, and raises ChangeError (code, detail, status) if it
can't be done. docs/price-changes.md shows them on a book. `pull_brake` and `release_brake` are
about all changes.
"""

from price_changes.planning.definition import plan
from price_changes.running.allowing import allowed
from price_changes.running.brake import pull as pull_brake
from price_changes.running.brake import release as release_brake
from price_changes.running.brake import state as brake_state
from price_changes.running.dry_runs import of_approval as dry_run_of_approval
from price_changes.running.dry_runs import of_cancel as dry_run_of_cancel
from price_changes.running.dry_runs import of_revert as dry_run_of_revert
from price_changes.running.judging_edits import accept
from price_changes.running.lifecycle import (
    approve,
    cancel,
    keep_instant,
    pause,
    preview,
    resume,
    revert,
)
from price_changes.running.outcomes import outcome
from price_changes.running.rejecting import reject

__all__ = [
    "accept",
    "allowed",
    "approve",
    "brake_state",
    "cancel",
    "dry_run_of_approval",
    "dry_run_of_cancel",
    "dry_run_of_revert",
    "keep_instant",
    "outcome",
    "pause",
    "plan",
    "preview",
    "pull_brake",
    "reject",
    "release_brake",
    "resume",
    "revert",
]
