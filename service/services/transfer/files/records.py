"""The records of a CSV text, many at once, up to the line that says how many there are."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from typing import NoReturn

from django.utils.translation import pgettext

from pricebook.kit.figures import grouped
from services.transfer.csv_file import END, LINE_LIMIT, Problem
from services.transfer.files.lines import Lines, LineTooLong
from services.transfer.files.pieces import MOST, ROWS
from services.transfer.text_formulas import text_of

STEP = 50  # records that are read before anybody looks how much it was
Record = tuple[int, list[str]]  # the line that it begins on, and its values


class Stopped(Exception):
    """The rest of a file can't be read; records that were read before it come first."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class Records:
    """`header`, and then `pieces` once. `line` is the last line that was read. Stopped.

    `for_spreadsheets` says that the file was written for one, which takes `="00123"` for the text
    00123.
    """

    def __init__(
        self,
        lines: Lines,
        understood: dict[str, str],
        skipped_lines: int = 0,
        *,
        for_spreadsheets: bool = False,
    ) -> None:
        self._lines = lines
        self._understood = understood
        self._skipped_lines = skipped_lines
        self._for_spreadsheets = for_spreadsheets
        self._reader = csv.reader(lines, delimiter=understood["delimiter"], strict=True)

    @property
    def line(self) -> int:
        return self._skipped_lines + self._reader.line_num

    def header(self) -> Record:
        """The first record; an empty one if there is none."""
        while True:
            line, values, stopped = self.line + 1, *self._read(1)
            if stopped:
                raise stopped
            if not values:
                return 1, []
            if values[0]:
                return line, self._shown(values[0])

    def pieces(self) -> Iterator[list[Record]]:
        """All that follow but blank rows; those before an error come before it."""
        count, ended = 0, False
        for piece in self._all():
            if not ended and _are_values(piece):
                count += len(piece)
                yield piece
                continue
            rows: list[Record] = []
            for line, values in piece:
                if not any(values):
                    continue  # what a spreadsheet writes for an empty row, too
                if ended:
                    _stop(line, values[0], "comes after the last line; cut the file there")
                if not values[0] or values[0][0] != "#" or any(values[1:]):
                    rows.append((line, values))
                    continue
                count += len(rows)
                yield rows
                rows, ended = [], True
                _end(line, values[0], count)
            count += len(rows)
            yield rows

    def _all(self) -> Iterator[list[Record]]:
        while True:
            line, taken = self.line + 1, self._lines.taken
            rows: list[list[str]] = []
            stopped, more = None, True
            while more and len(rows) < ROWS and self._lines.taken - taken <= MOST:
                read, stopped = self._read(min(STEP, ROWS - len(rows)))
                rows += read
                more = bool(read) and stopped is None
            records = self._numbered(line, rows, stopped)
            if self._for_spreadsheets:
                records = [(line, self._shown(values)) for line, values in records]
            yield records
            if stopped:
                raise stopped
            if not more:
                return

    def _read(self, number: int) -> tuple[list[list[str]], Stopped | None]:
        """So many records, or less at the end; and what stops it."""
        rows: list[list[str]] = []
        began = self.line
        try:
            rows.extend(islice(self._reader, number))
        except csv.Error as error:
            line = began + 1 + sum(map(self._lines_of, rows))
            reason = pgettext("file", "is not CSV from here on (%(error)s); is a quote missing?")
            reason %= {"error": error}
        except LineTooLong:
            line = self.line + 1
            reason = pgettext(
                "file", "is longer than %(line_limit)s bytes; is a line break missing?"
            )
            reason %= {"line_limit": grouped(LINE_LIMIT)}
        except UnicodeDecodeError as error:
            encoding = self._understood["encoding"]
            reason = pgettext(
                "file", "is not in the encoding %(encoding)s (%(reason)s); say which one it is"
            ) % {"encoding": encoding, "reason": error.reason}
            return rows, Stopped(Problem(0, "", "", reason, "", "wrong_encoding"))
        else:
            return rows, None
        return rows, Stopped(Problem(line, "", "", reason, "", "not_csv"))

    def _numbered(self, line: int, rows: list[list[str]], stopped: Stopped | None) -> list[Record]:
        if stopped is None and self.line + 1 - line == len(rows) and all(rows):
            return list(enumerate(rows, line))
        records = []
        for values in rows:
            if values:
                records.append((line, values))
            line += self._lines_of(values)
        return records

    def _lines_of(self, values: list[str]) -> int:
        """The lines of a record: a quoted value may span several."""
        return 1 + sum(value.count(self._lines.ends) for value in values)

    def _shown(self, values: list[str]) -> list[str]:
        """The values as a spreadsheet shows them: a formula that is a text is this text."""
        if not self._for_spreadsheets or not any(value.startswith('="') for value in values):
            return values
        texts = [text_of(value) for value in values]
        if texts != values:
            self._understood["formulas"] = "as their texts"
        return texts


def _are_values(piece: list[Record]) -> bool:
    """Whether each has a first value that says nothing of the file itself."""
    first = [values[0] for _, values in piece]
    return all(first) and "|#" not in f"|{'|'.join(first)}"


def _end(line: int, text: str, count: int) -> None:
    end = END.fullmatch(text)
    if end is None:
        said = pgettext("file", "is no subscription: the file is not complete; ask for it again")
        _stop(line, text, said)
    if int(end[1]) != count:
        said = pgettext("file", "but %(count)s lines came before it; ask for the file again")
        _stop(line, text, said % {"count": grouped(count)})


def _stop(line: int, value: str, reason: str) -> NoReturn:
    raise Stopped(Problem(line, "", value, reason, "", "not_csv"))
