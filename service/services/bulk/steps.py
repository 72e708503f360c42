"""The steps by which one transaction writes lines, whatever they are of.

    COPY into `bulk_line`
      → lock the records that differ, in the order of their ids
      → `bulk_found`: each line beside its record, as it stands and as it will be
      → refuse what the book does not allow → lock what the write needs → write → a result a line

In a dry run nothing is locked, and nothing written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.backends.utils import CursorWrapper

from pricebook.kit.refusal import Refusal
from services.bulk.lines import SHOWN, Record, refused_line
from services.moves import NOTHING, Move
from services.writing.refusals import alike

BATCH = 2_000  # results that are read at once

LINES = "CREATE TEMP TABLE bulk_line (line bigint, refusal text, {columns}) ON COMMIT DROP"
COPY = "COPY bulk_line (line, refusal, {columns}) FROM STDIN"
# How `found` knows the record of a line.
BY_ID_ELSEWHERE = "(book.source, book.external_id) = (line.source, line.external_id)"
# Somebody has changed a record between the two statements.
LATE = """
SELECT EXISTS (SELECT FROM bulk_found
                WHERE differs AND id NOT IN (SELECT id FROM bulk_held))
"""
REFUSE = """
UPDATE bulk_line SET refusal = refused.text
  FROM unnest(%s::bigint[], %s::text[]) refused (line, text)
 WHERE bulk_line.line = refused.line
"""
FORGET_REFUSED = """
DELETE FROM bulk_found USING bulk_line
 WHERE bulk_line.line = bulk_found.line AND bulk_line.refusal IS NOT NULL
"""
FIRST_REFUSED = "SELECT refusal FROM bulk_line WHERE refusal IS NOT NULL ORDER BY line LIMIT %s"
# A source that the book or an earlier line has in another case, or with other blanks.
SOURCES_ALIKE = """
WITH given AS (
    SELECT source, min(line) AS first FROM bulk_line WHERE refusal IS NULL GROUP BY source
)
SELECT line, source, other
  FROM bulk_line
  JOIN (SELECT source, coalesce(there.other, first_value(source) OVER (
                   PARTITION BY alike(source) ORDER BY first)) AS other
          FROM given
          LEFT JOIN sources_alike('{table}', ARRAY(SELECT source FROM given), 0, 0) there
               USING (source)) named USING (source)
 WHERE refusal IS NULL AND source <> other
"""
RESULTS = """
SELECT max(line), string_agg(text, E'\\n' ORDER BY line) || E'\\n'
  FROM (SELECT line, coalesce(refusal, concat(
               '{{"line":', line, ',"outcome":"',
               {outcome},
               '"', ',"id":' || id, ',"changes":' || changes::text, '}}')) AS text
          FROM bulk_line LEFT JOIN bulk_found USING (line)
         WHERE line > %s ORDER BY line LIMIT %s) result
"""
OUTCOME = "CASE WHEN is_new THEN 'created' WHEN differs THEN 'changed' ELSE 'unchanged' END"
# Fingerprints of the records that were written, as they stand now, in the order of their lines.
LEFT_AS = """
SELECT coalesce(array_agg({seen} ORDER BY line), '{{}}')
  FROM bulk_found JOIN {records} ON book.id = bulk_found.id
 WHERE (is_new OR differs) AND line BETWEEN %s AND %s
"""


# Follows an INSERT whose part `made` returns the records that it has made.
SET_IDS = """
UPDATE bulk_found SET id = made.id
  FROM made JOIN bulk_line USING (source, external_id)
 WHERE bulk_found.line = bulk_line.line"""


def fingerprint(*columns: str) -> str:
    """SQL for a number that stands for the values of columns, the same in every session."""
    values = f"jsonb_build_array({', '.join(columns)})"
    return f"('x' || left(md5({values}::text), 8))::bit(32)::int"


class Again(Exception):
    """Somebody else's write came between: the transaction has to be done once more."""


