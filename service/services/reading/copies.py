"""Reading the stored copies, where none of them is late.

The views of what is in force (`models.in_force`) take several times as long to plan and to run as
their tables, which differ from them only while a worker is late. So a statement reads the tables
first, and says in the same snapshot whether any copy is late. Only then it is run once more, upon
the views. The next ones of this process read the views at once, until no copy is late.

    from_copies()   the same statement, upon the tables
    IS_LATE         whether that would be wrong
    expected        which of both to begin with
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from services.models.in_force import VIEWS

# As `copies_late_since(book_now()) IS NOT NULL`, but part of the statement's plan: a function that
# reads tables is planned by itself, and called.
IS_LATE = """(
    EXISTS (SELECT FROM services_cataloguevalue
             WHERE NOT started AND effective_at <= (SELECT book_now()))
    OR EXISTS (SELECT FROM services_repricing WHERE finished_at IS NULL)
    OR EXISTS (SELECT FROM services_lockend WHERE until <= (SELECT book_now()))
)"""
# Those who have begun or ended since the fold are no copies: their instants decide.
SUBTOTALS = """(
    SELECT service_id, plan_id, subscriptions, amount, paid_subscriptions, paid_amount, changes
      FROM services_subtotal
     UNION ALL
    SELECT service_id, plan_id, 0, 0, subscriptions, amount, 0 FROM services_paidboundary
     WHERE at <= (SELECT book_clock())
) subtotal_copies"""

_TABLE_OF = {view: table for table, view in VIEWS.items()} | {"subtotal_in_force": SUBTOTALS}
_VIEW = re.compile(rf"\b({'|'.join(_TABLE_OF)})\b")


@lru_cache(maxsize=256)
def from_copies(sql: str) -> str:
    """The text of a statement upon the views, with their tables in place of them.

    Values stand beside the text, so a view's name in it is always the view.
    """
    return _VIEW.sub(lambda found: _TABLE_OF[found[0]], sql)


@dataclass
class Expected:
    """Whether a copy was late in the last statement of this process, so probably in the next.

    It decides nothing but how many statements there are. Threads may overwrite each other's.
    """

    late: bool = False

    def ways(self) -> tuple[bool, ...]:
        """Whether to read the copies, in this order, until an answer holds."""
        return (False,) if self.late else (True, False)


expected = Expected()
