"""The state of a change, and the reasons for which a row stays, in a word or two."""

from django.utils.translation import gettext as _

from price_changes.models import PriceChange
from services.models import Skip


def why(reason: str, by_change: int | None) -> str:
    """A reason, with the change that is one."""
    if by_change is None:
        return reason_of(reason)
    if reason == Skip.Reason.SUPERSEDED:
        return _("superseded by %(number)s") % {"number": by_change}
    return _("%(reason)s (price change %(number)s)") % {
        "reason": reason_of(reason),
        "number": by_change,
    }


def reason_of(reason: str) -> str:
    """A reason to stay, or to be skipped, in words."""
    known = reason in Skip.Reason
    return str(Skip.Reason(reason).label).lower() if known else reason


def state_of(status: str) -> str:
    """The state of a change, in a word."""
    return str(PriceChange.Status(status).label).lower()
