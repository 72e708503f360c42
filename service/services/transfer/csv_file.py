"""The file of a book: CSV, a line for each subscription, and the values allowed in each column.

`files` reads it, as well as what spreadsheets make of it, and `exporting` writes it. docs/data.md
describes it for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import pgettext

from pricebook.kit.currency import minor_unit, plain
from pricebook.kit.figures import grouped
from pricebook.words.stored import shown_in_context
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
    """An error at one place of a file, and what would be right. Lines count from 1; 0: the file.

    `cell` is the place in a workbook, as `Sheet1!C7`. `answers` are the options of
    `files.Reading` that would settle it, if it is a question.
    """

    line: int
    column: str
    value: str
    reason: str
    cell: str = ""
    code: str = "bad_value"
    answers: tuple[str, ...] = ()

    def __str__(self) -> str:
        value = self.value if len(self.value) <= 60 else f"{self.value[:60]}…"
        where = self.cell or (
            pgettext("file", "line %(line)s") % {"line": self.line} if self.line else ""
        )
        where = ", ".join(part for part in (where, self.column) if part)
        if not where:
            return pgettext("file", "the file %(reason)s") % {"reason": self.said}
        return f"{where}: {value!r} {self.said}"

    @property
    def said(self) -> str:
        """Its reason in the reader's language; that of a statement, or of a worker, is English."""
        return shown_in_context(self.reason, "file")


@dataclass(eq=False)
class BadBook(Exception):
    """A file that can't be read into the book: the first problems, and how many there are.

    `understood` is how the file was read (`files.Table`), if that came to be known; `cell_of` gives
    the cell of a line and a column.
    """

    problems: list[Problem] = field(default_factory=list)
    count: int = 0
    understood: dict[str, str] = field(default_factory=dict)
    cell_of: Callable[[int, str], str] | None = None
    LIMIT = 20

    def add(self, problem: Problem) -> None:
        self.count += 1
        if len(self.problems) < self.LIMIT:
            if self.cell_of and not problem.cell and problem.line:
                problem = replace(problem, cell=self.cell_of(problem.line, problem.column))
            self.problems.append(problem)

    def about(self, file: BadBook) -> None:
        """Let it be about what that one is about, which the reader of a file gathered."""
        self.understood, self.cell_of = file.understood, file.cell_of

    def raise_if_any(self) -> None:
        if self.count:
            raise self

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if self.count > len(lines):
            lines.append(
                pgettext("file", "… and %(value)s more")
                % {"value": grouped(self.count - len(lines))}
            )
        return "\n".join(lines)


# --- Values of a column: each parser returns what PostgreSQL takes, or says what is allowed -----


def price(value: str) -> str:
    if not PRICES[minor_unit()].fullmatch(value):
        raise ValueError(
            pgettext(
                "file",
                "is not a price; allowed: 0 to 9999999999.99, a point and at most two decimals",
            )
            if minor_unit()
            else pgettext(
                "file", "is not a price in %(currency)s; allowed: 0 to 9999999999, no decimals"
            )
            % {"currency": settings.CURRENCY}
        )
    return value


def moment(value: str) -> str:
    try:
        if not MOMENT.fullmatch(value):
            raise ValueError
        when = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            pgettext(
                "file",
                "is not a date or a time; allowed: 2026-10-01, 2026-10-01T09:30,"
                " 2026-10-01T09:30+02:00",
            )
        ) from None
    try:
        if when.tzinfo is None:
            when = to_instant(when, ZoneInfo(settings.TIME_ZONE))
        when = when.astimezone(UTC)
    except OverflowError:
        when = FIRST_DAY - timedelta(days=1)
    if not FIRST_DAY <= when <= LAST_DAY:
        raise ValueError(pgettext("file", "lies outside of the years 1900 to 9999"))
    return when.isoformat()


def or_empty(parse: Callable[[str], str]) -> Callable[[str], str]:
    def parse_or_empty(value: str) -> str:
        return parse(value) if value else value

    if isinstance(parse, fields.Text):
        parse_or_empty.are_plain = replace(parse, required=False).are_plain  # type: ignore[attr-defined]
    return parse_or_empty


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
    "price_state": Column("text", or_empty(fields.price_state), required=False),
    "locked_until": Column("timestamptz", or_empty(moment), required=False),
    "price_reason": Column("text", fields.PRICE_REASON, required=False),
    "id": Column("bigint", or_empty(fields.identifier), required=False),
}
# The columns that go with price_state.
OF_STATES = ("locked_until", "price_reason")
# Columns where an empty cell means that there is no value; elsewhere it is an empty text.
NULL_IF_EMPTY = (
    "source", "external_id", "ended_at", "stamp", "price", "price_state", "locked_until", "id",
)  # fmt: skip

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
