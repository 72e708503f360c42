"""Amounts and percentages that people type or paste into a form: `parse_amount` and its field.

Not for the API and the command line, which take one notation, 4.50. Files of spreadsheets are read
by the same notations, but a column at a time (`services.transfer.files`).
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from unfold.widgets import UnfoldAdminTextInputWidget

from pricebook.kit.currency import minor_unit

LONGEST = 40  # characters; nothing longer is looked at
QUOTED = 40  # characters that a message repeats

BLANKS = " \u00a0\u2009\u202f"  # common, no-break, thin, narrow no-break
APOSTROPHES = "'\u2019"
SEPARATORS = f"{BLANKS}{APOSTROPHES}.,"
SIGNED = re.compile("(?P<minus>[-\u2212]?)(?P<unsigned>.*)", re.DOTALL)


def _notation(thousands: str, decimal_sign: str) -> re.Pattern[str]:
    grouped = f"[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+"
    whole = grouped if thousands else "0|[1-9][0-9]*"
    return re.compile(f"(?P<whole>{whole})(?:{re.escape(decimal_sign)}(?P<decimals>[0-9]+))?")


# By their decimal sign: 1234.50, and the same with each sign that may separate thousands.
NOTATIONS = {
    decimal_sign: [
        _notation(thousands, decimal_sign)
        for thousands in ["", *SEPARATORS]
        if thousands != decimal_sign
    ]
    for decimal_sign in ".,"
}


class BadAmount(ValueError):
    """A text that is no number, or could be two; it says which, and what to type instead."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def parse_amount(typed: str, decimal_places: int = 2, negative: bool = False) -> Decimal:
    """The number that a person means by `typed`; BadAmount where that is not certain.

    The text is read in every notation that people use: the decimals after a point or a comma;
    thousands not separated, or all by one sign that is not the decimal one: a blank (also no-break,
    narrow or thin), an apostrophe (' or ’), a point or a comma. These are certain, because each
    notation that can read them reads the same:

        4.50   4,50   1234,5   1 234,50   1'234.50   1.234,50   1,234.50   1,234,567   0,125

    A text with two readings is refused as `unclear`, with both: one to three digits that don't
    begin with 0, a point or a comma, and three digits. So `1,234` is 1234 or 1.234, even where
    three decimals are too many: the person may have meant them.

    No notation reads `1,2,3`, `1.23,456,7`, `1 23`, `007`, `.50`, `5.` or `1e3` (`not_a_number`);
    nor other scripts' digits, currency and percent signs. Also refused are more than
    `decimal_places` decimals, even zeros (`too_exact`: `1,2000` may be 12000, grouped wrongly), a -
    or − (U+2212) in front unless `negative`, and more than 40 characters (`too_long`). Surrounding
    blanks do not count.
    """
    text = typed.strip()
    if len(text) > LONGEST:
        raise BadAmount(
            "too_long",
            _("%(quoted)s has %(text)s characters; a number has at most %(longest)s.")
            % {"quoted": _quoted(text), "text": len(text), "longest": LONGEST},
        )
    signed = SIGNED.fullmatch(text)
    assert signed is not None
    by_sign = readings_by_sign(signed["unsigned"])
    readings = sorted(set(by_sign.values()), key=_decimals, reverse=True)
    if not readings:
        raise BadAmount(
            "not_a_number", f"{_quoted(text)} {_why_unread(signed['unsigned'], decimal_places)}"
        )
    if signed["minus"] and not negative:
        raise BadAmount(
            "negative",
            _("%(quoted)s is less than 0, and this can't be.") % {"quoted": _quoted(text)},
        )
    if signed["minus"]:
        # Not -reading, which rounds to 28 digits; and never -0.
        readings = [reading.copy_negate() if reading else reading for reading in readings]
    if len(readings) > 1:
        with_decimals, in_thousands = readings
        raise BadAmount(
            "unclear",
            _(
                "%(quoted)s can be %(in_thousands)s or %(with_decimals)s. Type"
                " %(in_thousands)s for the first; %(second)s."
            )
            % {
                "quoted": _quoted(text),
                "in_thousands": in_thousands,
                "with_decimals": with_decimals,
                "second": _second(with_decimals, decimal_places),
            },
        )
    [amount] = readings
    if _decimals(amount) > decimal_places:
        raise BadAmount(
            "too_exact",
            _("%(quoted)s is no whole number; type one, such as 12.") % {"quoted": _quoted(text)}
            if decimal_places == 0
            else _("%(quoted)s has %(decimals)s decimals; at most %(decimal_places)s are allowed.")
            % {
                "quoted": _quoted(text),
                "decimals": _decimals(amount),
                "decimal_places": decimal_places,
            },
        )
    return amount


