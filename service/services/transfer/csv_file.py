"""The file of a book: CSV, a line for each subscription, and the values allowed in each column.

`importing` reads it, and `exporting` writes it. docs/data.md describes it for people.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from io import BufferedIOBase
from typing import NamedTuple, NoReturn
from zoneinfo import ZoneInfo

from django.conf import settings

from pricebook.kit.currency import minor_unit, plain
from services import fields
from services.bounds import FIRST_DAY, LAST_DAY
from services.local_time import to_instant
from services.reading.total import Total

# No line that makes sense is longer, and a quote that is never closed must not fill the memory.
LINE_LIMIT = 65_536

PRICES = {2: re.compile(r"[0-9]{1,10}(\.[0-9]{1,2})?"), 0: re.compile(r"[0-9]{1,10}(\.0{1,2})?")}
# As we write it, as PostgreSQL writes it, and a date. Python would accept weeks and bare digits
# too.
MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)


@dataclass(frozen=True)
class Problem:
    """An error at one place of a file, and what would be right. Lines count from 1."""

    line: int
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        value = self.value if len(self.value) <= 60 else f"{self.value[:60]}…"
        where = f"line {self.line}, {self.column}" if self.column else f"line {self.line}"
        return f"{where}: {value!r} {self.reason}"


@dataclass(eq=False)
class BadBook(Exception):
    """A file that can't be read into the book: the first problems, and how many there are."""

    problems: list[Problem] = field(default_factory=list)
    count: int = 0
    LIMIT = 20

    def add(self, problem: Problem) -> None:
        self.count += 1
        if len(self.problems) < self.LIMIT:
            self.problems.append(problem)

    def raise_if_any(self) -> None:
        if self.count:
            raise self

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if self.count > len(lines):
            lines.append(f"… and {self.count - len(lines):,} more")
        return "\n".join(lines)


# --- Values of a column: each parser returns what PostgreSQL takes, or says what is allowed -----


def price(value: str) -> str:
    if not PRICES[minor_unit()].fullmatch(value):
        raise ValueError(
            "is not a price; allowed: 0 to 9999999999.99, a point and at most two decimals"
            if minor_unit()
            else f"is not a price in {settings.CURRENCY}; allowed: 0 to 9999999999, no decimals"
        )
    return value


def moment(value: str) -> str:
    try:
        if not MOMENT.fullmatch(value):
            raise ValueError
        when = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            "is not a date or a time; allowed: 2026-10-01, 2026-10-01T09:30, 2026-10-01T09:30+02:00"
        ) from None
    try:
        if when.tzinfo is None:
            when = to_instant(when, ZoneInfo(settings.TIME_ZONE))
        when = when.astimezone(UTC)
    except OverflowError:
        when = FIRST_DAY - timedelta(days=1)
    if not FIRST_DAY <= when <= LAST_DAY:
        raise ValueError("lies outside of the years 1900 to 9999")
    return when.isoformat()


