"""Jobs: bulks that workers do while nobody waits for them, and what takes them back.

    POST …/bulk/, Prefer: respond-async ─▶ `ask`: a row and its body, in pieces ─▶ 202, its number
    sweep, or a message ─▶ `run`: the first that is due ─▶ lines checked ─▶ chunk by chunk
                            (one transaction: records written, results kept, place saved)
    POST …/undo/ ─▶ `undo`: a job too, whose lines are the values from before

The database has what is due, and a message only wakes a worker. Jobs are done one after another,
in the order in which they came. The one that runs them holds an advisory lock of its transaction,
so a kill frees it, and the next worker goes on after the last chunk that was committed; of all or
nothing that is the beginning. docs/decisions/0023 has the reasons.
"""

from services.jobs.asking import JobRefused, ask, cancel, undo
from services.jobs.looks import again, apply, look
from services.jobs.results import forget_old
from services.jobs.running import run

__all__ = [
    "JobRefused", "again", "apply", "ask", "cancel", "forget_old", "look", "run", "undo",
]  # fmt: skip
