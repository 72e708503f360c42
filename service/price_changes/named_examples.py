"""Price changes that are made up for named statements, and not saved."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from price_changes.models import PriceChange
from services.audit.book_examples import Examples

Kind, Adjustment, WhenMoved = PriceChange.Kind, PriceChange.Adjustment, PriceChange.WhenMoved


def a_change(example: Examples, **values: Any) -> PriceChange:
    defaults = {
        "pk": 0,
        "comment": "",
        "adjustment": "",
        "when_moved": WhenMoved.FROZEN,
        "for_new_only": False,
        "for_one": False,
        "effective_at": example.middle.started_at,
        "approval": 0,
    }
    return PriceChange(**(defaults | values))


def a_list_price(example: Examples, **values: Any) -> PriceChange:
    service_id = example.middle.service_id
    given = {"kind": Kind.LIST_PRICE, "service_id": service_id, "new_value": Decimal(100)}
    return a_change(example, **(given | values))


def a_set(example: Examples, **values: Any) -> PriceChange:
    given = {
        "kind": Kind.SET,
        "filter": {"service": example.middle.service_id},
        "adjustment": Adjustment.PERCENT,
        "operand": Decimal(5),
    }
    return a_change(example, **(given | values))
