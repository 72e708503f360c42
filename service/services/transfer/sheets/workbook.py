"""A table as a workbook (XLSX), written by XlsxWriter row by row at constant memory.

The first sheet has the table, with nothing below it; the sheet "About" says what it is of, and how
many rows and how much there must be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from decimal import Decimal
from html import escape
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import override
from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from pricebook.kit.currency import minor_unit
from services.models import book_clock
from services.transfer.sheets.cells import Cells, iso
from services.transfer.sheets.table import Counted, Limits, Table, Type, Written

DATE = "yyyy-mm-dd hh:mm:ss"
WIDTHS = {  # in characters
    Type.TEXT: 18,
    Type.INTEGER: 10,
    Type.AMOUNT: 15,
    Type.INSTANT: 20,
    Type.DAY: 12,
    Type.RECORDED: 27,
    Type.FLAG: 9,
}
WIDEST = {"company_name": 30, "email": 30, "full_address": 40, "comment": 30, "detail": 40}
# Texts stay texts, whatever they begin with.
OPTIONS = {
    "constant_memory": True,
    "strings_to_numbers": False,
    "strings_to_formulas": False,
    "strings_to_urls": False,
}


def write(table: Table, file: Any, limits: Limits) -> Written:
    """Write the table as XLSX; raises TooManyRows or ReadTimedOut before a byte is written.

    `file` is binary. XlsxWriter keeps the rows in a temporary folder until it packs them.
    """
    with _workbook(file) as book:
        written = _written(book, table, limits)
        with _language_of(table):
            _about(book, said_of(table, written))
    return written


def write_all(tables: Iterable[Table], file: Any, limits: Limits) -> list[Written]:
    """Write each table to a sheet of its own, as `write` does; "About" has the figures of all."""
    found: list[Written] = []
    with _workbook(file) as book:
        said: dict[str, str | int | Decimal] = {}
        for table in tables:
            written = _written(book, table, limits)
            found.append(written)
            with _language_of(table):
                of = {"table": table.title or table.name}
                said[_("Rows of %(table)s") % of] = written.rows
                for column, amount in _sums(table, written):
                    name = _("Sum of %(column)s of %(table)s") % {**of, "column": column}
                    said[name] = f"{amount:f}"
                said |= table.more()
        with _language_of(table):
            _about(
                book,
                {
                    **said,
                    _("Written at"): iso(book_clock()),
                    _("Currency"): settings.CURRENCY,
                    _("Time zone of dates"): settings.TIME_ZONE,
                },
            )
    return found


@contextmanager
def _workbook(file: Any) -> Iterator[Workbook]:
    with TemporaryDirectory(prefix="pricebook-") as folder:
        book = Workbook(file, {**OPTIONS, "tmpdir": folder})
        try:
            yield book
        except BaseException:
            for each in book.worksheets():
                each._opt_close()  # nothing else gives a workbook up
            raise
        book.close()


def _written(book: Workbook, table: Table, limits: Limits) -> Written:
    rows, cells = Counted(table, limits), Cells()
    _Sheet(book, table).write(rows, cells)
    return rows.written(cells.as_text)


class _Sheet:
    """The sheet of the table's rows."""

    def __init__(self, book: Workbook, table: Table) -> None:
        self.sheet: Worksheet = book.add_worksheet(table.title or table.name)
        self.table = table
        money = f"0.{'0' * minor_unit()}" if minor_unit() else "0"
        self.date = book.add_format({"num_format": DATE})
        self.formats = {
            Type.AMOUNT: book.add_format({"num_format": money}),
            Type.INTEGER: book.add_format({"num_format": "0"}),
            Type.DAY: book.add_format({"num_format": "yyyy-mm-dd"}),
        }
        header = book.add_format({"bold": True, "bottom": 1})
        for n, column in enumerate(table.columns):
            self.sheet.set_column(n, n, WIDEST.get(column.name, WIDTHS[column.type]))
            self.sheet.write_string(0, n, column.heading, header)
        self.sheet.freeze_panes(1, 0)
        # Ids are texts of digits on purpose: Excel need not mark each of them.
        self.sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})

    def write(self, rows: Counted, cells: Cells) -> None:
        columns = [
            (cells.of(column.type), self.formats.get(column.type)) for column in self.table.columns
        ]
        for number, row in enumerate(rows, start=1):
            for n, ((cell_of, format), value) in enumerate(zip(columns, row, strict=True)):
                cell = cell_of(value)
                if cell is not None:
                    self._cell(number, n, cell, format)
        self.sheet.autofilter(0, 0, rows.rows, len(self.table.columns) - 1)

    def _cell(self, row: int, n: int, cell: Any, format: Format | None) -> None:
        if isinstance(cell, str):
            self.sheet.write_string(row, n, as_written(cell))
        elif isinstance(cell, bool):
            self.sheet.write_boolean(row, n, cell)
        elif isinstance(cell, datetime):
            self.sheet.write_datetime(row, n, cell, format or self.date)
        else:
            self.sheet.write_number(row, n, cell, format)


def as_written(text: str) -> str:
    """The text as XlsxWriter has to get it: one from <r> to </r> it would write as XML, unread."""
    if text.startswith("<r>") and text.endswith("</r>"):
        return f'<r><t xml:space="preserve">{escape(text, quote=False)}</t></r>'
    return text


def _about(book: Workbook, said: Mapping[str, str | int | Decimal]) -> None:
    sheet = book.add_worksheet(_("About"))
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 60)
    bold = book.add_format({"bold": True})
    for row, (name, value) in enumerate(said.items()):
        sheet.write_string(row, 0, name, bold)
        if isinstance(value, str):
            sheet.write_string(row, 1, as_written(value))
        else:
            sheet.write_number(row, 1, value)


def said_of(table: Table, written: Written) -> Mapping[str, str | int | Decimal]:
    """The lines of the sheet "About"; sums are texts, because they may have more than 15 digits."""
    filters = ", ".join(f"{name}={value}" for name, value in table.filters.items())
    moment = written.moment
    return {
        _("Of"): table.title or table.name,
        _("Filters"): filters or _("none: all of them"),
        **table.more(),
        _("Written at"): iso(book_clock()),
        _("Version of the book"): moment.version,
        _("Changed meanwhile"): _("yes: rows are of several moments")
        if moment.changed
        else _("no"),
        _("Currency"): settings.CURRENCY,
        _("Time zone of dates"): settings.TIME_ZONE,
        _("Rows"): written.rows,
        **{
            _("Sum of %(column)s") % {"column": column}: f"{amount:f}"
            for column, amount in _sums(table, written)
        },
        _("Cells that are text"): (
            _(
                "%(cells)s: their amounts or instants are exact, and a number or a date of a"
                " sheet would not be"
            )
            % {"cells": written.as_text}
            if written.as_text
            else _("none that should be numbers or dates")
        ),
    }


def _sums(table: Table, written: Written) -> Iterator[tuple[str, Decimal]]:
    """The sums of its columns by their headings."""
    for column in table.columns:
        if column.name in written.sums:
            yield column.heading, written.sums[column.name]


def _language_of(table: Table) -> AbstractContextManager[object]:
    """Programs read a table in English, whatever language their answers have."""
    return nullcontext() if table.is_in_words else override("en")
