"""Template filters that put the words of price changes on pages."""

from django import template

from services.about_price_states import about
from services.models import Skip

register = template.Library()


@register.filter
def skip_reason(reason: str) -> str:
    """moved_since → moved since the approval"""
    return str(Skip.Reason(reason).label).lower()


@register.filter
def price_state(state: str) -> str:
    """follows → follows the catalogue"""
    return str(about(state).words) if state else ""