def readings_by_sign(unsigned: str) -> dict[str, Decimal]:
    """The numbers that people may mean by a text, by the decimal sign: `.`, `,`, both or none."""
    return {
        decimal_sign: Decimal(f"{re.sub('[^0-9]', '', match['whole'])}.{match['decimals'] or ''}")
        for decimal_sign, notations in NOTATIONS.items()
        for notation in notations
        if (match := notation.fullmatch(unsigned))
    }


def _decimals(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)  # and not that of NaN or infinity
    return -exponent


def _second(with_decimals: Decimal, decimal_places: int) -> str:
    """How to type the second reading, which has three decimals."""
    if decimal_places > 3:
        return _("%(amount)s for the second") % {"amount": f"{with_decimals}0"}
    if with_decimals == round(with_decimals, decimal_places):
        return _("%(amount)s for the second") % {"amount": f"{with_decimals:.{decimal_places}f}"}
    if decimal_places == 0:
        return _("the second is no whole number")
    return _("the second has 3 decimals, and this has at most %(decimal_places)s") % {
        "decimal_places": decimal_places
    }


def _why_unread(unsigned: str, decimal_places: int) -> str:
    example = "4.50" if decimal_places else "12"
    if not unsigned:
        return _("has no digits; type a number, such as %(example)s.") % {"example": example}
    for character in unsigned:
        if character in f"0123456789{SEPARATORS}":
            continue
        if unicodedata.category(character) == "Sc":
            return _("has a currency sign in it; type the number alone, such as %(example)s.") % {
                "example": example
            }
        if character in "%‰":
            return _("has a percent sign in it; type the number alone, such as %(example)s.") % {
                "example": example
            }
        if character.isdecimal():
            return _("has the digit %(digit)s of another script in it; type 0 to 9.") % {
                "digit": _quoted(character)
            }
        return _("has %(character)s in it; type the number alone, such as %(example)s.") % {
            "character": _quoted(character),
            "example": example,
        }
    if re.match("0[0-9]", unsigned):
        return _("begins with a 0 that nothing needs; leave it out.")
    if unsigned[0] in SEPARATORS or unsigned[-1] in SEPARATORS:
        return _("does not begin and end with a digit, as a number does, such as %(example)s.") % {
            "example": example
        }
    return _(
        "has a point, a comma, a blank or an apostrophe where no number has it; type it without"
        " thousands separators, such as %(example)s."
    ) % {"example": "1234.50" if decimal_places else "1234"}


def _quoted(text: str) -> str:
    """The text for a message: bounded, and without invisible characters."""
    shown = "".join(
        character if character.isprintable() or character in BLANKS else "\N{REPLACEMENT CHARACTER}"
        for character in text[:QUOTED]
    )
    return f"“{shown}…”" if len(text) > QUOTED else f"“{shown}”"


# --- The field --------------------------------------------------------------------------------


class AmountInput(UnfoldAdminTextInputWidget):
    """A text box, because in a number input the browser decides silently what a comma means.

    It has no maxlength: a browser would cut off a pasted text, and leave another number.
    """


class AmountField(forms.DecimalField):
    """An amount or a percentage, as a Decimal; `parse_amount` says what may be typed.

    `decimal_places`: the most decimals, 0 for a whole number; those of the book's currency if left
    out. `negative`: below zero too.
    """

    widget = AmountInput
    decimal_places: int

    def __init__(
        self, *, decimal_places: int | None = None, negative: bool = False, **options: Any
    ) -> None:
        if decimal_places is None:
            decimal_places = minor_unit()
        if decimal_places == 3:
            raise ValueError("With 3 decimals each number from 1 to 999 would be unclear.")
        self.negative = negative
        super().__init__(decimal_places=decimal_places, **options)

    def prepare_value(self, value: Any) -> Any:
        """The stored hundredths are not shown where the amount has none: it would be refused."""
        if isinstance(value, Decimal) and self.decimal_places == 0 and value == round(value):
            return round(value)
        return value

    def to_python(self, value: Any) -> Decimal | None:  # type: ignore[override]
        if isinstance(value, int | Decimal):  # from the record, or from code
            return Decimal(value)
        text = "" if value is None else str(value).strip()
        if not text:
            return None
        try:
            return parse_amount(text, self.decimal_places, self.negative)
        except BadAmount as error:
            raise ValidationError(str(error), code=error.code) from None

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        attrs = super().widget_attrs(widget)
        if not self.negative:  # the number pads of some telephones have no minus
            attrs["inputmode"] = "decimal" if self.decimal_places else "numeric"
        return attrs
