"""The colours of price states."""

from django import template

from services.about_price_states import about

register = template.Library()


@register.filter
def price_state_colour(state: str) -> str:
    return about(state).colour
