"""Rows of a workbook (.xlsx): the sheet that has our columns, its cells as they are shown."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import BinaryIO

from django.utils.translation import pgettext

from services import fields
from services.transfer.csv_file import BadBook, Problem
from services.transfer.files.cells import EMPTY, Cell, is_number, text_in, text_of
from services.transfer.files.dates import DAY_FIRST, DOTTED
from services.transfer.files.faults import refuse
from services.transfer.files.header import Header
from services.transfer.files.package import Package, SheetName
from services.transfer.files.pieces import CACHED, MOST, ROWS, Parser, Row, whole
from services.transfer.files.reading import Reading
from services.transfer.files.sheet import Range, Sheet, column_letters
from services.transfer.files.sheet import Row as SheetRow
from services.transfer.files.values import Refused, Values
from services.transfer.files.values import readings as readings_of

WAYS = {DOTTED: DAY_FIRST}  # that a sender can't say, and can say instead


def open_workbook(file: BinaryIO, reading: Reading) -> WorkbookTable:
    """The sheet that has our columns. Raises BadBook if none has, or if two have."""
    try:
        package = Package(file)
        strings = package.strings()
    except (KeyError, ValueError) as error:  # an attribute that is missing, or no number
        refuse(
            pgettext("file", "is a damaged workbook (%(error)s); save it again") % {"error": error},
            "damaged",
        )
    said = [sheet for sheet in package.sheets if sheet.name == reading.sheet]
    if reading.sheet is not None and not said:
        there = ", ".join(repr(sheet.name) for sheet in package.sheets[:20])
        refuse(
            pgettext("file", "has no sheet %(sheet)s; it has: %(there)s")
            % {"sheet": repr(reading.sheet), "there": there},
            "unknown_sheet",
        )
    sheets = said or package.sheets
    headers = [(sheet, _header(package, sheet, strings, reading)) for sheet in sheets]
    fitting = [(sheet, header) for sheet, header in headers if not header.missing]
    if len(fitting) > 1:
        names = [sheet.name for sheet, _ in fitting]
        shown = pgettext("file", " and ").join(_shown(sheet) for sheet, _ in fitting)
        refuse(
            pgettext(
                "file",
                "has our columns in the sheets %(shown)s: say which one is to be read, as"
                " sheet=%(names)s (import_book: --sheet %(names2)s)",
            )
            % {"shown": shown, "names": names[0], "names2": repr(names[0])},
            "sheet_unclear",
            tuple(f"sheet={name}" for name in names),
        )
    if fitting:
        [(sheet, header)] = fitting
    else:  # the one that has most of them is the one that is meant
        sheet, header = max(headers, key=lambda each: len(each[1].columns))
    return WorkbookTable(package, sheet, strings, header, reading)


def _shown(sheet: SheetName) -> str:
    return f"{sheet.name!r} (hidden)" if sheet.hidden else repr(sheet.name)


def _header(package: Package, sheet: SheetName, strings: list[str], reading: Reading) -> Header:
    """The first row of a sheet that has something in it."""
    with package.part(sheet.part) as source:
        for row in Sheet(source, strings):
            width = max(row.cells) + 1
            cells = [text_in(row.cells.get(column, EMPTY)) for column in range(width)]
            return Header(cells, reading, row.number)
    return Header([], reading)


class WorkbookTable:
    """A worksheet being read, as `TextTable` is: `line` is a row of the sheet."""

    close: Callable[[], object] = staticmethod(lambda: None)  # after the last row

    def __init__(
        self,
        package: Package,
        sheet: SheetName,
        strings: list[str],
        header: Header,
        reading: Reading,
    ) -> None:
        self.problems = BadBook(cell_of=self.cell_of)
        self.line = header.line
        self.understood = self.problems.understood = {"format": "xlsx", "sheet": sheet.name}
        self._package, self._sheet, self._strings = package, sheet, strings
        self._header = header
        places = [self._place(header.line, column) for column in range(len(header.cells))]
        header.add_problems(self.problems, places)
        self.problems.raise_if_any()
        self.columns = header.columns
        self.understood |= header.understood()
        self._values = [Values(column, reading) for column in self.columns]

    def cell_of(self, line: int, column: str) -> str:
        """`Sheet1!C7`, or the row alone."""
        if column not in self._header.columns:
            return f"{self._sheet_name()}!{line}:{line}"
        return self._place(line, self._header.positions[self._header.columns.index(column)])

    def _place(self, line: int, position: int) -> str:
        return f"{self._sheet_name()}!{column_letters(position)}{line}"

    def _sheet_name(self) -> str:
        name = self._sheet.name
        return name if name.isalnum() else "'" + name.replace("'", "''") + "'"

    def pieces(self) -> Iterator[list[Row]]:
        """The good rows, many at once: the row's number, and the values in the sheet's order of
        columns.
        """
        try:
            with self._package.part(self._sheet.part) as source:
                yield from self._pieces(Sheet(source, self._strings))
        finally:
            self.close()

    def _pieces(self, sheet: Sheet) -> Iterator[list[Row]]:
        parsers = [self._parser(values) for values in self._values]
        positions = self._header.positions
        known = {*range(len(self._header.cells))} - {*self._header.nameless}
        rows = iter(sheet)
        next(rows, None)  # the header
        while piece := self._piece(rows, sheet):
            columns = [[cells.get(n, EMPTY) for _, cells in piece] for n in positions]
            fits = all(cells.keys() <= known for _, cells in piece)
            if fits and (taken := whole(parsers, [row.number for row in piece], columns)):
                yield taken
                continue
            good: list[Row] = []
            for (number, cells), *values in zip(piece, *columns, strict=True):
                try:
                    row = [parse(value) for (parse, _), value in zip(parsers, values, strict=True)]
                except ValueError:
                    self._explain(number, cells)
                else:
                    good.append((str(number), *row))
                if not cells.keys() <= known:
                    self._explain_beyond(number, cells, known)
            yield good
        self._add_merged(sheet.merged)
        if sheet.hidden_rows:
            self.understood["hidden rows"] = f"{sheet.hidden_rows:,}, read as the others"
        for column in self._values:
            if column.option and column.said:
                self.understood[column.option] = column.said

    def _piece(self, rows: Iterator[SheetRow], sheet: Sheet) -> list[SheetRow]:
        piece: list[SheetRow] = []
        began = sheet.read
        for row in rows:
            piece.append(row)
            self.line = row.number
            if len(piece) == ROWS or sheet.read - began > MOST:
                break
        return piece

    def _parser(self, values: Values) -> Parser:
        are_plain = fields.are_plain(values.strict)

        def at_a_glance(cells: Sequence[Cell]) -> Sequence[str] | None:
            texts = [text or "" for kind, _, text, formula in cells if kind == "s" and not formula]
            return texts if len(texts) == len(cells) and are_plain(texts) else None

        return lru_cache(CACHED)(self._parse(values)), at_a_glance

    def _parse(self, values: Values) -> Callable[[Cell], str]:
        def parse(cell: Cell) -> str:
            text = text_of(cell, values.kind, self._package.styles)
            if values.said is not None and not is_number(cell):
                return values.parse(text)
            return values.strict(text)

        return parse

    def _explain(self, line: int, cells: dict[int, Cell]) -> None:
        if not any(text_in(cell).strip() or cell[3] for cell in cells.values()):
            return  # a row of blanks
        for values, position in zip(self._values, self._header.positions, strict=True):
            cell = cells.get(position, EMPTY)
            code = "bad_value"
            answers: tuple[str, ...] = ()
            try:
                self._parse(values)(cell)
                continue
            except Refused as refused:
                reason, code = str(refused), refused.code
            except ValueError as error:
                text = text_in(cell).strip()
                reason = str(error if is_number(cell) else values.unread(text, error))
                found = {} if is_number(cell) else readings_of(values.kind, text)
                if found and values.said is None:
                    code = "number_as_text"
                    meant = pgettext("file", " or ").join(dict.fromkeys(found.values()))
                    answers = tuple(f"{values.option}={WAYS.get(way, way)}" for way in found)
                    reason = pgettext(
                        "file",
                        "is a text, and no number or date: %(meant)s is meant? Make it"
                        " one in the spreadsheet, or say %(option)s (import_book:"
                        " --%(option)s)",
                    ) % {"meant": meant, "option": values.option}
            value = text_in(cell)
            place = self._place(line, position)
            self.problems.add(Problem(line, values.column, value, reason, place, code, answers))

    def _explain_beyond(self, line: int, cells: dict[int, Cell], known: set[int]) -> None:
        for position in sorted(cells.keys() - known):
            text = text_in(cells[position])
            if text.strip() or cells[position][3]:
                reason = pgettext("file", "stands in a column without a name; name it, or empty it")
                place = self._place(line, position)
                self.problems.add(Problem(line, "", text, reason, place, "bad_cell"))

    def _add_merged(self, merged: list[Range]) -> None:
        """A problem for each merge among our values: it hides what is under it.

        They come first, and instead of what the empty cells under them looked like.
        """
        positions = sorted(self._header.positions)
        found = []
        for area in merged:
            at = bisect_left(positions, area.first_column)
            ours = at < len(positions) and positions[at] <= area.last_column
            if ours and area.last_row >= self._header.line and _is_more_than_one(area):
                found.append((area, positions[at]))
        if not found:
            return
        others, count = self.problems.problems, self.problems.count
        self.problems.problems, self.problems.count = [], 0
        for area, position in found:
            last = f"{column_letters(area.last_column)}{area.last_row}"
            self.problems.add(
                Problem(
                    area.first_row,
                    self._header.columns[self._header.positions.index(position)],
                    "",
                    pgettext(
                        "file",
                        "is merged with others, up to %(last)s: whose value it is can't be"
                        " told; unmerge the cells and fill in each",
                    )
                    % {"last": last},
                    self._place(area.first_row, area.first_column),
                    "merged_cells",
                )
            )
        kept = [p for p in others if not any(a.first_row <= p.line <= a.last_row for a, _ in found)]
        for problem in kept:
            self.problems.add(problem)
        self.problems.count += count - len(others)


def _is_more_than_one(area: Range) -> bool:
    return area.first_row != area.last_row or area.first_column != area.last_column
