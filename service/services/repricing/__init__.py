"""Repricing: brings stored prices in line with the rule after an edit of the catalogue.

It is called by the tasks (`reprice()`, `stamp()`: all that is due), by the book check's repair, and
by code that edits the catalogue with an author or a comment (`catalogue_edit`).

An edit of the catalogue has left a `Repricing` (a trigger wrote it, in the edit's own transaction).
`plan_due()` splits it into steps, one for each (service, plan) that has subscriptions. Workers take
steps chunk by chunk:

    one transaction: claim a step → lock service and plan (shared) → read the catalogue
                     → move the prices of the next 4,000 rows that differ → save the cursor
                     … and so the next steps, while there is room → count what was done

A worker looks at the facts and does not trust the message: it moves the prices that differ from the
rule as of the newest value that has come, so doing a step twice changes nothing, and after two
edits that overlap the later one's price stays. A killed worker leaves its chunk rolled back and its
step free for the next one.
"""

from services.repricing.catalogue_edits import catalogue_edit
from services.repricing.drain import reprice, stamp
from services.repricing.one import reprice_one, stamp_one
from services.repricing.planning import plan_due
from services.repricing.speed import Progress, progress

__all__ = [
    "Progress",
    "catalogue_edit",
    "plan_due",
    "progress",
    "reprice",
    "reprice_one",
    "stamp",
    "stamp_one",
]
