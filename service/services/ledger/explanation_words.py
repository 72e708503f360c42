"""The parts of an explanation of a price, in words."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from pricebook.kit.currency import plain
from services.hooks import Change
from services.ledger.entries import Entry
from services.models import Subscription

PriceState = Subscription.PriceState


def arithmetic(list_price: Decimal, discount_percent: int, price: Decimal) -> str:
    """The rule with its numbers, as people write it."""
    exact = list_price * (100 - discount_percent) / 100
    list_price, price = plain(list_price), plain(price)
    sides = f"{list_price} × (100 − {discount_percent}) / 100"
    if exact == price:
        return f"{sides} = {price}"
    return _("%(sides)s = %(exact)s, rounded half up to %(price)s") % {
        "sides": sides,
        "exact": f"{exact.normalize():f}",
        "price": price,
    }


def of_own_price(state: str, until: datetime | None) -> str:
    """A text about a locked or negotiated price, with places for the price and the reason."""
    if state == PriceState.NEGOTIATED:
        return _("Its price of %(price)s was negotiated%(reason)s.")
    if until is None:
        return _("Its price of %(price)s is locked until it is released%(reason)s.")
    text = _("Its price of %%(price)s is locked until %(end)s%%(reason)s.")
    return text % {"end": at_said(until)}


def decided(found: Entry, change: Change | None, author: str) -> str:
    since = {"since": at_said(found["effective_at"]), "author": author}
    if change is None:
        text = (
            _("So since %(since)s, written by %(author)s.")
            if author
            else _("So since %(since)s, written.")
        )
        return text % since
    title = f" “{change.title}”" if change.title else ""
    text = (
        _("So since %(since)s, by price change %(number)s%(title)s, decided by %(author)s.")
        if author
        else _("So since %(since)s, by price change %(number)s%(title)s.")
    )
    return text % {**since, "number": change.id, "title": title}


def at_said(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
