"""Rows of a text: our own CSV as it comes, and what spreadsheets and other programs write.

A row is taken as it comes as long as its values are certain. At the first value that its column has
to decide, the rest of the file goes into a temporary file, is read once for what it decides, and
once for its rows: in constant memory.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, NoReturn, TextIO

from django.utils.translation import pgettext

from pricebook.kit.figures import grouped
from services.transfer.csv_file import END, LINE_LIMIT, BadBook, Problem
from services.transfer.files import limits
from services.transfer.files.header import Header
from services.transfer.files.reading import Reading
from services.transfer.files.values import TEXT, Asked, Refused, Undecided, Values
from services.transfer.text_formulas import text_of

UTF_8 = "utf-8"
CANDIDATES = ("cp1251", "cp1252")  # encodings that a file may be in which is not UTF-8
CACHED = 4_096  # values of a column: most come many times, as names, prices and dates do
Row = list[str | int]


class TextTable:
    """A text being read: `columns` after `open`, then `rows` once.

    `line` is the last line that was read. An error in a single value goes into `problems`, and
    reading goes on; after an error that makes the rest unreadable it stops and raises `BadBook`.
    """

    close: Callable[[], object] = staticmethod(lambda: None)  # after the last row

    def __init__(
        self,
        lines: Iterable[str],
        rest: Iterable[bytes],
        reading: Reading,
        understood: dict[str, str],
        skipped_lines: int = 0,
        *,
        for_spreadsheets: bool = False,
    ) -> None:
        """`lines` are UTF-8 with `surrogateescape`, or certain.

        `for_spreadsheets` says that the file was written for one, which takes `="00123"` for the
        text 00123.

        `rest` are the bytes of the file, or those after the lines, to try encodings on.
        """
        self.problems = BadBook()
        self.understood = self.problems.understood = understood
        self._rest = rest
        self._skipped_lines = skipped_lines
        self._for_spreadsheets = for_spreadsheets
        self._reader = csv.reader(lines, delimiter=understood["delimiter"], strict=True)
        line, cells = next(self._records(), (1, []))
        for cell in cells:
            self._ask_encoding(line, "", cell)
        self._header = Header(cells, reading, line)
        self._header.add_problems(self.problems, [])
        self.problems.raise_if_any()
        self.columns = self._header.columns
        understood |= self._header.understood()
        self._values = [Values(column, reading) for column in self.columns]
        # Each value of a row as it stands: then nothing has to be chosen.
        self._takes_all = self._header.positions == list(range(len(cells)))
        self._asked: set[str] = set()

    @property
    def line(self) -> int:
        return self._skipped_lines + self._reader.line_num

    def rows(self) -> Iterator[Row]:
        """The good rows: the line that a row begins on, and the values in the file's order."""
        parsers = [
            lru_cache(CACHED)(each.strict if each.kind == TEXT else each.parse_or_wait)
            for each in self._values
        ]
        records = self._chosen(self._rows_up_to_the_end())
        try:
            for line, values in records:
                try:
                    row = [parse(value) for parse, value in zip(parsers, values, strict=True)]
                except ValueError as error:
                    waits = isinstance(error, Undecided) or self._waits(values)
                else:
                    yield [line, *row]
                    continue
                if waits:
                    yield from self._decided(line, values, records)
                else:
                    self._explain(line, values)
            self._say_ways()
        finally:
            self.close()

    def _decided(
        self, line: int, values: list[str], records: Iterator[tuple[int, list[str]]]
    ) -> Iterator[Row]:
        """This row and all that follow, after each column has seen all of its values."""
        see = [lru_cache(CACHED)(each.see) for each in self._values]
        with SpooledTemporaryFile(limits.IN_MEMORY, "w+", encoding="ascii") as spool:
            for record in chain([(line, values)], records):
                if len(record[1]) == len(see):
                    for each, value in zip(see, record[1], strict=True):
                        each(value)
                spool.write(json.dumps(record))
                spool.write("\n")
            spool.seek(0)
            parsers = [lru_cache(CACHED)(each.parse) for each in self._values]
            for line, values in map(json.loads, spool):
                try:
                    row = [parse(value) for parse, value in zip(parsers, values, strict=True)]
                except ValueError:
                    self._explain(line, values)
                else:
                    yield [line, *row]

    def _waits(self, values: list[str]) -> bool:
        """Whether a bad row has, behind its bad value, one that its column has to decide."""
        for column, value in zip(self._values, values, strict=False):
            try:
                column.parse_or_wait(value)
            except Undecided:
                return True
            except ValueError:
                continue
        return False

    def _chosen(self, records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
        """The values of our columns, in their order; a row of another length stays as it is."""
        if self._takes_all:
            return records
        return self._of_columns(records)

    def _of_columns(
        self, records: Iterator[tuple[int, list[str]]]
    ) -> Iterator[tuple[int, list[str]]]:
        width, positions = len(self._header.cells), self._header.positions
        for line, values in records:
            if any(values[width:]) or len(values) < width:
                self._count(line, values)
                continue
            for position in self._header.nameless:
                if values[position].strip():
                    self._add(
                        line,
                        "",
                        values[position],
                        pgettext("file", "stands in a column without a name"),
                    )
            yield line, [values[position] for position in positions]

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Each record with the line that it begins on: a quoted value may span several."""
        reader, first = self._reader, self._skipped_lines + 1
        while True:
            line = first + reader.line_num
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._stop(
                    "",
                    pgettext("file", "is not CSV from here on (%(error)s); is a quote missing?")
                    % {"error": error},
                    line,
                )
            except LineTooLong:
                reason = pgettext(
                    "file", "is longer than %(line_limit)s bytes; is a line break missing?"
                ) % {"line_limit": grouped(LINE_LIMIT)}
                self._stop("", reason, self.line + 1)
            except UnicodeDecodeError as error:
                encoding = self.understood["encoding"]
                reason = pgettext(
                    "file", "is not in the encoding %(encoding)s (%(reason)s); say which one it is"
                ) % {"encoding": encoding, "reason": error.reason}
                self.problems.add(Problem(0, "", "", reason, "", "wrong_encoding"))
                raise self.problems from None
            if values:
                yield line, self._as_shown(values) if self._for_spreadsheets else values

    def _as_shown(self, values: list[str]) -> list[str]:
        """The values as a spreadsheet shows them: a formula that is a text is this text."""
        if not any(value.startswith('="') for value in values):
            return values
        texts = [text_of(value) for value in values]
        if texts != values:
            self.understood["formulas"] = "as their texts"
        return texts

    def _rows_up_to_the_end(self) -> Iterator[tuple[int, list[str]]]:
        """Records, up to the line that says how many there are, if there is one."""
        count = 0
        for line, values in self._records():
            if values[0] and values[0][0] != "#":
                count += 1
                yield line, values
            elif not any(values):
                continue  # what a spreadsheet writes for an empty row
            elif not values[0] or any(values[1:]):
                count += 1
                yield line, values
            else:
                self._end(line, values[0], count)
                for beyond, more in self._records():
                    if any(more):
                        self._stop(
                            more[0],
                            pgettext("file", "comes after the last line; cut the file there"),
                            beyond,
                        )

    def _end(self, line: int, text: str, count: int) -> None:
        end = END.fullmatch(text)
        if end is None:
            self._stop(
                text,
                pgettext("file", "is no subscription: the file is not complete; ask for it again"),
                line,
            )
        if int(end[1]) != count:
            self._stop(
                text,
                pgettext("file", "but %(count)s lines came before it; ask for the file again")
                % {"count": grouped(count)},
                line,
            )

    def _explain(self, line: int, values: list[str]) -> None:
        if len(values) != len(self.columns):
            self._count(line, values)
            return
        for column, value in zip(self._values, values, strict=True):
            self._ask_encoding(line, column.column, value)
            try:
                column.parse(value)
            except Asked as asked:
                if column.column not in self._asked:  # one question a column, and not one a row
                    self._asked.add(column.column)
                    self._add(line, column.column, value, str(asked), asked.code, asked.answers)
            except Refused as refused:
                self._add(line, column.column, value, str(refused), refused.code)
            except ValueError as error:
                self._add(line, column.column, value, str(error))

    def _count(self, line: int, values: list[str]) -> None:
        reason = pgettext("file", "but the header names %(cells)s columns") % {
            "cells": len(self._header.cells)
        }
        self._add(line, "", pgettext("file", "%(values)s values") % {"values": len(values)}, reason)

    def _ask_encoding(self, line: int, column: str, value: str) -> None:
        """Stop with a question if a value has bytes that are not UTF-8."""
        try:
            value.encode()
            return
        except UnicodeEncodeError as error:
            byte = ord(value[error.start]) - 0xDC00
        raw = value.encode(errors="surrogateescape")
        texts: dict[str, str] = {}
        decoders = {name: codecs.getincrementaldecoder(name)() for name in CANDIDATES}
        for piece in chain([raw], self._rest):
            for name in list(decoders):
                try:
                    text = decoders[name].decode(piece)
                except UnicodeDecodeError:
                    del decoders[name]
                    texts.pop(name, None)
                else:
                    texts.setdefault(name, text)
        said = pgettext("file", "save the file as UTF-8")
        if texts:
            either = [
                pgettext("encoding", "%(text)s in %(encoding)s")
                % {"text": repr(text[:60]), "encoding": name}
                for name, text in texts.items()
            ]
            said = pgettext(
                "file",
                "save the file as UTF-8, or say which encoding it is in: the value is %(either)s"
                " (import_book: --encoding %(names)s)",
            ) % {
                "either": pgettext("file", " and ").join(either),
                "names": pgettext("file", " or ").join(texts),
            }
        self._stop(
            raw.decode("ascii", errors="replace"),
            pgettext("file", "is not UTF-8 (byte 0x%(byte)s); %(said)s")
            % {"byte": format(byte, "02X"), "said": said},
            line,
            column,
            "encoding_unclear",
            tuple(f"encoding={name}" for name in texts),
        )

    def _say_ways(self) -> None:
        """Say how numbers and dates were read, column by column if they differ."""
        for option in ("decimal", "dates"):
            ways = {each.column: each.way for each in self._values if each.option == option}
            ways = {column: way for column, way in ways.items() if way}
            if len(set(ways.values())) == 1:
                self.understood[option] = next(iter(ways.values()))
            elif ways:
                self.understood[option] = ", ".join(f"{way} in {col}" for col, way in ways.items())

    def _add(
        self,
        line: int,
        column: str,
        value: str,
        reason: str,
        code: str = "bad_value",
        answers: tuple[str, ...] = (),
    ) -> None:
        self.problems.add(Problem(line, column, value, reason, "", code, answers))

    def _stop(
        self,
        value: str,
        reason: str,
        line: int = 0,
        column: str = "",
        code: str = "not_csv",
        answers: tuple[str, ...] = (),
    ) -> NoReturn:
        self._add(line or self.line, column, value, reason, code, answers)
        raise self.problems


class LineTooLong(Exception):
    pass


def utf8_lines(file: BinaryIO, first: bytes = b"") -> Iterator[str]:
    """The lines of a file as it comes; bytes that are not UTF-8 become surrogates.

    `first` is the line that was read from it already. LineTooLong.
    """
    raw = first.removeprefix(codecs.BOM_UTF8) or file.readline(LINE_LIMIT + 1)
    while raw:
        if len(raw) > LINE_LIMIT:
            raise LineTooLong
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            yield raw.decode(errors="surrogateescape")
        raw = file.readline(LINE_LIMIT + 1)


def decoded_lines(text: TextIO, skipped_lines: int = 0) -> Iterator[str]:
    """The lines of a text in another encoding. UnicodeDecodeError, LineTooLong."""
    for _ in range(skipped_lines):
        text.readline(LINE_LIMIT)
    while line := text.readline(LINE_LIMIT + 1):
        if len(line) > LINE_LIMIT:
            raise LineTooLong
        yield line
