"""A table that is to be written: typed columns, and rows that are read while they are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from pricebook.kit.currency import plain
from pricebook.kit.errors import ReadTimedOut
from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from services.reading.total import version_now
from services.transfer import csv_file

Value = str | int | Decimal | datetime | date | None


class Type(Enum):
    """The type of a column, which decides what its cells are."""

    TEXT = "text"  # also of words and of ids, which nobody adds up
    INTEGER = "integer"
    AMOUNT = "amount"
    INSTANT = "instant"  # that people choose: a date, as a rule
    DAY = "day"  # of a calendar, in no time zone
    RECORDED = "recorded"  # that a clock gave, to the microsecond: text that sorts
    FLAG = "flag"


class Column(NamedTuple):
    """A column's name, as the API and files have it, its type, and what people read above it."""

    name: str
    type: Type
    label: str = ""

    @property
    def heading(self) -> str:
        return self.label or self.name


# The types of the API's fields; all others are texts or ids.
OF_FIELD = {
    **dict.fromkeys(("price", "old_price", "new_price", "full_price", "total_amount"), Type.AMOUNT),
    **dict.fromkeys(("discount_percent", "count", "rows"), Type.INTEGER),
    **dict.fromkeys(("started_at", "ended_at", "locked_until"), Type.INSTANT),
    **dict.fromkeys(("effective_at", "recorded_at", "unpaid_since"), Type.RECORDED),
    **dict.fromkeys(("moved", "period_only"), Type.FLAG),
}
# Those of the columns of a book's file.
OF_FILE = {
    "text": Type.TEXT,
    "bigint": Type.TEXT,
    "integer": Type.INTEGER,
    "numeric(12, 2)": Type.AMOUNT,
    "timestamptz": Type.INSTANT,
}


def fields(names: Iterable[str]) -> tuple[Column, ...]:
    """The columns of fields of the API."""
    return tuple(Column(name, OF_FIELD.get(name, Type.TEXT)) for name in names)


def of_book() -> tuple[Column, ...]:
    """The columns of a book's file."""
    return tuple(Column(name, OF_FILE[column.type]) for name, column in csv_file.COLUMNS.items())


@dataclass(frozen=True)
class Moment:
    """The version of the book that a table shows; `changed`: it was another one at its start."""

    version: str
    changed: bool


def between() -> Callable[[], Moment]:
    """Read the book's version, and again when the result is called. One query each."""
    first = version_now()

    def moment() -> Moment:
        last = version_now()
        return Moment(last, last != first)

    return moment


@dataclass(frozen=True)
class Table:
    """`rows` are read once, by whatever writes them; `moment` and `more` are asked after that.

    `expected`: how many rows there are, where that is known before. `more`: what else there is to
    say of the table, by name. `title`: the name of its sheet, if that is another one.
    """

    name: str
    columns: tuple[Column, ...]
    rows: Iterable[tuple[Value, ...]]
    moment: Callable[[], Moment]
    filters: Mapping[str, str] = field(default_factory=dict)
    expected: int | None = None
    more: Callable[[], Mapping[str, str]] = dict
    # The words of codes, by column, and whether people read it in their language (`headings`).
    words: Mapping[str, Mapping[str, str | Promise]] = field(default_factory=dict)
    title: str = ""
    is_in_words: bool = False


@dataclass
class Written:
    """The figures of a table that was written.

    `as_text`: the cells whose exact value a number or a date can't hold.
    """

    moment: Moment
    rows: int
    sums: dict[str, Decimal]
    as_text: int


class TooManyRows(Refusal):
    """A table has more rows than a sheet may have."""

    def __init__(self, most: int, found: int | None) -> None:
        how_many = (
            _("%(found)s rows") % {"found": grouped(found)}
            if found is not None
            else _("more than %(most)s rows") % {"most": grouped(most)}
        )
        super().__init__(
            "too_many_rows",
            _(
                "These are %(how_many)s, and a sheet has up to %(most)s here. Give filters"
                " that find less, or read it as JSON, page by page; subscriptions also as"
                " format=csv or ndjson, or by the command export_book."
            )
            % {"how_many": how_many, "most": grouped(most)},
            413,
            most=most,
            **({} if found is None else {"rows": found}),
        )


class Limits:
    """The most rows of a table, and the seconds that it may take; 0: any."""

    def __init__(self, rows: int, seconds: float = 0) -> None:
        self.rows = rows
        self.ends = time.monotonic() + seconds if seconds else None

    def check(self, rows: int, found: int | None = None) -> None:
        """Raises TooManyRows or ReadTimedOut."""
        if rows > self.rows:
            raise TooManyRows(self.rows, found)
        if self.ends is not None and time.monotonic() > self.ends:
            raise ReadTimedOut


# A sheet of Excel has 1,048,576 rows, the first of which has the names.
MOST_ROWS = 1_048_575
# The most of an answer: they take 20 seconds of a processor, and up to a minute of a busy one, in
# which a proxy waits for the first byte.
ROWS_OVER_HTTP = 200_000


def over_http() -> Limits:
    return Limits(ROWS_OVER_HTTP, settings.LONG_READ_TIMEOUT)


class Counted:
    """The rows of a table within limits, counted and added up; iterate once."""

    def __init__(self, table: Table, limits: Limits) -> None:
        limits.check(table.expected or 0, table.expected)
        self.table = table
        self.limits = limits
        self.rows = 0
        amounts = [n for n, column in enumerate(table.columns) if column.type is Type.AMOUNT]
        self._sums = dict.fromkeys(amounts, Decimal("0.00"))

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        sums = self._sums
        for row in self.table.rows:
            self.rows += 1
            if self.rows > self.limits.rows or self.rows % 100 == 0:
                self.limits.check(self.rows)
            for n in sums:
                amount = row[n]
                if amount is not None:
                    sums[n] += amount  # type: ignore[operator]
            yield row

    def written(self, as_text: int) -> Written:
        sums = {self.table.columns[n].name: plain(amount) for n, amount in self._sums.items()}
        return Written(self.table.moment(), self.rows, sums, as_text)
