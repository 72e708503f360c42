"""A file as a table of a book's columns: what it is, by its bytes, and who reads it."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import weakref
import zlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Protocol, cast

from django.utils.translation import pgettext

from pricebook.kit.figures import grouped
from services.transfer.csv_file import LINE_LIMIT, BadBook
from services.transfer.files import faults, limits
from services.transfer.files.faults import refuse
from services.transfer.files.header import shown
from services.transfer.files.lines import DecodedLines, Utf8Lines
from services.transfer.files.pieces import Row
from services.transfer.files.reading import DELIMITERS, Reading
from services.transfer.files.text import UTF_8, TextTable
from services.transfer.files.workbook import open_workbook

HEAD = 65_536  # bytes that say what a file is
PIECE = 1 << 20
SEPARATOR = re.compile(r'"?sep=(?P<delimiter>.)"?(\r\n|\r|\n)', re.IGNORECASE)
MARKS = {codecs.BOM_UTF8: UTF_8, codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Table(Protocol):
    """Rows of a file in our notation, whatever it was written in.

    `columns` are ours, in the order of the file; `line` is the last one that was read; `problems`
    gathers errors of single values while `pieces` is read, once. `understood` says how it was read:
    format, encoding, delimiter, decimal, dates, sheet, columns; what the values decide is there
    when all rows are.
    """

    columns: list[str]
    problems: BadBook
    understood: dict[str, str]

    @property
    def line(self) -> int: ...

    def pieces(self) -> Iterator[list[Row]]: ...


def open_table(file: BinaryIO, reading: Reading = Reading()) -> Table:  # noqa: B008 - frozen
    """The table in a file: CSV in any dialect, a workbook (.xlsx), either of them in gzip.

    A file that begins as we write it is read as it comes; another one goes into a temporary file
    first. Raises BadBook if it is no table, can be read in two ways, or lacks columns: in one
    problem if it is about the whole file.
    """
    first = file.readline(LINE_LIMIT + 1)
    if reading.is_silent and _is_ours(first, reading):
        understood = {"format": "csv", "encoding": UTF_8, "delimiter": ","}
        for_spreadsheets = first.startswith(codecs.BOM_UTF8)
        lines = Utf8Lines(file, first)
        return TextTable(lines, reading, understood, for_spreadsheets=for_spreadsheets)
    spool = _spool()
    try:
        _copy(first, file, spool)
        head = _head(spool)
        if head.startswith(faults.GZIP):
            spool = _unpacked(spool)
            head = _head(spool)
            if head.startswith(faults.GZIP):
                refuse(pgettext("file", "is compressed twice with gzip; unpack it once"))
        faults.refuse_what_is_no_table(head, spool)
        is_archive = head.startswith(faults.ZIP)
        table = open_workbook(spool, reading) if is_archive else _open_text(spool, head, reading)
        table.close = weakref.finalize(table, spool.close)
        return table
    except BaseException:
        spool.close()
        raise


def _is_ours(first: bytes, reading: Reading) -> bool:
    """Whether a first line is a header as the export writes it, of our columns in any order."""
    try:
        names = first.removeprefix(codecs.BOM_UTF8).decode("ascii").rstrip("\r\n").split(",")
    except UnicodeDecodeError:
        return False
    return len(names) > 1 and all(name in reading.known for name in names)


def _copy(first: bytes, file: BinaryIO, spool: BinaryIO) -> None:
    piece, size = first, 0
    while piece:
        size += len(piece)
        if size > limits.UNPACKED:
            refuse(
                pgettext("file", "is larger than %(unpacked)s bytes; split it")
                % {"unpacked": grouped(limits.UNPACKED)},
                "too_large",
            )
        spool.write(piece)
        piece = file.read(PIECE)


def _spool() -> BinaryIO:
    return cast(BinaryIO, SpooledTemporaryFile(limits.IN_MEMORY))


def _head(spool: BinaryIO) -> bytes:
    spool.seek(0)
    head = spool.read(HEAD)
    spool.seek(0)
    return head


def _unpacked(packed: BinaryIO) -> BinaryIO:
    spool = _spool()
    try:
        with packed, gzip.GzipFile(fileobj=packed, mode="rb") as unpacked:
            _copy(unpacked.read(PIECE), cast(BinaryIO, unpacked), spool)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        spool.close()
        text = pgettext("file", "is damaged (%(error)s); send it again")
        refuse(text % {"error": error}, "damaged")
    except BaseException:
        spool.close()
        raise
    return spool


def _open_text(spool: BinaryIO, head: bytes, reading: Reading) -> TextTable:
    encoding = _encoding(head, reading)
    mark = next((mark for mark in MARKS if head.startswith(mark)), b"")
    if encoding == UTF_8 and b"\0" in head and not reading.encoding:
        refuse(pgettext("file", "is no text and no workbook; %(save)s") % {"save": faults.SAVE})
    if not head[len(mark) :].strip(b"\0\r\n\t ,;|"):
        refuse(
            pgettext("file", "is empty; the first line names: %(known)s")
            % {"known": shown(reading.known)},
            "empty",
        )
    newline = "\r" if b"\r" in head and b"\n" not in head else "\n"  # old Macs'
    errors = "surrogateescape" if encoding == UTF_8 else "strict"
    if encoding.startswith("cp") and _is_utf8(spool):
        reason = pgettext(
            "file",
            "is UTF-8, and encoding=%(encoding)s was said; leave that out, or say encoding=utf-8",
        )
        refuse(reason % {"encoding": encoding}, "wrong_encoding", ("encoding=utf-8",))
    start = head[len(mark) :].decode(encoding, errors="replace")
    skipped_lines, delimiter = 0, reading.delimiter
    if separator := SEPARATOR.match(start):
        skipped_lines, start = 1, start[separator.end() :]
        delimiter = delimiter or separator["delimiter"]
    delimiter = delimiter or _delimiter(start, reading)
    spool.seek(len(mark))
    text = io.TextIOWrapper(spool, encoding, errors, newline)
    name = "utf-16" if encoding.startswith("utf-16") else encoding
    understood = {"format": "csv", "encoding": name, "delimiter": delimiter}
    return TextTable(
        DecodedLines(spool, text, newline, skipped_lines),
        reading,
        understood,
        skipped_lines,
        # Ours for programs has commas and neither a mark nor such a line, and its texts are bare.
        for_spreadsheets=bool(mark or separator or delimiter != ","),
    )


def _encoding(head: bytes, reading: Reading) -> str:
    """The encoding that a mark says, or zeros beside ASCII, or the sender; else UTF-8."""
    for mark, marked in MARKS.items():
        if head.startswith(mark):
            if reading.encoding not in (None, marked):
                refuse(
                    pgettext(
                        "file",
                        "begins with the mark of %(marked)s, and encoding=%(encoding)s was"
                        " said; leave that out",
                    )
                    % {"marked": marked, "encoding": reading.encoding},
                    "wrong_encoding",
                    (f"encoding={marked}",),
                )
            return {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(
                mark, UTF_8
            )
    if reading.encoding in (None, "utf-16"):
        even, odd = head[0:400:2], head[1:400:2]
        if odd.count(0) > len(odd) * 0.4 and even.count(0) < len(even) * 0.1:
            return "utf-16-le"
        if even.count(0) > len(even) * 0.4 and odd.count(0) < len(odd) * 0.1:
            return "utf-16-be"
    if reading.encoding == "utf-16":
        refuse(
            pgettext(
                "file",
                "is not UTF-16, which encoding=utf-16 says; leave that out, or say what it is",
            ),
            "wrong_encoding",
        )
    return reading.encoding or UTF_8


def _is_utf8(spool: BinaryIO) -> bool:
    """Whether all of it is UTF-8, and more than ASCII: another encoding does not look like that."""
    decoder, more = codecs.getincrementaldecoder(UTF_8)(), False
    spool.seek(0)
    try:
        while piece := spool.read(PIECE):
            more = more or not piece.isascii()
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return more


def _delimiter(head: str, reading: Reading) -> str:
    """The delimiter that makes most of our columns of the first line; else most columns."""

    def columns(delimiter: str) -> tuple[int, int]:
        lines = (line for line in head.splitlines(keepends=True) if line.strip())
        try:
            cells = next(csv.reader(lines, delimiter=delimiter), [])
        except csv.Error:
            return 0, 0
        return sum(reading.column_of(cell) is not None for cell in cells), len(cells)

    return max(DELIMITERS, key=columns)
