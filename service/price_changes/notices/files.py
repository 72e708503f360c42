"""The list of the clients who are to be told, as a file; and a file that says who was told.

The list goes out as a table, its day of being told is filled in, and it comes back: lines without a
day say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any, BinaryIO

from django.conf import settings
from django.db.models.functions import Upper
from django.utils.translation import pgettext

from clients.models import Client
from price_changes.models import PriceChange, Told, ToTell
from price_changes.notices.lists import ANY, Which, to_tell
from price_changes.notices.telling import LONGEST_NOTE, Mark
from price_changes.planning.notice_days import zone_of
from pricebook.kit.figures import instant
from services import fields, parsing
from services.bounds import FIRST_DAY
from services.models import book_clock
from services.transfer.csv_file import BadBook, Column, Problem, moment, or_empty
from services.transfer.files import Reading, open_table
from services.transfer.sheets.headings import headings_of
from services.transfer.sheets.table import Column as SheetColumn
from services.transfer.sheets.table import Table, Type, Value, between

CHUNK = 1_000  # clients that a statement reads


def _client(value: str) -> str:
    try:
        return str(parsing.identifier("client", value))
    except parsing.BadValue:
        raise ValueError(
            pgettext("file", "is no id of a client; allowed: a whole number from 1")
        ) from None


def _day(value: str) -> str:
    if not value.strip():
        return ""
    day, _t, time = value.partition("T")
    try:
        if time.strip("0:"):
            raise ValueError
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise ValueError(pgettext("file", "is not a day; allowed: such as 2026-12-31")) from None


def _note(value: str) -> str:
    if len(value) > LONGEST_NOTE:
        text = pgettext("file", "is longer than %(most)s characters")
        raise ValueError(text % {"most": LONGEST_NOTE})
    return value


# A file needs the client or its e-mail.
COLUMNS = {
    "client": Column("bigint", or_empty(_client), required=False),
    "email": Column("text", or_empty(fields.email), required=False),
    "told_on": Column("timestamptz", _day),  # a day, written as dates are
    "note": Column("text", _note, required=False),
    # A list that went out says of which instant its clients are told.
    "from_when": Column("timestamptz", or_empty(moment), required=False),
}
OUT = (
    ("client", Type.TEXT),
    ("client_name", Type.TEXT),
    ("email", Type.TEXT),
    ("rows", Type.INTEGER),
    ("old_total", Type.AMOUNT),
    ("new_total", Type.AMOUNT),
    ("currency", Type.TEXT),
    ("from_when", Type.INSTANT),
    ("why", Type.TEXT),
    ("told_on", Type.DAY),
    ("told_by", Type.TEXT),
    ("way", Type.TEXT),
    ("note", Type.TEXT),
)


# The columns of the list that say nothing when it comes back.
LEFT_OUT = {name: "" for name, _type in OUT if name not in COLUMNS}


def reading_of(given: Mapping[str, Any]) -> Reading:
    """The reading of a file with marks, as `Reading.of`; raises BadReading."""
    of_ours = headings_of(name for name, _type in OUT)
    words = {heading: LEFT_OUT.get(name, name) for heading, name in of_ours.items()}
    columns = LEFT_OUT | words | dict(given.get("columns") or {})
    return Reading.of({**given, "columns": columns}, COLUMNS)


def table_of(change: PriceChange, which: Which = ANY, why: str = "") -> Table:
    """The clients who are to be told of a change, `why` in each row. A query for each thousand, and
    as `to_tell`, which may raise ChangeError."""
    listed: Any = to_tell(change, which)

    def found() -> Iterator[tuple[Value, ...]]:
        after = 0
        while chunk := list(listed.filter(client_id__gt=after)[:CHUNK]):
            for row in chunk:
                yield (
                    row.client_id, row.client_name, row.email, row.rows, row.old_total,
                    row.new_total, settings.CURRENCY, change.effective_at, why, row.told_on,
                    row.told_by, row.way, row.note,
                )  # fmt: skip
            after = chunk[-1].client_id

    columns = tuple(SheetColumn(*each) for each in OUT)
    name = f"Clients to tell of change {change.pk}"
    said = {"price change": str(change.pk), **({"list": which} if which else {})}
    return Table(name, columns, found(), between(), said, words={"way": dict(Told.Way.choices)})


def marks_of(change: PriceChange, file: BinaryIO, reading: Reading) -> list[Mark]:
    """The marks for `tell` that a file has: a line for each client who was told.

    `reading` is made by `reading_of`. Raises BadBook with all lines that are wrong.
    As `to_tell`, and two queries for each thousand lines.
    """
    to_tell(change)  # makes the list, if there is none
    return _Marks(change, file, reading).marks


class _Marks:
    def __init__(self, change: PriceChange, file: BinaryIO, reading: Reading) -> None:
        self.change = change
        self.table = open_table(file, reading)
        self.problems = BadBook()
        self.problems.about(self.table.problems)
        self.at = change.effective_at
        self.today = book_clock().astimezone(zone_of(change.effective_zone)).date()
        self.marks: list[Mark] = []
        self.line_of: dict[int, int] = {}
        if not {"client", "email"} & set(self.table.columns):
            reason = pgettext("file", "has no column of clients; name one client, or email")
            self.problems.add(Problem(1, "", "", reason, code="bad_header"))
            self.problems.raise_if_any()
        for piece in self.table.pieces():
            self._take(
                [dict(zip(("line", *self.table.columns), row, strict=True)) for row in piece]
            )
        self.table.problems.raise_if_any()
        self.problems.raise_if_any()

    def _take(self, rows: list[dict[str, str]]) -> None:
        rows = [row for row in rows if row["told_on"]]
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            by_email = self._by_email({row["email"] for row in chunk if self._by_its_email(row)})
            named = [self._named(row, by_email) for row in chunk]
            listed = ToTell.objects.filter(change_id=self.change.pk)
            ids = [client for client in named if isinstance(client, int)]
            there = set(listed.filter(client_id__in=ids).values_list("client_id", flat=True))
            for row, client in zip(chunk, named, strict=True):
                if isinstance(client, int):
                    self._mark(row, client, client in there)
                else:
                    self._refuse(row, "email" if row.get("email") else "client", client)

    @staticmethod
    def _by_its_email(row: dict[str, str]) -> bool:
        return not row.get("client") and bool(row.get("email"))

    @staticmethod
    def _by_email(emails: set[str]) -> dict[str, list[int]]:
        """The clients with these e-mails, in any case, by the e-mail in capitals. One query."""
        found: dict[str, list[int]] = {}
        if emails:
            capitals = Client.objects.annotate(capitals=Upper("user__email"))
            given = capitals.filter(capitals__in=[email.upper() for email in emails])
            for pk, email in given.values_list("pk", "capitals"):
                found.setdefault(email, []).append(pk)
        return found

    @staticmethod
    def _named(row: dict[str, str], by_email: dict[str, list[int]]) -> int | str:
        """The client of a line, or why it names none."""
        if row.get("client"):
            return int(row["client"])
        if not row.get("email"):
            return pgettext("file", "is empty; say which client was told")
        found = by_email.get(row["email"].upper(), [])
        if len(found) == 1:
            return found[0]
        if found:
            return pgettext("file", "belongs to several clients; give the id in a column client")
        return pgettext("file", "belongs to no client")

    def _mark(self, row: dict[str, str], client: int, is_listed: bool) -> None:
        column = "client" if row.get("client") else "email"
        day = date.fromisoformat(row["told_on"])
        if not is_listed:
            reason = pgettext("file", "is no client whose price the change moves; leave it out")
            self._refuse(row, column, reason)
        elif client in self.line_of:
            reason = pgettext("file", "is there twice, in line %(line)s too; keep one of them")
            self._refuse(row, column, reason % {"line": self.line_of[client]})
        elif row.get("from_when") and not self._is_instant(row["from_when"]):
            reason = pgettext("file", "is the instant of another list; this one is of %(at)s")
            self._refuse(row, "from_when", reason % {"at": instant(self.at)})
        elif not FIRST_DAY.date() <= day <= self.today:
            reason = pgettext("file", "is no day by now; allowed: up to %(today)s")
            self._refuse(row, "told_on", reason % {"today": self.today.isoformat()})
        else:
            self.marks.append((client, day, row.get("note", "")))
        self.line_of.setdefault(client, int(row["line"]))

    def _is_instant(self, value: str) -> bool:
        """Whether it is the instant of the change; spreadsheets leave its seconds out of a CSV."""
        assert self.at is not None
        return datetime.fromisoformat(value) in (self.at, self.at.replace(second=0, microsecond=0))

    def _refuse(self, row: dict[str, str], column: str, reason: str) -> None:
        self.problems.add(Problem(int(row["line"]), column, row.get(column, ""), reason))
