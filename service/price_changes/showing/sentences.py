"""Sentences that say what a price change does, for people."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from price_changes.kinds import kind_of
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.running.outcomes import Outcome
from pricebook.kit.figures import grouped
from services.models import Skip


def sentence(change: PriceChange, names: Names) -> str:
    """The effect of a change in a sentence: "List price of Fibre: 250.00 → 260.00 USD"."""
    return kind_of(change).sentence(change, names)


def cancelled(outcome: Outcome) -> str:
    """The outcome of a change that was cancelled after its instant, in a sentence."""
    left = outcome["skipped"].get(Skip.Reason.CANCELLED, 0)
    values = {
        "rows": grouped(outcome["applied"]),
        "number": outcome["taken_back_by"],
        "left": grouped(left),
    }
    if outcome["taken_back_by"] is None:
        text = _("Moved %(rows)s")
    else:
        text = _("Moved %(rows)s, taken back by price change %(number)s")
    if left:
        text += ngettext("; %(left)s was not moved", "; %(left)s were not moved", left)
    return f"{text % values}."
