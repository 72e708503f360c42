"""The lines of a body: JSON, `{"lines": [{…}, {…}]}`, or NDJSON, an object a line.

They are read one by one, so that a body takes no memory. A line of NDJSON that is not JSON is that
line's fault alone. In JSON nobody can tell where such a line ends: the whole body is refused.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO

from django.utils.translation import gettext as _

from pricebook.kit.content import ExactJSON
from pricebook.kit.errors import Refused
from pricebook.kit.figures import grouped

JSON, NDJSON = "application/json", "application/x-ndjson"
LONGEST_LINE = 65_536  # bytes; of JSON, characters
PIECE = 65_536  # bytes that are decoded at once

BEGIN = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"lines"[ \t\r\n]*:[ \t\r\n]*\[')
BLANKS = re.compile(r"[ \t\r\n]*")

# A line, or why it can't be read.
Line = bytes | Refused


def lines_of(file: IO[bytes], media_type: str) -> Iterator[tuple[int, Line]]:
    """The lines with their numbers, from 1; raises Refused where the rest can't be told apart.

    Empty lines of NDJSON count, and are left out.
    """
    return _of_ndjson(file) if media_type == NDJSON else _of_json(file)


def _of_ndjson(file: IO[bytes]) -> Iterator[tuple[int, Line]]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            yield number, _too_long()
        elif line.strip():
            yield number, line


def _of_json(file: IO[bytes]) -> Iterator[tuple[int, Line]]:
    text = _Text(file)
    while (begin := BEGIN.match(text.text)) is None and len(text.text) < LONGEST_LINE:
        if not text.more():
            break
    if begin is None:
        raise Refused(
            "missing", _('The body is {"lines": [{…}, {…}]}, and nothing else.'), parameter="lines"
        )
    text.at = begin.end()
    number = 0
    ends = text.next_sign() == "]"
    while not ends:
        number += 1
        yield number, text.take_value(number)
        sign = text.next_sign()
        if sign not in (",", "]"):
            raise _broken(number, _("a comma or ] comes after a line"))
        ends = sign == "]"
        if not ends:
            text.at += 1
            text.next_sign()
    for sign in ("]", "}", ""):
        if text.next_sign() != sign:
            raise _broken(number, _("nothing comes after ]}"))
        text.at += 1


class _Text:
    """A window of a text of JSON, which ends where it has been read to."""

    def __init__(self, file: IO[bytes]) -> None:
        self.text = ""
        self.at = 0
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._ended = False
        # It only finds the ends of values, which are read exactly after that.
        self._scanner = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=len)
        self.more()

    def next_sign(self) -> str:
        """The next character that is no blank, which `at` is then the place of; "" at the end."""
        while True:
            match = BLANKS.match(self.text, self.at)
            assert match is not None
            self.at = match.end()
            if self.at < len(self.text) or self._ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def take_value(self, number: int) -> Line:
        """The value that begins here, which may be of any type."""
        while True:
            try:
                _, end = self._scanner.raw_decode(self.text, self.at)
                problem = None
            except (ValueError, RecursionError) as error:
                end, problem = len(self.text), error
            # A value that ends with the window may go on behind it.
            if end < len(self.text) or self._ended or end - self.at > LONGEST_LINE:
                break
            self.more()
        if problem is not None:
            raise _broken(number, problem)
        value, self.at = self.text[self.at : end], end
        return _too_long() if len(value) > LONGEST_LINE else value.encode()

    def more(self) -> bool:
        """Read on; False at the end. The text before `at` is forgotten."""
        piece = self._file.read(PIECE)
        self._ended = not piece
        try:
            new = self._decoder.decode(piece, final=self._ended)
        except UnicodeDecodeError as error:
            raise ExactJSON("body").bad_json(error) from None
        self.text, self.at = self.text[self.at :] + new, 0
        return not self._ended


def _broken(number: int, problem: object) -> Refused:
    refused = ExactJSON(f"body, at its line {number},").bad_json(problem)
    refused.about = {"line": number}
    return refused


def _too_long() -> Refused:
    return Refused(
        "line_too_long",
        _("A line has up to %(longest_line)s bytes.") % {"longest_line": grouped(LONGEST_LINE)},
    )
