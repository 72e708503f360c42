"""A new list price or discount that a form would write: what it moves, and who has seen that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings

from pricebook.kit import figures
from services.catalogue_subject import CatalogueSubject
from services.hooks import price_changes
from services.moves import Effect, Move

CONFIRMED = "_confirmed"  # the field with what the question has shown


@dataclass(frozen=True)
class ValueEdit:
    """A new list price or discount that a form would write, and the other fields it would save."""

    subject: CatalogueSubject
    name: str
    old_value: Decimal | int
    value: Decimal | int
    comment: str
    author: str
    others: list[str]

    @property
    def said(self) -> str:
        if self.subject.role == "plan":
            return f"{self.old_value} → {self.value} %"
        before, after = (figures.amount(Decimal(each)) for each in (self.old_value, self.value))
        return f"{before} → {after} {settings.CURRENCY}"

    def effect(self) -> Effect:
        return price_changes().would_move(self.subject, Decimal(self.value), self.author)

    def confirmation(self, move: Move) -> str:
        """The figures that the question shows, which its button sends back."""
        return f"{self.old_value} {self.value} {move.rows} {move.before} {move.after}"

    def is_confirmed(self, given: str, move: Move) -> bool:
        """Whether a person has seen these figures, or such as differ by up to APPROVAL_DRIFT: in a
        busy book they move all the time."""
        old, value, *seen = given.split(" ")[:5] if given.count(" ") == 4 else ("", "")
        if (old, value) != (str(self.old_value), str(self.value)):
            return False
        if not all(re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,4})?", each, re.ASCII) for each in seen):
            return False
        shown = [Decimal(each) for each in seen]
        now = (Decimal(move.rows), move.before, move.after)
        return all(
            abs(is_now - was) * 100 <= was * settings.APPROVAL_DRIFT
            for was, is_now in zip(shown, now, strict=True)
        )
