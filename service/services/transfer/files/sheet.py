"""One worksheet of a workbook: its rows, one after another, as cells by their column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from services.transfer.files import limits
from services.transfer.files.cells import Cell
from services.transfer.files.faults import refuse
from services.transfer.files.xml import events, local

ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
RANGE = re.compile(r"\$?([A-Z]{1,3})\$?([0-9]{1,7}):\$?([A-Z]{1,3})\$?([0-9]{1,7})")


class Range(NamedTuple):
    """Cells that are merged: rows and columns (from 0), both ends included."""

    first_row: int
    last_row: int
    first_column: int
    last_column: int


class Row(NamedTuple):
    number: int  # from 1
    cells: dict[int, Cell]  # by column, from 0


class Sheet:
    """The rows of a worksheet: iterate once. `merged` and `hidden_rows` are known at the end."""

    def __init__(self, source: BinaryIO, strings: list[str]) -> None:
        self.source = source
        self.strings = strings
        self.merged: list[Range] = []
        self.hidden_rows = 0

    def __iter__(self) -> Iterator[Row]:
        """The rows that have cells with something in them."""
        rows: list[Row] = []
        strings = self.strings
        columns: dict[str, int] = {}  # of letters
        cells: dict[int, Cell] = {}
        row_number = 0
        column = -1
        kind, style, formula = "n", 0, False
        value: str | None = None
        texts: list[str] | None = None  # what is being gathered
        phonetic = False
        length = 0

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal cells, row_number, column, kind, style, formula, value, texts, length, phonetic
            if ":" in name:
                name = local(name)
            if name == "c":
                place = attributes.get("r")
                if place is None:
                    column += 1
                else:
                    letters = place.rstrip("0123456789")
                    found = columns.get(letters)
                    if found is None:
                        found = columns[letters] = column_number(letters)
                    column = found
                kind = attributes.get("t", "n")
                style = int(attributes.get("s", "0"))
                formula, value = False, None
            elif name == "v" or (name == "t" and kind == "inlineStr" and not phonetic):
                texts, length = [], 0
            elif name == "f":
                formula = True
            elif name == "row":
                number = attributes.get("r")
                row_number = int(number) if number else row_number + 1
                if row_number > limits.ROWS:
                    refuse(f"has more than {limits.ROWS:,} rows; split it", "too_large")
                cells, column = {}, -1
                self.hidden_rows += attributes.get("hidden") in ("1", "true")
            elif name == "rPh":
                phonetic = True
            elif name == "mergeCell":
                self.merged.append(merged_range(attributes.get("ref", "")))
                if len(self.merged) > limits.STRINGS:
                    refuse("has too many merged cells", "too_large")

        def end(name: str) -> None:
            nonlocal value, texts, phonetic
            if ":" in name:
                name = local(name)
            if name == "v" or (name == "t" and texts is not None):
                text = "".join(texts or ())
                value = text if name == "v" or value is None else value + text
                texts = None
            elif name == "c":
                if value is None and not formula:
                    return
                if kind == "s":
                    cell = Cell("s", style, strings[int(value or "0")], formula)
                elif kind == "inlineStr" or kind == "str":
                    cell = Cell("s", style, None if value is None else unescaped(value), formula)
                else:
                    cell = Cell(kind, style, value, formula)
                if cell.text != "" or formula:
                    cells[column] = cell
            elif name == "row":
                if cells:
                    rows.append(Row(row_number, cells))
            elif name == "rPh":
                phonetic = False

        def text(piece: str) -> None:
            nonlocal length
            if texts is not None:
                length += len(piece)
                if length > limits.CELL:
                    refuse(f"has a cell of more than {limits.CELL:,} characters", "too_large")
                texts.append(piece)

        try:
            for _ in events(self.source, start, end, text):
                yield from rows
                rows.clear()
        except (ValueError, IndexError):
            refuse(f"is a damaged workbook (near row {row_number}); save it again", "damaged")


def column_number(letters: str) -> int:
    """0 of A, 26 of AA. ValueError."""
    number = 0
    for letter in letters:
        if not "A" <= letter <= "Z":
            raise ValueError
        number = number * 26 + ord(letter) - 64
    if not 0 < number <= limits.COLUMNS:
        raise ValueError
    return number - 1


def column_letters(number: int) -> str:
    letters, number = "", number + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def merged_range(reference: str) -> Range:
    found = RANGE.fullmatch(reference)
    if found is None:
        raise ValueError
    return Range(int(found[2]), int(found[4]), column_number(found[1]), column_number(found[3]))


def unescaped(text: str) -> str:
    """A text without the escapes that a workbook has for characters that XML does not allow."""
    return ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text
