"""Copies the rows of a file into a temporary table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from django.db.backends.utils import CursorWrapper

from services.transfer.files import Row, Table

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
    nulls = [name for name in null_if_empty if name in book.columns]
    texts = [name for name in book.columns if name not in nulls]
    options = ["FORMAT csv", r"DELIMITER E'\t'"]
    options += [f"FORCE_NULL ({', '.join(nulls)})"] if nulls else []
    options += [f"FORCE_NOT_NULL ({', '.join(texts)})"] if texts else []
    columns = ", ".join(["line", *book.columns])
    done = 0
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN ({', '.join(options)})") as copy:
        for rows in book.pieces():
            copy.write(as_csv(rows, len(book.columns)))
            done += len(rows)
            progress("reading", done, None)
    book.problems.raise_if_any()


def as_csv(rows: Sequence[Row], columns: int) -> str:
    """The rows, each of a line and so many columns, with tabs; in quotes only if a value needs it.

    Writing the quotes takes longer than all the rest of it.
    """
    text = "\n".join(map("\t".join, rows))
    if (
        '"' not in text
        and "\r" not in text
        and text.count("\t") == len(rows) * columns
        and text.count("\n") == len(rows) - 1
    ):
        return text + "\n"
    quoted = io.StringIO()
    csv.writer(quoted, delimiter="\t", quoting=csv.QUOTE_ALL).writerows(rows)
    return quoted.getvalue()
