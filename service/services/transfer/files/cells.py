"""The cells of a workbook as texts in our notation: what they show, if they hold exactly that.

A number is taken with 15 significant digits, which is what spreadsheets calculate and show: they
write 19.99 as 19.989999999999998 at times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal

import iso4217
from django.conf import settings
from django.utils.translation import pgettext

from services.transfer.files.number_formats import (
    DATE,
    GENERAL,
    NUMBER,
    PERCENT,
    Shown,
    shown_by,
)
from services.transfer.files.values import AMOUNT, MOMENT, TEXT, Refused
from services.transfer.files.values import PERCENT as PERCENT_COLUMN

NUMERAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]{1,3})?")
AS_CALCULATED = Context(prec=15)
EXACT = Context(prec=100)
LARGEST = 30  # digits before and after the point
MOST_DAYS = 2_958_466  # 31 December 9999, and a day
LEAP_DAY_THAT_NEVER_WAS = 60  # 29 February 1900, as Lotus 1-2-3 had it
# Signs and codes in a number format that stand for one currency, or for some.
CURRENCIES = {
    "€": ("EUR",),
    "£": ("GBP", "EGP", "FKP", "GIP", "SHP", "SSP", "SDG", "LBP", "SYP"),
    "¥": ("JPY", "CNY"),
    "￥": ("JPY", "CNY"),
    "₽": ("RUB",),
    "₩": ("KRW", "KPW"),
    "₹": ("INR",),
    "₺": ("TRY",),
    "₴": ("UAH",),
    "₸": ("KZT",),
    "zł": ("PLN",),
    "Kč": ("CZK",),
}


# A cell: its kind (n, s for any text, b, e, or d for a date in ISO's form), its style, its text or
# None for a formula without a stored result, and whether it is a formula. No class: there are
# millions of them.
Cell = tuple[str, str, str | None, bool]
EMPTY: Cell = ("s", "0", "", False)


@dataclass(frozen=True)
class Styles:
    """The number formats of a workbook, by style, and how it counts days and results."""

    formats: tuple[str, ...] = ()
    from_1904: bool = False
    to_be_calculated: bool = False  # formulas: what is stored is no result

    def format(self, style: str) -> str:
        number = int(style) if style.isdecimal() else 0
        return self.formats[number] if number < len(self.formats) else "General"


def is_number(cell: Cell) -> bool:
    return cell[0] in ("n", "d")


def text_in(cell: Cell) -> str:
    """The text of a cell as it is stored."""
    return cell[2] or ""


def text_of(cell: Cell, kind: str, styles: Styles) -> str:
    """A cell in a column of that kind, as the text that a CSV file would have. Refused.

    A cell with a text is that text, in whatever notation.
    """
    type, style, text, formula = cell
    if text is None or (formula and styles.to_be_calculated):
        raise Refused(
            "not_calculated",
            pgettext(
                "file",
                "is a formula whose result is not stored; open the file in the spreadsheet"
                " and save it",
            ),
        )
    if type == "e":
        raise Refused(
            "error_in_cell",
            pgettext("file", "is an error of the spreadsheet; correct it, or empty it"),
        )
    if type == "b":
        raise Refused(
            "bad_cell", pgettext("file", "is a truth value, and no column of ours has one")
        )
    if not is_number(cell) or text == "":
        return text
    if type == "d":
        if kind != MOMENT:
            raise _no_date()
        return text.removesuffix("T00:00:00")
    number = _number(text)
    code = styles.format(style)
    shown = shown_by(code)
    if kind == MOMENT:
        return _instant(number, shown, code, styles.from_1904)
    if shown.kind == DATE:
        raise _no_date()
    if kind == AMOUNT:
        _refuse_other_currency(shown.literals, code)
        return _exact(number, shown, code, (GENERAL, NUMBER))
    if kind == PERCENT_COLUMN:
        return _exact(number, shown, code, (GENERAL, NUMBER, PERCENT))
    assert kind == TEXT
    return _digits(number, shown, code)


def _number(text: str) -> Decimal:
    if not NUMERAL.fullmatch(text):
        raise Refused("bad_cell", pgettext("file", "is no number that a workbook may hold"))
    number = AS_CALCULATED.create_decimal(text)
    if abs(number.adjusted()) > LARGEST:
        raise Refused("bad_cell", pgettext("file", "is a number far beyond any value of a book"))
    return number


def _exact(number: Decimal, shown: Shown, code: str, kinds: tuple[str, ...]) -> str:
    """The number that a cell shows, if that is the number that it holds."""
    if shown.kind not in kinds:
        raise Refused(
            "bad_cell",
            pgettext(
                "file",
                "is %(plain)s, which its number format %(code)s does not show as it is;"
                " format the cell as a number",
            )
            % {"plain": _plain(number), "code": repr(code)},
        )
    if shown.kind == PERCENT:
        number = number.scaleb(2)
    if shown.kind != GENERAL:
        as_shown = number.quantize(
            Decimal(1).scaleb(-min(shown.decimals, LARGEST)), ROUND_HALF_UP, EXACT
        )
        if as_shown != number:
            raise Refused(
                "not_as_shown",
                pgettext(
                    "file", "is %(plain)s and is shown as %(as_shown)s; round it to what is meant"
                )
                % {"plain": _plain(number), "as_shown": format(as_shown, "f")},
            )
    return _plain(number)


def _digits(number: Decimal, shown: Shown, code: str) -> str:
    """A number in a column of texts, such as an id: the digits that the cell shows."""
    plain = _plain(number)
    if len(plain) > 15 or not plain.isdecimal():
        raise Refused(
            "number_for_text",
            pgettext(
                "file",
                "is the number %(plain)s, of which a spreadsheet keeps 15 digits and no other"
                " character; write it again, in a cell that is formatted as text",
            )
            % {"plain": plain[:40]},
        )
    if shown.kind == GENERAL and not shown.literals:
        return plain
    if shown.kind != NUMBER or shown.decimals or shown.grouped or shown.literals:
        raise Refused(
            "number_for_text",
            pgettext(
                "file",
                "is the number %(plain)s, which its number format %(code)s shows otherwise;"
                " write what is meant in a cell that is formatted as text",
            )
            % {"plain": plain, "code": repr(code)},
        )
    return plain.zfill(shown.digits)


def _instant(number: Decimal, shown: Shown, code: str, from_1904: bool) -> str:
    """The local date or time of a number of days."""
    if shown.kind != DATE:
        raise Refused(
            "not_a_date",
            pgettext("file", "is the number %(plain)s, and no date; format the cell as a date")
            % {"plain": _plain(number)},
        )
    days = int(number)
    if from_1904:
        begin = datetime(1904, 1, 1)
    elif days == LEAP_DAY_THAT_NEVER_WAS:
        raise Refused(
            "not_a_date", pgettext("file", "is 29 February 1900, which never was; correct it")
        )
    else:
        begin = datetime(1899, 12, 30 if days > LEAP_DAY_THAT_NEVER_WAS else 31)
    if not 0 <= number < MOST_DAYS - (1462 if from_1904 else 0):
        raise Refused(
            "not_a_date",
            pgettext("file", "is the number %(plain)s, which is no date")
            % {"plain": _plain(number)},
        )
    milliseconds = ((number - days) * 86_400_000).quantize(Decimal(1), ROUND_HALF_UP)
    # 15 digits are microseconds: what is within a millisecond of a second is that second.
    at = begin + timedelta(days=days, seconds=round(int(milliseconds) / 1000))
    if abs(int(milliseconds) - round(int(milliseconds) / 1000) * 1000) > 1:
        at = begin + timedelta(days=days, milliseconds=int(milliseconds))
    missing = set("ymd") - shown.parts
    if at.hour or at.minute or at.second or at.microsecond:
        missing |= {"h"} - shown.parts
        missing |= {"minute"} - shown.parts if at.minute or at.second or at.microsecond else set()
        missing |= {"s"} - shown.parts if at.second or at.microsecond else set()
    if missing or at.microsecond:
        raise Refused(
            "not_as_shown",
            pgettext(
                "file",
                "is %(isoformat)s, and its number format %(code)s does not show all of that;"
                " correct one of them",
            )
            % {"isoformat": at.isoformat(" "), "code": repr(code)},
        )
    return at.isoformat() if at.hour or at.minute or at.second else at.date().isoformat()


def _refuse_other_currency(literals: str, code: str) -> None:
    currency = settings.CURRENCY
    for sign, currencies in CURRENCIES.items():
        if sign in literals and currency not in currencies:
            raise Refused(
                "other_currency",
                pgettext(
                    "file",
                    "is shown in another currency (%(code)s), and the book is in %(currency)s",
                )
                % {"code": repr(code), "currency": currency},
            )
    for word in re.findall(r"[A-Z]{3}", literals):
        if word in iso4217.raw_table and word != currency:
            raise Refused(
                "other_currency",
                pgettext(
                    "file",
                    "is shown in another currency (%(code)s), and the book is in %(currency)s",
                )
                % {"code": repr(code), "currency": currency},
            )


def _no_date() -> Refused:
    return Refused(
        "bad_cell",
        pgettext(
            "file", "is a date, and this column has none; write what is meant, formatted as text"
        ),
    )


def _plain(number: Decimal) -> str:
    """Without exponent and without zeros at the end."""
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
