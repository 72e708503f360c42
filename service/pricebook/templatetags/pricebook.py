"""How figures are written on pages."""

from datetime import timedelta
from decimal import Decimal

from django import template
from django.conf import settings

register = template.Library()


@register.filter
def grouped(number: int | float) -> str:
    """12431 → 12,431"""
    return f"{number:,.0f}"


@register.filter
def money(amount: Decimal | None) -> str:
    """Decimal("1234.5") → 1,234.50 USD; nothing is 0.00 USD."""
    return f"{amount or 0:,.2f} {settings.CURRENCY}"


@register.filter
def left(time: timedelta) -> str:
    """The time that is left, in whole seconds or minutes."""
    seconds = round(time.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
