"""Formats figures for people, in the language of the request: one form each of amounts, counts,
instants and days.

English has 1,234.50 USD and 2026-01-31 12:00 UTC, Russian 1 234,50 ₽ and 31.01.2026 12:00 UTC (by
Babel). An amount that a heading gives the currency of has none.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any

from babel import Locale
from babel.numbers import NumberPattern, get_currency_symbol, parse_pattern
from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from pricebook.kit.currency import minor_unit

MINUS = "−"


def grouped(number: int | float | Decimal) -> str:
    """12431 → 12,431"""
    return _number(Decimal(number).quantize(Decimal(1)), 0)


def money(amount: Decimal | None) -> str:
    """Decimal("1234.5") → 1,234.50 USD; nothing is 0.00 USD."""
    currency = _currency(_language(), settings.CURRENCY)
    return f"{_number(amount or Decimal(0), minor_unit())} {currency}"


def amount(amount: Decimal | int | None) -> str:
    """Decimal("1234.5") → 1,234.50, where a heading names the currency; None is empty."""
    return "" if amount is None else _number(Decimal(amount), minor_unit())


def difference(amount: Decimal) -> str:
    """Decimal("-3") → −3.00, Decimal(3) → +3.00"""
    sign = MINUS if amount < 0 else "+" if amount > 0 else "±"
    return f"{sign}{_number(abs(amount), minor_unit())}"


def percent(value: Decimal | int | None, decimals: int = 2) -> str:
    """Decimal("7.50") → 7.5 %; None is empty."""
    if value is None:
        return ""
    number = round(Decimal(value), decimals).normalize()
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{_number(number, max(0, -exponent))}\u00a0%"


def instant(at: datetime | None) -> str:
    """2026-01-31 12:00 UTC: in the deployment's time zone, which is named."""
    if at is None:
        return ""
    local = timezone.localtime(at)
    return f"{day(local.date())} {local:%H:%M %Z}"


def moment(at: datetime | None) -> str:
    """An instant that somebody has asked for: with its seconds, if it has any."""
    if at is None:
        return ""
    local = timezone.localtime(at)
    return f"{day(local.date())} {local:%H:%M:%S %Z}" if local.second else instant(at)


def day(at: date | None) -> str:
    """2026-01-31; of an instant, the day that it has in the deployment's time zone."""
    if at is None:
        return ""
    if isinstance(at, datetime):
        at = timezone.localtime(at).date()
    return at.isoformat() if _language() == "en" else date_format(at, "d.m.Y")


def item(mapping: Mapping[Any, Any], key: Any) -> Any:
    return mapping.get(key)


def left(time: timedelta) -> str:
    """The time that is left, in whole seconds or minutes; at least one second."""
    seconds = max(1, round(time.total_seconds()))
    if seconds < 120:
        return _("%(seconds)s s") % {"seconds": seconds}
    return _("%(minutes)s min") % {"minutes": round(seconds / 60)}


def _language() -> str:
    return get_language() or settings.LANGUAGE_CODE


def _number(number: Decimal, decimals: int) -> str:
    """An exact number with so many decimals, rounded half up, grouped as the language does."""
    number = number.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    locale = _locale(_language())
    text: str = _pattern(decimals).apply(number, locale)
    return text.replace("-", MINUS)


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language if language in dict(settings.LANGUAGES) else "en", sep="-")


@cache
def _pattern(decimals: int) -> NumberPattern:
    return parse_pattern("#,##0" + (f".{'0' * decimals}" if decimals else ""))


@cache
def _currency(language: str, code: str) -> str:
    """USD in English, whose readers know many dollars; ₽ or the code in other languages."""
    if language.startswith("en"):
        return code
    return get_currency_symbol(code, _locale(language))