def or_empty(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda value: parse(value) if value else value


class Column(NamedTuple):
    type: str  # in PostgreSQL
    parse: Callable[[str], str]
    required: bool = True


COLUMNS = {
    "company_name": Column("text", fields.COMPANY_NAME),
    "email": Column("text", fields.email),
    "full_address": Column("text", fields.FULL_ADDRESS, required=False),
    "service": Column("text", fields.SERVICE_NAME),
    "full_price": Column("numeric(12, 2)", price),
    "plan_type": Column("text", fields.plan_type),
    "discount_percent": Column("integer", fields.percent),
    "source": Column("text", or_empty(fields.SOURCE), required=False),
    "external_id": Column("text", or_empty(fields.EXTERNAL_ID), required=False),
    "started_at": Column("timestamptz", moment),
    "ended_at": Column("timestamptz", or_empty(moment), required=False),
    "comment": Column("text", fields.COMMENT, required=False),
    "stamp": Column("text", fields.COMMENT, required=False),
    "price": Column("numeric(12, 2)", or_empty(price), required=False),
}
# Columns where an empty cell means that there is no value; elsewhere it is an empty text.
NULL_IF_EMPTY = ("source", "external_id", "ended_at", "stamp", "price")

# The last line of what the API sends (formats.py), which may break off. Files have none.
END = re.compile(
    r"# end: version=\S+ changed=(?:true|false) count=([0-9]+) total_amount=\S+"
    r"(?: paid_count=[0-9]+ paid_amount=\S+)?"  # not of an earlier release
)


def end_line(version: str, changed: bool, total: Total, paid: Total) -> bytes:
    said = f"version={version} changed={str(changed).lower()}"
    sums = (
        f"count={total.subscriptions} total_amount={plain(total.amount)}"
        f" paid_count={paid.subscriptions} paid_amount={plain(paid.amount)}"
    )
    return f"# end: {said} {sums}\n".encode()


class BookFile:
    """A CSV file being read: `columns` after `open`, then `rows` once.

    `line` is the last line that was read. An error in a single value goes into `problems`, and
    reading goes on; after an error that makes the rest unreadable it stops and raises `BadBook`.
    """

    known: Mapping[str, Column] = COLUMNS

    def __init__(self, file: BufferedIOBase) -> None:
        self.line = 0
        self.problems = BadBook()
        self._file = file
        self._reader = csv.reader(self._lines(), strict=True)
        self.columns = self._header()

    def rows(self) -> Iterator[list[str | int]]:
        """The good rows: the line that a row begins on, and the values in the file's order."""
        # Most values of a book come many times: names, prices, dates.
        parsers = [lru_cache(maxsize=4096)(self.known[column].parse) for column in self.columns]
        for line, values in self._rows_up_to_the_end():
            try:
                yield [line, *[parse(value) for parse, value in zip(parsers, values, strict=True)]]
            except ValueError:
                self._explain(line, values)

    def _header(self) -> list[str]:
        known = ", ".join(
            name if column.required else f"[{name}]" for name, column in self.known.items()
        )
        line, header = next(self._records(), (1, []))
        if not header:
            self.problems.add(Problem(line, "", "", f"is empty; the first line names: {known}"))
        for position, name in enumerate(header):
            if name not in self.known:
                self.problems.add(Problem(line, "", name, f"is not a column; known are: {known}"))
            elif name in header[:position]:
                self.problems.add(Problem(line, "", name, "is there twice; keep one of them"))
        for name, column in self.known.items():
            if header and column.required and name not in header:
                self.problems.add(Problem(line, "", name, f"is missing; needed are: {known}"))
        if ("source" in header) != ("external_id" in header):
            self.problems.add(
                Problem(line, "", "source, external_id", "belong together; give both or neither")
            )
        self.problems.raise_if_any()
        return header

    def _lines(self) -> Iterator[str]:
        while raw := self._file.readline(LINE_LIMIT + 1):
            self.line += 1
            if len(raw) > LINE_LIMIT:
                self._stop("", f"is longer than {LINE_LIMIT:,} bytes; is a line break missing?")
            if self.line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                yield raw.decode(errors="surrogateescape")  # the column will say that it is bad

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Each record with the line that it begins on: a quoted value may span several."""
        while True:
            line = self.line + 1
            try:
                values = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._stop("", f"is not CSV from here on ({error}); is a quote missing?", line)
            if values:
                yield line, values

    def _rows_up_to_the_end(self) -> Iterator[tuple[int, list[str]]]:
        """Records, up to the line that says how many there are, if there is one."""
        for count, (line, values) in enumerate(self._records()):
            if len(values) > 1 or not values[0].startswith("#"):
                yield line, values
                continue
            self._end(line, values[0], count)
            for beyond, more in self._records():
                self._stop(more[0], "comes after the last line; cut the file there", beyond)

    def _end(self, line: int, text: str, count: int) -> None:
        end = END.fullmatch(text)
        if end is None:
            self._stop(text, "is no subscription: the file is not complete; ask for it again", line)
        if int(end[1]) != count:
            self._stop(text, f"but {count:,} lines came before it; ask for the file again", line)

    def _explain(self, line: int, values: list[str]) -> None:
        if len(values) != len(self.columns):
            reason = f"but the header names {len(self.columns)} columns"
            self.problems.add(Problem(line, "", f"{len(values)} values", reason))
            return
        for column, value in zip(self.columns, values, strict=True):
            try:
                self.known[column].parse(value)
            except ValueError as error:
                self.problems.add(Problem(line, column, value, str(error)))

    def _stop(self, value: str, reason: str, line: int = 0) -> NoReturn:
        self.problems.add(Problem(line or self.line, "", value, reason))
        raise self.problems
