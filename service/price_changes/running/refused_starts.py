"""The reason for which the database refuses to start a change, in words for people."""

from django.db import DatabaseError

from price_changes import notes
from price_changes.models import PriceChange
from services.models.catalogue import SAME_DISCOUNT


def reason(change: PriceChange, error: DatabaseError) -> str:
    """The reason for which the database refuses the start: ours for a known constraint, else its
    own."""
    refused_by = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
    if refused_by == SAME_DISCOUNT and change.plan is not None:
        to = f"{change.plan.plan_type} {change.new_value:.0f} %"
        return notes.PLAN_THERE % {"to": to}
    return str(error).partition("\n")[0]
