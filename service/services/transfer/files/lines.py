"""The lines of a text: of UTF-8 as it comes, in blocks, or of another encoding, one by one."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain
from typing import BinaryIO, TextIO

from services.transfer.csv_file import LINE_LIMIT

BLOCK = LINE_LIMIT  # bytes; so no line that is too long is inside of one


class LineTooLong(Exception):
    pass


class Lines:
    """Iterate once. `taken` counts what was given away, which is ahead of what was asked for.

    `ends` is the character at their ends. LineTooLong, UnicodeDecodeError.
    """

    ends = "\n"
    taken = 0

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def rest(self) -> Iterator[bytes]:
        """The bytes to try encodings on: those that nobody has asked for yet, or all."""
        raise NotImplementedError


class Utf8Lines(Lines):
    """The lines of a file as it comes; bytes that are not UTF-8 become surrogates.

    `first` is the line that was read from it already.
    """

    def __init__(self, file: BinaryIO, first: bytes = b"") -> None:
        self._file = file
        self._first = first.removeprefix(codecs.BOM_UTF8)
        self._block = StringIO()

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._blocks())

    def _blocks(self) -> Iterator[Iterable[str]]:
        block = self._first
        while block or (block := self._file.read(BLOCK)):
            if block[-1:] != b"\n":
                block += self._file.readline(LINE_LIMIT + 1)
            last = block.rfind(b"\n", 0, -1) + 1
            if len(block) - last > LINE_LIMIT:
                yield self._of(block[:last])
                raise LineTooLong
            yield self._of(block)
            block = b""

    def _of(self, block: bytes) -> StringIO:
        self.taken += len(block)
        self._block = StringIO(block.decode(errors="surrogateescape"), newline="\n")
        return self._block

    def rest(self) -> Iterator[bytes]:
        yield self._block.read().encode(errors="surrogateescape")
        while block := self._file.read(BLOCK):
            yield block


class DecodedLines(Lines):
    """The lines of a text in another encoding, or of one in a temporary file."""

    def __init__(self, spool: BinaryIO, text: TextIO, ends: str, skipped_lines: int = 0) -> None:
        self._spool = spool
        self._text = text  # which closes the spool if nobody keeps it
        self._skipped_lines = skipped_lines
        self.ends = ends

    def __iter__(self) -> Iterator[str]:
        for _ in range(self._skipped_lines):
            self._text.readline(LINE_LIMIT)
        while line := self._text.readline(LINE_LIMIT + 1):
            if len(line) > LINE_LIMIT:
                raise LineTooLong
            self.taken += len(line)
            yield line

    def rest(self) -> Iterator[bytes]:
        self._spool.seek(0)
        while block := self._spool.read(BLOCK):
            yield block
