"""Formats figures for pages."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone

from pricebook.kit.currency import shown


def grouped(number: int | float) -> str:
    """12431 → 12,431"""
    return f"{number:,.0f}"


def money(amount: Decimal | None) -> str:
    """Decimal("1234.5") → 1,234.50 USD; nothing is 0.00 USD."""
    return f"{shown(amount or 0)} {settings.CURRENCY}"


def amount(amount: Decimal | None) -> str:
    """Decimal("1234.5") → 1,234.50, where a heading names the currency; None is empty."""
    return "" if amount is None else shown(amount)


def difference(amount: Decimal) -> str:
    """Decimal("-3") → −3.00, Decimal(3) → +3.00"""
    sign = "−" if amount < 0 else "+" if amount > 0 else "±"
    return f"{sign}{shown(abs(amount))}"


def instant(at: datetime | None) -> str:
    """2026-01-31 12:00 UTC: in the deployment's time zone, which is named."""
    return "" if at is None else f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}"


def item(mapping: Mapping[Any, Any], key: Any) -> Any:
    return mapping.get(key)


def left(time: timedelta) -> str:
    """The time that is left, in whole seconds or minutes; at least one second."""
    seconds = max(1, round(time.total_seconds()))
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
