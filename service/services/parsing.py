"""Checks of values that come from a query string, from JSON or from a command line.

Each takes the name under which the value was given, for the message, and returns the Python value,
or raises `BadValue`. Callers turn that into their own error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from pricebook.kit.currency import minor_unit, smallest
from pricebook.kit.refusal import Refusal
from services.bounds import FIRST_DAY, HIGHEST_PRICE, LAST_DAY

MAX_BIGINT = 2**63 - 1


class BadValue(Refusal, ValueError):
    """A value can't be used; `about` names parameter, value, and what is allowed."""

    def __init__(self, code: str, detail: str, parameter: str, value: Any, **about: Any) -> None:
        super().__init__(code, detail, parameter=parameter, value=str(value)[:100], **about)


def identifier(name: str, value: Any) -> int:
    """An id, from 1 on. `int()` also accepts other alphabets' digits, blanks and underscores."""
    digits = str(value)
    id = 0
    if not isinstance(value, bool) and re.fullmatch(r"[0-9]{1,19}", digits):
        id = int(digits)
    if not 0 < id <= MAX_BIGINT:
        raise BadValue(
            "bad_id",
            _("%(name)s is an id: a whole number from 1 to %(max_bigint)s.")
            % {"name": name, "max_bigint": MAX_BIGINT},
            name,
            value,
        )
    return id


def money(name: str, value: Any, lowest: Decimal = Decimal(0)) -> Decimal:
    """An amount of the book's currency, from `lowest` to the highest price."""
    amount = number(name, value)
    if amount != amount.quantize(smallest()):
        allowed = "at most two decimals" if minor_unit() else f"no decimals in {settings.CURRENCY}"
        raise BadValue(
            "too_exact",
            _("%(name)s has %(allowed)s; %(value)s has more.")
            % {"name": name, "allowed": allowed, "value": value},
            name,
            value,
        )
    if not lowest <= amount <= highest_price():
        raise BadValue(
            "out_of_range",
            _("%(name)s lies from %(lowest)s to %(highest_price)s; %(value)s does not.")
            % {"name": name, "lowest": lowest, "highest_price": highest_price(), "value": value},
            name,
            value,
        )
    return amount.quantize(smallest())


def highest_price() -> Decimal:
    """The highest amount that there is in the book's currency."""
    return HIGHEST_PRICE.quantize(smallest(), ROUND_DOWN)


def number(name: str, value: Any) -> Decimal:
    """A finite number of up to 12 digits before the point and 4 after it."""
    try:
        digits = str(value)
        if isinstance(value, bool) or len(digits) > 40 or not digits.isascii() or "_" in digits:
            raise InvalidOperation
        amount = Decimal(digits)
        if not amount.is_finite() or abs(amount) >= 10**12:
            raise InvalidOperation
        if amount != amount.quantize(Decimal("0.0001")):
            raise InvalidOperation
    except ArithmeticError:  # InvalidOperation, and Overflow for an exponent of 16 digits
        shown = str(value)[:100]
        # Not guessed: 1,234 means different numbers in different countries.
        point = " Its decimals follow a point; nothing separates thousands." if "," in shown else ""
        raise BadValue(
            "not_a_number",
            _("%(name)s is a number such as 12.50; %(shown)s is not.%(point)s")
            % {"name": name, "shown": repr(shown), "point": point},
            name,
            value,
        ) from None
    return amount


FARTHEST_ZONE = timedelta(hours=16)  # PostgreSQL's limit; Python's is a day
ISO_8601 = re.compile(
    r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)"
    # A + that was not quoted in a URL has become a blank.
    r"(?P<zone>[Zz]|[+ -][0-9]{2}(:?[0-9]{2})?)?"
)


def instant(name: str, value: Any) -> datetime:
    """An instant with its time zone, in the years 1900 to 9999."""
    parsed = unbounded_instant(name, value)
    if not FIRST_DAY <= parsed <= LAST_DAY:
        raise BadValue(
            "out_of_range",
            _("%(name)s lies in the years 1900 to 9999.") % {"name": name},
            name,
            value,
        )
    return parsed


def unbounded_instant(name: str, value: Any) -> datetime:
    """An instant with its time zone, of any year that Python knows."""
    parsed = value if isinstance(value, datetime) else None
    if isinstance(value, str) and (match := ISO_8601.fullmatch(value)):
        zone = (match["zone"] or "").upper().replace(" ", "+")
        try:
            parsed = datetime.fromisoformat(match["time"].upper() + zone)
        except ValueError:
            raise BadValue(
                "not_an_instant",
                _("%(name)s is not a time that exists.") % {"name": name},
                name,
                value,
            ) from None
    if parsed is None:
        raise BadValue(
            "not_an_instant",
            _("%(name)s is a time in ISO 8601, as 2027-01-31T12:00:00Z.") % {"name": name},
            name,
            value,
        )
    if timezone.is_naive(parsed):
        raise BadValue(
            "time_zone_missing",
            _(
                "%(name)s has no time zone: add Z or an offset, as in"
                " 2027-01-31T12:00:00+02:00 (in an address a + is written %%2B)."
            )
            % {"name": name},
            name,
            value,
        )
    if abs(parsed.utcoffset() or timedelta()) >= FARTHEST_ZONE:
        raise BadValue(
            "not_an_instant",
            _("%(name)s is 16 hours or more away from UTC; no zone is.") % {"name": name},
            name,
            value,
        )
    return parsed


def text(name: str, value: Any, length: int) -> str:
    if not isinstance(value, str) or len(value) > length:
        raise BadValue(
            "bad_text",
            _("%(name)s is a text of up to %(length)s characters.")
            % {"name": name, "length": length},
            name,
            value,
        )
    if "\0" in value:
        raise BadValue(
            "bad_text", _("%(name)s has a NUL in it; leave it out.") % {"name": name}, name, value
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValue(
            "bad_text",
            _("%(name)s has half of a surrogate pair in it.") % {"name": name},
            name,
            value.encode(errors="replace").decode(),
        ) from None
    return value


def word(name: str, value: Any, words: Iterable[str]) -> str:
    words = list(words)
    if value not in words:
        raise BadValue(
            "unknown_value",
            _("%(name)s may be %(words)s; %(value)s is none.")
            % {"name": name, "words": ", ".join(words), "value": repr(str(value)[:100])},
            name,
            value,
            allowed=words,
        )
    return str(value)


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadValue("not_a_flag", _("%(name)s is true or false.") % {"name": name}, name, value)
    return value
