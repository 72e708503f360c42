"""Each price state: its words, its colour, and the reason to skip such a row."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy

from services.models import Skip, Subscription

PriceState = Subscription.PriceState


@dataclass(frozen=True)
class About:
    """The words, the colour and the reason of a price state.

    - `words`: what a row in it does or is, for pages
    - `adjective`: before "subscriptions"
    - `colour`: of its label, a type of Unfold's
    - `reason`: for which a change of the catalogue skips a row in it; None if it moves the row
    - `explained`: why a row in it has its price, with `{end}` of its lock; empty for the rule's
    """

    words: str | Promise
    adjective: str | Promise
    colour: str
    reason: Skip.Reason | None
    explained: str


ABOUT = {
    PriceState.FOLLOWS: About(
        _lazy("follows the catalogue"), _lazy("following"), "default", None, ""
    ),
    PriceState.LOCKED: About(
        _lazy("locked"),
        pgettext_lazy("subscriptions", "locked"),
        "warning",
        Skip.Reason.LOCKED,
        "is locked until {end}",
    ),
    PriceState.NEGOTIATED: About(
        _lazy("negotiated"),
        pgettext_lazy("subscriptions", "negotiated"),
        "info",
        Skip.Reason.NEGOTIATED,
        "was negotiated",
    ),
}


def about(state: str) -> About:
    return ABOUT[PriceState(state)]


def reason_of_state(column: str) -> str:
    """The reason as SQL, over a column with a price state; NULL for a row that follows."""
    reasons = {state: each.reason for state, each in ABOUT.items() if each.reason}
    whens = [f"WHEN '{state}' THEN '{reason}'" for state, reason in reasons.items()]
    return f"CASE {column} {' '.join(whens)} END"
