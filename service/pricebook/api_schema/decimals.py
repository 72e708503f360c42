"""Decimals in the schema: amounts, and the operands of price changes.

    what an answer has     a number; with ?decimals=string a text of its digits
    what a request sends   either; a client that is generated for texts sends texts

`multipleOf` says nothing here: validators that compute it with floats refuse 19.99.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from pricebook.kit.currency import minor_unit
from pricebook.kit.decimals import AS_TEXT, NAME, FigureField

# Marks a decimal until all of the schema is there, and is taken out then.
DIGITS = "x-digits"
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
PARAMETER = {
    "name": NAME,
    "in": "query",
    "required": True,
    "description": "Decimals are texts: this schema is that of answers to requests with it."
    " Without it they are numbers, as `/api/schema/` describes them.",
    "schema": {"type": "string", "enum": [AS_TEXT], "default": AS_TEXT},
}


def digits_of(field: serializers.DecimalField, sent: bool) -> dict[str, Any]:
    return {
        "whole": field.max_whole_digits,
        "places": field.decimal_places,
        "sent": sent,
        "or_count": isinstance(field, FigureField),
    }


def decimals_in_form(node: Any, as_text: bool) -> Any:
    """The schema with each decimal as answers have it in this form."""
    if isinstance(node, list):
        return [decimals_in_form(each, as_text) for each in node]
    if not isinstance(node, dict):
        return node
    if DIGITS in node:
        return _decimal(dict(node), as_text)
    return {name: decimals_in_form(each, as_text) for name, each in node.items()}


def _decimal(described: dict[str, Any], as_text: bool) -> dict[str, Any]:
    digits, nullable = described.pop(DIGITS), "null" in described.pop("type")
    del described["format"]
    number: dict[str, Any] = {"type": "number", "format": "decimal"}
    number |= {name: described.pop(name) for name in BOUNDS if name in described}
    sign = "" if number.get("minimum") == 0 else "-?"
    # An operand has four decimals in any currency.
    places = digits["places"] if digits["places"] > 2 else min(digits["places"], minor_unit())
    decimals = rf"(\.[0-9]{{1,{places}}})?" if places else ""
    text = {
        "type": "string",
        "format": "decimal",
        "pattern": f"^{sign}[0-9]{{1,{digits['whole']}}}{decimals}$",
        "examples": ["12.50" if places else "12"],
    }
    number["examples"] = [12.5 if places else 12]
    if digits["sent"] and not as_text:
        forms = [number, text]
    elif digits["or_count"] and as_text:
        forms = [text, {"type": "integer"}]
    else:
        [form] = [text if as_text else number]
        return form | ({"type": [form["type"], "null"]} if nullable else {}) | described
    return {"oneOf": [*forms, *([{"type": "null"}] if nullable else [])]} | described