class Steps(ABC):
    """The lines of one transaction. Subclasses have the statements of their kind of record."""

    record: Record
    held: str  # makes `bulk_held`: the ids of the records that differ, locked
    moving: str | None = None  # finds the lines that move prices, if any may
    found: str  # makes `bulk_found`: line, id, is_new, differs, changes, and what is written
    records: str  # the records as `book`, with what `seen` reads beside them
    seen: str  # the fingerprint of all that people decide of a record
    lock = "FOR NO KEY UPDATE OF book"
    outcome = OUTCOME
    refused_as = "refused"  # the outcome of a line that is refused
    for_undo = False  # whether what an undo has to know is kept

    def __init__(self, cursor: CursorWrapper, author: str, dry_run: bool) -> None:
        self.cursor = cursor
        self.author = author
        self.dry_run = dry_run

    def copy(self, pieces: Iterable[bytes]) -> None:
        self.execute(
            "DROP TABLE IF EXISTS pg_temp.bulk_line, pg_temp.bulk_held, pg_temp.bulk_found,"
            " pg_temp.bulk_state"
        )
        types = {**self.record.columns, **dict.fromkeys(self.record.given, "boolean")}
        columns = ", ".join(f"{name} {type}" for name, type in types.items())
        self.execute(LINES.format(columns=columns))
        with self.cursor.copy(COPY.format(columns=", ".join(types))) as copy:
            for piece in pieces:
                copy.write(piece)
        self.execute("CREATE INDEX ON bulk_line USING brin (line)")
        self.execute("ANALYZE bulk_line")

    def compare(self) -> int:
        """Find the records and judge the lines; return how many lines are refused.

        Raises `Again`.
        """
        if not self.dry_run:
            self.lock_before()
        self.execute(self.held.format(lock="" if self.dry_run else self.lock))
        self.when_held()
        self.find()
        self.execute("ANALYZE bulk_found")
        if self.one(LATE):
            raise Again
        self.execute(SOURCES_ALIKE.format(table=self.record.table))
        self.refuse({line: alike("source", *names) for line, *names in self.cursor.fetchall()})
        for refusals in self.judgements():
            self.refuse(refusals)
        return int(self.one("SELECT count(*) FROM bulk_line WHERE refusal IS NOT NULL"))

    def refuse(self, refusals: dict[int, Refusal]) -> None:
        """Refuse lines, each for one reason; what is judged later does not meet them again."""
        if refusals:
            self.mark_refused(refusals)
            self.execute(FORGET_REFUSED)

    def mark_refused(self, refusals: dict[int, Refusal]) -> None:
        """Refuse lines that have not been compared with the book."""
        texts = [
            refused_line(line, error, self.refused_as).decode() for line, error in refusals.items()
        ]
        self.execute(REFUSE, [list(refusals), texts])

    def first_refused(self) -> list[bytes]:
        """The results of the first refused lines, up to 100."""
        self.execute(FIRST_REFUSED, [SHOWN])
        return [text.encode() for (text,) in self.cursor.fetchall()]

    def results(self) -> Iterator[bytes]:
        """The results of all lines, in pieces of NDJSON. A query for each 2,000."""
        line = 0
        while True:
            self.execute(RESULTS.format(outcome=self.outcome), [line, BATCH])
            last, text = self.cursor.fetchone()
            if last is None:
                return
            line = last
            yield text.encode()

    def left_as(self, first: int, last: int) -> list[int]:
        """The fingerprints of what these lines have written, in their order. A query."""
        found = LEFT_AS.format(seen=self.seen, records=self.records)
        return [] if self.dry_run else list(self.one(found, [first, last]))

    def states_before(self, first: int, last: int) -> dict[str, Any]:
        """The price states that these lines have ended, by their numbers."""
        return {}

    def find(self) -> None:
        """Make `bulk_found`."""
        self.execute(self.found)

    def when_held(self) -> None:  # noqa: B027 - most kinds do nothing there
        """Do what comes between the locks and the comparison."""

    @abstractmethod
    def lock_before(self) -> None:
        """Take the locks that come before those of records."""

    @abstractmethod
    def judgements(self) -> Iterator[dict[int, Refusal]]:
        """The refusals of lines by the book, by the number of the line."""

    @abstractmethod
    def write(self) -> None:
        """Write what is new and what differs."""

    def would_move(self) -> Move:
        """The prices that `write()` would move; it writes and locks nothing."""
        return NOTHING

    def refuse_moves(self, refusal: Refusal) -> None:
        """Refuse the lines that move prices, for one reason."""
        if self.moving is not None:
            self.execute(self.moving)
            self.refuse({line: refusal for (line,) in self.cursor.fetchall()})

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] | None = None) -> None:
        self.cursor.execute(sql, params)

    def one(self, sql: str, params: Sequence[Any] | None = None) -> Any:
        self.cursor.execute(sql, params)
        (value,) = self.cursor.fetchone()
        return value
