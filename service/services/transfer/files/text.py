"""Rows of a text: our own CSV as it comes, and what spreadsheets and other programs write.

A row is taken as it comes as long as its values are certain. At the first value that its column has
to decide, the rest of the file goes into a temporary file, is read once for what it decides, and
once for its rows: in constant memory.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from tempfile import SpooledTemporaryFile

from django.utils.translation import pgettext

from services.transfer.csv_file import BadBook, Problem
from services.transfer.files import limits
from services.transfer.files.header import Header
from services.transfer.files.lines import Lines
from services.transfer.files.pieces import Parser, Row, parser_of_texts, whole
from services.transfer.files.reading import Reading
from services.transfer.files.records import Record, Records, Stopped
from services.transfer.files.values import TEXT, Asked, Refused, Undecided, Values

UTF_8 = "utf-8"
CANDIDATES = ("cp1251", "cp1252")  # encodings that a file may be in which is not UTF-8


class TextTable:
    """A text being read: `columns` after `open`, then `pieces` once.

    `line` is the last line that was read. An error in a single value goes into `problems`, and
    reading goes on; after an error that makes the rest unreadable it stops and raises `BadBook`.
    """

    close: Callable[[], object] = staticmethod(lambda: None)  # after the last row

    def __init__(
        self,
        lines: Lines,
        reading: Reading,
        understood: dict[str, str],
        skipped_lines: int = 0,
        *,
        for_spreadsheets: bool = False,
    ) -> None:
        self.problems = BadBook()
        self.understood = self.problems.understood = understood
        self._lines = lines
        self._records = Records(lines, understood, skipped_lines, for_spreadsheets=for_spreadsheets)
        self._ahead: Sequence[Record] = ()  # read already, and behind the row that is looked at
        try:
            line, cells = self._records.header()
            for cell in cells:
                self._ask_encoding(line, "", cell)
        except Stopped as stopped:
            self.problems.add(stopped.problem)
            raise self.problems from None
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
        return self._records.line

    def pieces(self) -> Iterator[list[Row]]:
        """The good rows, many at once: the line that a row begins on, and its values in the file's
        order.
        """
        parsers = [
            parser_of_texts(each.strict if each.kind == TEXT else each.parse_or_wait, each.strict)
            for each in self._values
        ]
        pieces = self._records.pieces()
        try:
            for piece in pieces:
                if (rows := self._whole(parsers, piece)) is not None:
                    yield rows
                else:
                    yield from self._row_by_row(parsers, piece, pieces)
            self._say_ways()
        except Stopped as stopped:
            self.problems.add(stopped.problem)
            raise self.problems from None
        finally:
            self.close()

    def _whole(self, parsers: list[Parser], piece: list[Record]) -> list[Row] | None:
        """The rows of a piece, or None if a value or a row is none, for whatever reason."""
        columns = self._columns(piece)
        return None if columns is None else whole(parsers, [line for line, _ in piece], columns)

    def _columns(self, piece: list[Record]) -> Sequence[Sequence[str]] | None:
        """The values of our columns, or None if a row is none."""
        try:
            columns = list(zip(*(values for _, values in piece), strict=True))
        except ValueError:
            return None
        if self._takes_all or not columns:
            return columns
        nameless = (value for n in self._header.nameless for value in columns[n : n + 1])
        if (
            len(columns) < len(self._header.cells)
            or any(map(any, columns[len(self._header.cells) :]))
            or any(map(str.strip, chain.from_iterable(nameless)))
        ):
            return None
        return [columns[position] for position in self._header.positions]

    def _row_by_row(
        self, parsers: list[Parser], piece: list[Record], pieces: Iterator[list[Record]] | None
    ) -> Iterator[list[Row]]:
        """A piece with a value that is bad, or that its column has to decide.

        Then this piece is the last, and `pieces` that follow go with it; None: all has decided.
        """
        rows: list[Row] = []
        for at, (line, values) in enumerate(piece):
            self._ahead = piece[at + 1 :]
            try:
                chosen = zip(parsers, self._chosen(values), strict=True)
                row = [parse(value) for (parse, _), value in chosen]
            except ValueError as error:
                if pieces and (isinstance(error, Undecided) or self._waits(values)):
                    yield rows
                    yield from self._decided(chain([piece[at:]], pieces))
                    return
                self._explain(line, values)
            else:
                if self._strays(values):
                    self._explain(line, values)
                rows.append((str(line), *row))
        self._ahead = ()
        yield rows

    def _decided(self, pieces: Iterator[list[Record]]) -> Iterator[list[Row]]:
        """All rows that follow, after each column has seen all of its values."""
        see = {
            n: parser_of_texts(each.see)[0] for n, each in enumerate(self._values) if each.option
        }
        self._ahead = ()
        with SpooledTemporaryFile(limits.IN_MEMORY, "w+", encoding="ascii") as spool:
            for piece in pieces:
                columns = self._columns(piece)
                if columns is None:
                    rows_of_ours = filter(None, (self._chosen(values) for _, values in piece))
                    columns = list(zip(*rows_of_ours, strict=True))
                for n, values in enumerate(columns):
                    for value in set(values) if n in see else ():
                        see[n](value)
                spool.write(json.dumps(piece))
                spool.write("\n")
            spool.seek(0)
            parsers = [parser_of_texts(each.parse, each.strict) for each in self._values]
            for piece in map(json.loads, spool):
                if (rows := self._whole(parsers, piece)) is not None:
                    yield rows
                else:
                    yield from self._row_by_row(parsers, piece, None)

    def _chosen(self, values: list[str]) -> list[str]:
        """The values of our columns, in their order; none of a row of another length."""
        width = len(self._header.cells)
        if any(values[width:]) or len(values) < width:
            return []
        return [values[position] for position in self._header.positions]

    def _strays(self, values: list[str]) -> list[str]:
        """The values that stand in columns without a name."""
        return [values[n] for n in self._header.nameless if values[n].strip()]

    def _waits(self, values: list[str]) -> bool:
        """Whether a bad row has, behind its bad value, one that its column has to decide."""
        for column, value in zip(self._values, self._chosen(values), strict=False):
            try:
                column.parse_or_wait(value)
            except Undecided:
                return True
            except ValueError:
                continue
        return False

    def _explain(self, line: int, values: list[str]) -> None:
        if not (chosen := self._chosen(values)):
            reason = pgettext("file", "but the header names %(cells)s columns") % {
                "cells": len(self._header.cells)
            }
            said = pgettext("file", "%(values)s values") % {"values": len(values)}
            self._add(line, "", said, reason)
            return
        for stray in self._strays(values):
            self._add(line, "", stray, pgettext("file", "stands in a column without a name"))
        for column, value in zip(self._values, chosen, strict=True):
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
        ahead = ("".join(values).encode(errors="surrogateescape") for _, values in self._ahead)
        for piece in chain([raw], ahead, self._lines.rest()):
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
        raise Stopped(
            Problem(
                line,
                column,
                raw.decode("ascii", errors="replace"),
                pgettext("file", "is not UTF-8 (byte 0x%(byte)s); %(said)s")
                % {"byte": format(byte, "02X"), "said": said},
                "",
                "encoding_unclear",
                tuple(f"encoding={name}" for name in texts),
            )
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
