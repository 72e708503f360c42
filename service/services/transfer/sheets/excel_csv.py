"""A table as CSV that the Excel of a locale opens by a double click, and reads as it is meant.

UTF-8 with a byte order mark, CRLF, the decimal sign of the locale, and a semicolon between values
where that sign is a comma. Dates are `2026-10-01 09:30:00`, which Excel takes for a date whatever
order of day and month its computer has. There is no last line that is not a row.

Excel takes a text for a formula, a number or a date where it looks like one. A text that may look
so is written as `="…"`: a formula whose value is this very text, as which imports read it.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Protocol

from babel import Locale
from babel.localedata import locale_identifiers
from django.utils.translation import gettext as _

from pricebook.kit.refusal import Refusal
from services.transfer.sheets.cells import Cell, Cells
from services.transfer.sheets.table import Counted, Limits, Table, Written
from services.transfer.text_formulas import text_formula


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


BOM = "\ufeff".encode()
# A text that begins with a letter is one for Excel too: without a digit, unless it is the word of a
# truth value in the language that it speaks; with digits, if it has a longer word that begins like
# no month and no day. So is an e-mail address, and an instant with T and Z.
LETTERS = re.compile(r"[^\W\d_][^\d\t\r\n]*")
WITH_DIGITS = re.compile(r"[^\W\d_][^\t\r\n]*")
WORD = re.compile(r"[^\W\d_]{5,}")
ADDRESS = re.compile(r"[\w][\w.+-]*@[\w-]+(\.[\w-]+)+")
INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
TRUTHS = {
    word
    for words in (
        "true false waar onwaar wahr falsch vrai faux verdadero falso verdadeiro vero prawda fałsz",
        "истина ложь істина хибність doğru yanlış sant falskt sann usann sand falsk tosi epätosi",
        "pravda nepravda igaz hamis adevarat fals tačno netačno",
    )
    for word in words.split()
}


@cache
def known_locales() -> dict[str, str]:
    """The locales of Babel by their names in lower case, with underscores."""
    # Western Balochi has neither a point nor a comma.
    unfit = ("root", "bgn")
    return {name.lower(): name for name in locale_identifiers() if name.split("_")[0] not in unfit}


@cache
def _decimal(name: str) -> str:
    # Excel writes digits of the Latin script wherever it is. (To read all locales takes seconds.)
    return str(Locale.parse(name).number_symbols["latn"]["decimal"])


class UnknownLocale(Refusal):
    def __init__(self, given: str | None) -> None:
        languages = sorted(name for name in known_locales().values() if "_" not in name)
        super().__init__(
            "unknown_locale",
            _(
                "CSV for Excel takes a locale, such as ru, de or en_GB, which says how Excel"
                " writes numbers there; %(value)s. Give one of these languages, and a country"
                " if you like (pt_BR): %(languages)s."
            )
            % {
                "value": (
                    _("none is given")
                    if given is None
                    else _("%(given)s is none") % {"given": repr(given[:100])}
                ),
                "languages": ", ".join(languages),
            },
            parameter="locale",
            value=(given or "")[:100],
            allowed=languages,
        )


@dataclass(frozen=True)
class ExcelCSV:
    """How the Excel of a locale writes values."""

    locale: str
    decimal: str
    dates: frozenset[str]  # the first letters of words of dates

    @classmethod
    def of(cls, locale: str | None) -> ExcelCSV:
        """Raises UnknownLocale."""
        name = known_locales().get((locale or "").lower().replace("-", "_"))
        if name is None:
            raise UnknownLocale(locale)
        return cls(name, _decimal(name), _names_of_dates(name))

    @property
    def delimiter(self) -> str:
        return ";" if self.decimal == "," else ","

    def write(self, table: Table, file: Sink, limits: Limits) -> Written:
        """Write the table; raises TooManyRows or ReadTimedOut in the middle."""
        rows, cells = Counted(table, limits), Cells()
        columns = [cells.of(column.type) for column in table.columns]
        text = lru_cache(maxsize=8192)(self.text)  # most texts come many times
        part = io.StringIO(newline="")
        writer = csv.writer(part, delimiter=self.delimiter, lineterminator="\r\n")
        file.write(BOM)
        writer.writerow([column.heading for column in table.columns])
        for number, row in enumerate(rows):
            writer.writerow(
                [
                    text(cell) if isinstance(cell, str) else self.shown(cell)
                    for cell in [of(value) for of, value in zip(columns, row, strict=True)]
                ]
            )
            if number % 1000 == 0:
                _flush(part, file)
        _flush(part, file)
        return rows.written(cells.as_text)

    def shown(self, cell: Cell) -> str:
        if cell is None:
            return ""
        if isinstance(cell, str):
            return self.text(cell)
        if isinstance(cell, bool):
            return str(cell).lower()
        if isinstance(cell, Decimal):
            return f"{cell:f}".replace(".", self.decimal)
        if isinstance(cell, datetime):
            return cell.isoformat(sep=" ")
        return str(cell)

    def text(self, text: str) -> str:
        return text if self.is_text(text) else text_formula(text)

    def is_text(self, text: str) -> bool:
        """Whether Excel takes a cell for the text that it is."""
        if not text or LETTERS.fullmatch(text):
            return text.strip().lower() not in TRUTHS
        if ADDRESS.fullmatch(text) or INSTANT.fullmatch(text):
            return True
        if not WITH_DIGITS.fullmatch(text):
            return False
        return any(word[:3].lower() not in self.dates for word in WORD.findall(text))


@cache
def _names_of_dates(locale: str) -> frozenset[str]:
    """The first three letters of the months and days, in a language and in English."""
    return frozenset(
        name[:3].lower()
        for each in (Locale.parse(locale), Locale("en"))
        for names in (each.months, each.days)
        for widths in names.values()
        for name in widths["wide"].values()
    )


def _flush(part: io.StringIO, file: Sink) -> None:
    file.write(part.getvalue().encode())
    part.seek(0)
    part.truncate()
