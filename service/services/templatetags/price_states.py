"""The colours of price states."""

from django import template

register = template.Library()

PRICE_STATE_COLOURS = {"follows": "default", "locked": "warning", "negotiated": "info"}


@register.filter
def price_state_colour(state: str) -> str:
    return PRICE_STATE_COLOURS[state]
