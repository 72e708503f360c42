"""Sentences that say what a price change does, for people."""

from __future__ import annotations

from price_changes.kinds import kind_of
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.running.outcomes import Outcome
from services.models import Skip


def sentence(change: PriceChange, names: Names) -> str:
    """The effect of a change in a sentence: "List price of Fibre: 250.00 → 260.00 USD"."""
    return kind_of(change).sentence(change, names)


def cancelled(outcome: Outcome) -> str:
    """The outcome of a change that was cancelled after its instant, in a sentence."""
    left = outcome["skipped"].get(Skip.Reason.CANCELLED, 0)
    says = f"Moved {outcome['applied']:,}"
    if outcome["taken_back_by"] is not None:
        says += f", taken back by price change {outcome['taken_back_by']}"
    if left:
        says += f"; {left:,} {'was' if left == 1 else 'were'} not moved"
    return f"{says}."
