"""Copies the rows of a file into a temporary table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from itertools import islice

from django.db.backends.utils import CursorWrapper

from services.transfer.files import Table

BATCH = 2_000  # rows that go to COPY in one piece
# Called with the step, the rows done, and the rows in all if they are known.
ShowProgress = Callable[[str, int, int | None], None]


def copy_rows(
    cursor: CursorWrapper,
    table: str,
    book: Table,
    null_if_empty: Sequence[str],
    progress: ShowProgress,
) -> None:
    """COPY the rows of a file, with their lines; raises BadBook if values of it can't be used."""
    null = ", ".join(name for name in null_if_empty if name in book.columns)
    options = f"FORMAT csv{f', FORCE_NULL ({null})' if null else ''}"
    statement = f"COPY {table} (line, {', '.join(book.columns)}) FROM STDIN ({options})"
    rows = book.rows()
    done = 0
    piece = io.StringIO()
    writer = csv.writer(piece, quoting=csv.QUOTE_ALL)
    with cursor.copy(statement) as copy:
        while batch := list(islice(rows, BATCH)):
            writer.writerows(batch)
            copy.write(piece.getvalue())
            piece.seek(0)
            piece.truncate()
            done += len(batch)
            progress("reading", done, None)
    book.problems.raise_if_any()
