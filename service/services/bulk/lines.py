"""The lines of a request, checked each for itself, in a temporary file from which COPY takes them.

This needs no database: no lock is held while a body is read, and what has to be done once more
begins here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import IO, Any

import msgspec
from django.utils.translation import gettext as _

from pricebook.kit.content import ExactJSON
from pricebook.kit.errors import Refused
from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from pricebook.kit.spooled_body import PIECE, temporary_file
from services.bulk.bodies import Line
from services.writing.bodies import Field, values_of

MOST_LINES = 500_000
CHUNK = 2_000  # lines that are written together where others don't wait for them all
SHOWN = 100  # refused lines in the refusal of all

Values = Mapping[str, Any]
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


@dataclass(frozen=True)
class Record:
    """A kind of record, as lines have it: its fields, and the columns of the temporary table.

    `given` are further columns, of type boolean: whether a line gives a field, where null says
    something.
    """

    kind: str
    fields: Mapping[str, Field]
    columns: Mapping[str, str]
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def table(self) -> str:
        return "clients_client" if self.kind == "client" else f"services_{self.kind}"

    @property
    def names(self) -> list[str]:
        return [*self.columns, *self.given]

    def row(self, values: Values) -> list[Any]:
        return [
            *[values.get(name) for name in self.columns],
            *[name in values for name in self.given.values()],
        ]


def fields_of_lines(fields: Mapping[str, Field]) -> dict[str, Field]:
    """The fields of a single object for lines: all may be given, and the ids elsewhere must be."""
    return {
        name: replace(each, required=False, fixed=None)
        if name not in ("source", "external_id")
        else replace(each, required=True, null=...)
        for name, each in fields.items()
    }


@dataclass
class CheckedLines:
    """Lines for COPY; `starts` are the places in the file where the chunks begin."""

    file: IO[bytes]
    starts: list[int] = field(default_factory=list)
    count: int = 0
    refused: int = 0
    first_refused: list[bytes] = field(default_factory=list)  # their results, up to SHOWN

    def pieces(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes of chunks."""
        end = self.starts[last] if last < len(self.starts) else self.file.seek(0, 2)
        self.file.seek(self.starts[first] if self.starts else end)
        while left := end - self.file.tell():
            yield self.file.read(min(left, PIECE))


def check(lines: Iterable[tuple[int, Line]], record: Record) -> CheckedLines:
    """Check each line for itself, and for another one of its external id before it.

    Raises Refused for what can't be told apart, and for too many.
    """
    checked = CheckedLines(temporary_file())
    try:
        _check_each(lines, record, checked)
    except BaseException:
        checked.file.close()
        raise
    return checked


def _check_each(lines: Iterable[tuple[int, Line]], record: Record, checked: CheckedLines) -> None:
    json, seen = ExactJSON("line"), dict[tuple[str, str], int]()
    nothing = [None] * len(record.columns) + [False] * len(record.given)
    for number, line in lines:
        if checked.count % CHUNK == 0:
            checked.starts.append(checked.file.tell())
        checked.count += 1
        if checked.count > MOST_LINES:
            raise Refused(
                "too_many_lines",
                _("A request has up to %(most_lines)s lines; send several.")
                % {"most_lines": grouped(MOST_LINES)},
                413,
            )
        try:
            if isinstance(line, Refused):
                raise line
            values = values_of(record.fields, json.value_of(line), called="line")
            first = seen.setdefault((values["source"], values["external_id"]), number)
            if first != number:
                raise twice(first)
            row = [number, None, *record.row(values)]
        except (Refused, Refusal) as error:
            refused = refused_line(number, error)
            checked.refused += 1
            if len(checked.first_refused) < SHOWN:
                checked.first_refused.append(refused)
            row = [number, refused.decode(), *nothing]
        checked.file.write(_copied(row))


def twice(first: int) -> Refused:
    return Refused(
        "twice_in_one",
        _(
            "Line %(first)s has this source and external id too: an external id stands for"
            " one record."
        )
        % {"first": first},
        parameter="external_id",
    )


def refused_line(number: int, error: Refused | Refusal, outcome: str = "refused") -> bytes:
    """The result of a refused line."""
    code = error.code if isinstance(error, Refusal) else error.get_codes()
    said = {"code": code, "detail": str(error.detail), **error.about}
    return _encode({"line": number, "outcome": outcome, **said})


def _copied(row: list[Any]) -> bytes:
    """A row as the text format of COPY has it."""
    return ("\t".join(map(_cell, row)) + "\n").encode()


ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _text(value: str) -> str:
    return value.translate(ESCAPED)


CELLS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "\\N",
    str: _text,
    int: str,
    bool: lambda value: "t" if value else "f",
    datetime: datetime.isoformat,
    Decimal: "{:f}".format,
}


def _cell(value: Any) -> str:
    return CELLS[type(value)](value)
