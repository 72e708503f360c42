"""The subscriptions of a filter as a table, with the columns of a book's file.

The rows are those of `chunks`: PostgreSQL writes the CSV of a book's file, which is read here.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from io import StringIO
from typing import Any

from services.reading.filters import BookFilter
from services.reading.total import EVERYTHING, total_amount
from services.transfer.chunks import Walk
from services.transfer.formats import CSV
from services.transfer.sheets.table import Moment, Table, Type, Value, of_book

PARSERS: dict[Type, Callable[[str], Value]] = {
    Type.TEXT: str,
    Type.INTEGER: int,
    Type.AMOUNT: Decimal,
    Type.INSTANT: datetime.fromisoformat,
}


def subscriptions(
    book_filter: BookFilter = EVERYTHING,
    filters: Mapping[str, str] | None = None,
    progress: Callable[[int], Any] = lambda rows: None,
) -> Table:
    """All that match, in the order of their ids; one query for each chunk, as they are written.

    One query now, if the subtotals know how many there are.
    """
    walk = Walk(CSV, book_filter)
    known = total_amount(book_filter).subscriptions if book_filter.by_catalogue else None
    return Table(
        name="Subscriptions",
        columns=of_book(),
        rows=_rows(walk, progress),
        moment=lambda: Moment(walk.version, walk.changed),
        filters=filters or {},
        expected=known,
    )


def _rows(walk: Walk, progress: Callable[[int], Any]) -> Iterator[tuple[Value, ...]]:
    # Most values of a book come many times, as in `csv_file`.
    parsers = [lru_cache(maxsize=4096)(PARSERS[column.type]) for column in of_book()]
    for text in walk:
        for line in csv.reader(StringIO(text.decode(), newline="")):
            yield tuple(
                [
                    parse(value) if value else None
                    for parse, value in zip(parsers, line, strict=True)
                ]
            )
        progress(walk.count)
