"""The currency of the book: its minor unit by ISO 4217, and amounts as they are shown.

An amount is stored in hundredths. So a currency has two decimals or none (JPY, KRW); one with three
(KWD), one without a minor unit (XAU) and one that ISO 4217 does not have are refused at the start.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache

import iso4217
from django.conf import settings

SUPPORTED = (0, 2)


def minor_unit_of(code: str) -> int:
    """The number of decimals of a currency; ValueError, with the reason, if the book can't have it.

    As ISO 4217 has it. Babel has the digits in which people write amounts: none for the forint.
    """
    known = iso4217.raw_table.get(code)
    if known is None:
        raise ValueError(
            f"{code!r} is not a currency of ISO 4217 (as of {iso4217.__published__}); give three"
            " capitals such as USD."
        )
    digits = str(known["CcyMnrUnts"])
    if not digits.isdecimal():
        raise ValueError(
            f"{code} ({known['CcyNm']}) has no minor unit by ISO 4217, so nothing says how its"
            " amounts are rounded; give a currency that people pay in, such as USD."
        )
    if int(digits) not in SUPPORTED:
        raise ValueError(
            f"{code} ({known['CcyNm']}) has {digits} decimals by ISO 4217, and Pricebook stores"
            " hundredths; give a currency of two decimals or none."
        )
    return int(digits)


_known = cache(minor_unit_of)


def minor_unit() -> int:
    """The number of decimals that an amount of the book has: 2 or 0."""
    return _known(settings.CURRENCY)


def smallest() -> Decimal:
    """The smallest amount: 0.01 or 1."""
    return Decimal(1).scaleb(-minor_unit())


def shown(amount: Decimal | int, sign: str = "") -> str:
    """1,234.50, in a currency without decimals 1,235. With `sign` "+" a positive one has its sign.

    An amount finer than the currency, as an average may be, is rounded half to even.
    """
    return f"{amount:{sign},.{minor_unit()}f}"


def plain(amount: Decimal) -> Decimal:
    """The amount with the decimals of the currency: 1148 of 1148.00, which is as it is stored."""
    return amount if minor_unit() else amount.quantize(Decimal(1))
