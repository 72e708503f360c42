"""JSON with exact numbers: a price is written digit by digit, never through a float."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from pricebook.kit.currency import minor_unit

# The hook is for Django's lazy translations, the only values in answers that are no plain type.
_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def encode(value: Any) -> bytes:
    """The value as JSON; in a currency without decimals 1148 and not 1148.00, as it is stored."""
    return _ENCODER.encode(value if minor_unit() else _without_zeros(value))


def _without_zeros(value: Any) -> Any:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _without_zeros(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_zeros(each) for each in value]
    return value
