"""One worksheet of a workbook: its rows, one after another, as cells by their column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from django.utils.translation import pgettext

from pricebook.kit.figures import grouped
from services.transfer.files import limits
from services.transfer.files.cells import Cell
from services.transfer.files.faults import refuse
from services.transfer.files.xml import events, local

ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no text has
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
        self.read = 0  # bytes of it, as pieces come

    def __iter__(self) -> Iterator[Row]:
        """The rows that have cells with something in them."""
        rows: list[Row] = []
        strings = self.strings
        columns: dict[str, int] = {}  # of letters
        cells: dict[int, Cell] = {}
        row_number = 0
        column = -1
        kind, style, formula = "n", "0", False
        value: str | None = None
        gathers = phonetic = False

        # A million cells: each look-up and each object of these two costs a tenth of a second.
        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal cells, row_number, column, kind, style, formula, value, gathers, phonetic
            if name == "c":
                place = attributes.get("r")
                if place is None:
                    column += 1
                else:
                    letters = place.rstrip("0123456789")
                    found = columns.get(letters)
                    if found is None:
                        found = columns[letters] = column_number(letters)
                    if found <= column:
                        raise ValueError(pgettext("file", "a cell twice, or before another one"))
                    column = found
                kind = attributes.get("t", "n")
                style = attributes.get("s", "0")
                formula, value = False, None
            elif name == "v":
                gathers, value = True, ""
            elif name == "row":
                number = int(attributes.get("r") or row_number + 1)
                if number <= row_number:
                    raise ValueError(pgettext("file", "a row twice, or before another one"))
                row_number = number
                if row_number > limits.ROWS:
                    refuse(
                        pgettext("file", "has more than %(rows)s rows; split it")
                        % {"rows": grouped(limits.ROWS)},
                        "too_large",
                    )
                cells, column = {}, -1
                self.hidden_rows += attributes.get("hidden") in ("1", "true")
            elif name == "f":
                formula = True
            elif name == "t":
                gathers, value = kind == "inlineStr" and not phonetic, value or ""
            elif name == "rPh":
                phonetic = True
            elif name == "mergeCell":
                self.merged.append(merged_range(attributes.get("ref", "")))
                if len(self.merged) > limits.MERGED:
                    refuse(pgettext("file", "has too many merged cells"), "too_large")
            elif ":" in name:
                start(local(name), attributes)

        def end(name: str) -> None:
            nonlocal gathers, phonetic
            if name == "v" or name == "t":
                gathers = False
            elif name == "c":
                if value is None and not formula:
                    return
                if kind == "n":
                    if value != "" or formula:
                        cells[column] = (kind, style, value, formula)
                    return
                text = value
                if kind == "s":
                    if not (value or "").isdecimal():
                        raise ValueError(pgettext("file", "no number of a text"))
                    text = strings[int(value or "")]
                elif value is not None and (kind == "inlineStr" or kind == "str"):
                    text = unescaped(value)
                if text != "" or formula:
                    of_kind = kind if kind in ("b", "e", "d") else "s"
                    cells[column] = (of_kind, style, text, formula)
            elif name == "row":
                if cells:
                    rows.append(Row(row_number, cells))
            elif name == "rPh":
                phonetic = False
            elif ":" in name:
                end(local(name))

        def text(piece: str) -> None:
            nonlocal value
            if gathers:
                value = value + piece if value else piece
                if len(value) > limits.CELL:
                    refuse(
                        pgettext("file", "has a cell of more than %(cell)s characters")
                        % {"cell": grouped(limits.CELL)},
                        "too_large",
                    )

        try:
            for read in events(self.source, start, end, text):
                self.read = read
                yield from rows
                rows.clear()
        except (ValueError, IndexError):
            refuse(
                pgettext("file", "is a damaged workbook (near row %(row_number)s); save it again")
                % {"row_number": row_number},
                "damaged",
            )


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
    if "_x" not in text:
        return text
    plain = ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return text if SURROGATE.search(plain) else plain
