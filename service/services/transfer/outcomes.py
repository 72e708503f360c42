"""Each line of an import, and what it does to the book: read in the import's transaction.

The import leaves these temporary tables, which are gone at the end of its transaction:

    incoming               the lines
    known                  line → subscription that was there
    made                   the ids of new subscriptions, in the order of their lines
    difference             line → a value of its subscription that differs from the book's
    catalogue_difference   line → a list price, or a value of a client, that differs from the book's

A list price and a client are those of the first line that names them, so their differences stand
there alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db.backends.utils import CursorWrapper

PIECE = 2_000  # lines that are fetched at once

# Kept by an import that writes. Sequences ascend, and lines are inserted in their order: so the
# n-th new line made the n-th id.
MADE = "CREATE TEMP TABLE made (id bigint) ON COMMIT DROP"
KEEP_IDS = "WITH fresh AS ({} RETURNING id) INSERT INTO made SELECT id FROM fresh"
OUTCOMES = """
SELECT incoming.line,
       CASE WHEN known.line IS NULL THEN 'created'
            WHEN found.line IS NOT NULL THEN 'changed' ELSE 'unchanged' END,
       coalesce(known.subscription_id, fresh.id), found.columns, found.theirs, found.ours
  FROM incoming
  LEFT JOIN known ON known.line = incoming.line
  LEFT JOIN (SELECT line, id
               FROM (SELECT line, row_number() OVER (ORDER BY line) AS nth
                       FROM incoming
                      WHERE NOT EXISTS (SELECT FROM known WHERE known.line = incoming.line)) new
               JOIN (SELECT id, row_number() OVER (ORDER BY id) AS nth FROM made) made USING (nth)
            ) fresh ON fresh.line = incoming.line
  LEFT JOIN (SELECT line, array_agg(differing) AS columns, array_agg(there) AS theirs,
                    array_agg(here) AS ours
               FROM (SELECT line, differing, here, there FROM catalogue_difference
                      UNION ALL SELECT line, differing, here, there FROM difference) each
              GROUP BY line) found ON found.line = incoming.line
 ORDER BY incoming.line
"""


class LineOutcome(NamedTuple):
    """One line, and what it does or would do. `differences`: column → (book's value, file's).

    A created line has only the differences of what was there: a list price, a client's name.
    """

    line: int
    outcome: str  # "created", "changed", "unchanged"
    subscription_id: int | None  # None in a dry run for one that is created
    differences: dict[str, tuple[str | None, str | None]]


def outcomes(cursor: CursorWrapper) -> Iterator[LineOutcome]:
    """The outcomes of all lines, in their order, in constant memory; iterate in the transaction.

    A query, and one for each 2,000 lines. The cursor may not be used for other things meanwhile.
    """
    cursor.execute(f"DECLARE outcome NO SCROLL CURSOR FOR {OUTCOMES}")
    while True:
        cursor.execute(f"FETCH {PIECE} FROM outcome")
        piece = cursor.fetchall()
        for line, outcome, subscription_id, columns, theirs, ours in piece:
            differences = {}
            if columns is not None:
                differences = dict(zip(columns, zip(theirs, ours, strict=True), strict=True))
            yield LineOutcome(line, outcome, subscription_id, differences)
        if len(piece) < PIECE:
            break
    cursor.execute("CLOSE outcome")


@dataclass
class FirstDifferences:
    """The first lines with differences, how many there are, and how many lines have each outcome.

    `limit`: how many are kept; None is all.
    """

    limit: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
    lines: list[LineOutcome] = field(default_factory=list)
    differing: int = 0

    def read(self, cursor: CursorWrapper) -> None:
        for each in outcomes(cursor):
            self.counts[each.outcome] += 1
            if each.differences:
                self.differing += 1
                if self.limit is None or len(self.lines) < self.limit:
                    self.lines.append(each)
