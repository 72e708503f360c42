"""Reads what subscriptions have paid before they came into the book: all of a file, or nothing.

    file → COPY → matched with the book → locked → judged, with what the book tells of that time
         → corrections → their entries in the feed, set by set

A line is a price from an instant on: up to `until`, or to the next line of its subscription. The
last one lasts to the next instant at which the book's own prices move; if nothing has moved since,
it has to be the price in force.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, BinaryIO, cast

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from services import corrections, fields, parsing
from services.hooks import price_changes
from services.models import Correction, book_clock
from services.moves import NOTHING, Move
from services.past import statements
from services.transfer.copying import ShowProgress, copy_rows
from services.transfer.csv_file import BadBook, Column, Problem, moment, or_empty, price
from services.transfer.files import Reading, Table, open_table
from services.transfer.incoming_subscriptions import first_of
from services.transfer.moved_prices import AUTHOR

REASON = "history"  # of a line without a comment


def _id(value: str) -> str:
    try:
        return str(parsing.identifier("subscription", value))
    except parsing.BadValue:
        raise ValueError("is no id of a subscription; allowed: a whole number from 1") from None


ALIKE = re.compile("[1-9][0-9]{0,8} of [1-9][0-9]{0,8}")


def _alike(value: str) -> str:
    if not ALIKE.fullmatch(value):
        raise ValueError("is no place among subscriptions that are alike; allowed: such as 1 of 2")
    return value


COLUMNS = {
    "subscription": Column("bigint", or_empty(_id), required=False),
    "source": Column("text", or_empty(fields.SOURCE), required=False),
    "external_id": Column("text", or_empty(fields.EXTERNAL_ID), required=False),
    "email": Column("text", or_empty(fields.email), required=False),
    "service": Column("text", or_empty(fields.SERVICE_NAME), required=False),
    "started_at": Column("timestamptz", or_empty(moment), required=False),
    "alike": Column("text", or_empty(_alike), required=False),
    "effective_at": Column("timestamptz", moment),
    "until": Column("timestamptz", or_empty(moment), required=False),
    "price": Column("numeric(12, 2)", price),
    "comment": Column("text", fields.column(Correction, "reason", required=False), required=False),
}
NULL_IF_EMPTY = (
    "subscription", "source", "external_id", "email", "service", "started_at", "alike", "until",
)  # fmt: skip


@dataclass(frozen=True)
class Brought:
    """The result of an import of the past: its lines, and those that say another price than the
    book had told of that time."""

    lines: int
    corrected: int
    moved: Move = NOTHING


def import_history(
    file: BufferedIOBase,
    *,
    reading: Reading = Reading.of({}, COLUMNS),  # noqa: B008 - frozen
    dry_run: bool = False,
    author: str = AUTHOR,
    progress: ShowProgress | None = None,
    look: Callable[[CursorWrapper, Brought], None] = lambda cursor, brought: None,
) -> Brought:
    """Read a file of the past (docs/data.md), in one transaction; `dry_run` undoes it.

    `reading` is how its sender says it is to be read, with the COLUMNS of this module.

    `look` is called in the transaction, whose table `history` has the lines, `history_move` those
    that are corrected. Some 25 statements, and one for each problem that was found.

    Raises `BadBook` with the lines that are wrong, CorrectionRefused while a set is not listed, and
    NeedsAnotherPerson if it moves more than its author may; nothing is written then.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        brought = _History(cursor, author, progress or (lambda *_: None)).run(file, reading)
        look(cursor, brought)
        if dry_run:
            transaction.set_rollback(True)
    return brought


class _History:
    def __init__(self, cursor: CursorWrapper, author: str, progress: ShowProgress) -> None:
        self.cursor = cursor
        self.author = author
        self.progress = progress
        self.problems = BadBook()

    def run(self, file: BufferedIOBase, reading: Reading) -> Brought:
        self._copy(open_table(cast(BinaryIO, file), reading))
        self.progress("checking", 0, None)
        self._match()
        self._execute(statements.LOCK_ROWS)
        self._execute(statements.LOCK_PAIRS)
        now = {"now": book_clock()}
        corrections.refuse_while_a_set_waits()
        self._make("history", statements.HISTORY, now)
        self._check(statements.BAD_INTERVALS, now)
        self.problems.raise_if_any()
        self._execute(statements.TOLD)
        self._execute("CREATE INDEX ON history_told (line)")  # read for each line
        self._execute("ANALYZE history_told")
        self._check(statements.NOT_PAID)
        self.problems.raise_if_any()
        self._make("history_interval", statements.INTERVALS)
        self._check(statements.NOT_IN_FORCE)
        self.problems.raise_if_any()
        self._make("history_move", statements.MOVES)
        lines, corrected = self._row(statements.COUNTS)
        moved = self._write() if corrected else NOTHING
        return Brought(lines, corrected, moved)

    def _copy(self, file: Table) -> None:
        self.problems.about(file.problems)
        tables = ", ".join(f"pg_temp.{name}" for name in statements.TABLES)
        self._execute(f"DROP TABLE IF EXISTS {tables}")
        columns = ", ".join(f"{name} {column.type}" for name, column in COLUMNS.items())
        self._execute(statements.LINES.format(columns=columns))
        copy_rows(self.cursor, "history_line", file, NULL_IF_EMPTY, self.progress)
        self._execute("ANALYZE history_line")

    def _match(self) -> None:
        """Find the subscription of each line."""
        self._check(statements.NOT_NAMED)
        self.problems.raise_if_any()
        self._make("history_match", statements.MATCHES)
        self._check(statements.NOT_THERE)
        self._check(statements.SEVERAL)
        self.problems.raise_if_any()

    def _write(self) -> Move:
        """Write the corrections and their entries, and count them for the policy."""
        self.progress("writing", 0, None)
        written = {"author": self.author, "reason": REASON, "now": book_clock()}
        ids, followed = self._row(statements.CORRECT, written)
        # One that the next one follows at once has no entry at its end.
        self._execute(corrections.ENTER, {"ids": ids, "going_on": followed})
        rows, before, after, movement, percent = self._row(statements.FIGURES)
        move = Move(rows, before, after, movement, percent if percent.is_finite() else None)
        if price_changes().has_limits():
            price_changes().moved_alone(self.author, move)
        return move

    def _make(self, table: str, statement: str, values: Mapping[str, Any] | None = None) -> None:
        self._execute(statement, values)
        self._execute(f"ANALYZE {table}")

    def _check(self, problems: str, values: Mapping[str, Any] | None = None) -> None:
        self._execute(first_of(problems), values)
        found = self.cursor.fetchall()
        for *problem, _ in found:
            self.problems.add(Problem(*problem))
        if found:
            self.problems.count += found[0][-1] - len(found)

    def _row(self, query: str, values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        self._execute(query, values)
        found: Sequence[Any] = self.cursor.fetchone()
        return found

    def _execute(self, query: str, values: Mapping[str, Any] | None = None) -> None:
        self.cursor.execute(query, values)
