"""Template filters that put the words of price changes on pages."""

from django import template

from price_changes.showing.sentences import PRICE_STATES
from services.models import Skip, Subscription

register = template.Library()


@register.filter
def skip_reason(reason: str) -> str:
    """moved_since → moved since the approval"""
    return str(Skip.Reason(reason).label).lower()


@register.filter
def price_state(state: str) -> str:
    """follows → follows the catalogue"""
    return PRICE_STATES[Subscription.PriceState(state)] if state else ""
