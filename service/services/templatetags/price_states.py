"""The colours of price states."""

from django import template

from services.about_price_states import about
from services.models import Subscription

register = template.Library()


@register.filter
def price_state_word(state: str) -> str:
    """follows → follows, in the reader's language"""
    return str(Subscription.PriceState(state).label).lower() if state else ""


@register.filter
def price_state_colour(state: str) -> str:
    return about(state).colour
