"""JSON with exact numbers: a price is written digit by digit, never through a float.

A decimal is a number, `12.50`, or, for a reader whose numbers are floats, a text: `"12.50"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

import msgspec

from pricebook.kit.currency import minor_unit

# The hook is for Django's lazy translations, the only values in answers that are no plain type.
_NUMBERS = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
_TEXTS = msgspec.json.Encoder(decimal_format="string", enc_hook=str)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def encode(value: Any, as_text: bool = False) -> bytes:
    """The value as JSON; in a currency without decimals 1148 and not 1148.00, as it is stored.

    `as_text`: each decimal is a text of the same digits. Whole numbers (ids, counts) stay numbers.
    """
    encoder = _TEXTS if as_text else _NUMBERS
    return encoder.encode(value if minor_unit() else _each_decimal(value, _without_zeros))


def encode_to_keep(value: Any) -> bytes:
    """The value as JSON that `decode_kept` gives back: its decimals are told from its integers."""
    return _NUMBERS.encode(_each_decimal(value, _told_from_integers))


def decode_kept(content: bytes) -> Any:
    """The value that `encode_to_keep` was given; decimals have their digits, instants are texts."""
    return _decode(content)


def _without_zeros(value: Decimal) -> Decimal:
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value


def _told_from_integers(value: Decimal) -> Any:
    """5E0 for a decimal without decimals, which is the same decimal once it is read."""
    digits = str(value)
    return value if "." in digits or "E" in digits else msgspec.Raw(f"{digits}E0".encode())


def _each_decimal(value: Any, written: Callable[[Decimal], Any]) -> Any:
    if isinstance(value, Decimal):
        return written(value)
    if isinstance(value, Mapping):
        return {name: _each_decimal(each, written) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_each_decimal(each, written) for each in value]
    if is_dataclass(value):
        members = {each.name: getattr(value, each.name) for each in fields(value)}
        return _each_decimal(members, written)
    return value
