"""The refusals of price changes: what a caller did wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pricebook.kit.refusal import Refusal
from pricebook.words.stored import Said, in_english
from services.moves import NeedsAnotherPerson

if TYPE_CHECKING:
    from price_changes.models import PriceChange


class ChangeError(Refusal):
    """A refusal to plan a price change, or to do what a verb asks of it."""


class NeedsAnother(ChangeError):
    """A refusal to do alone what takes another person, who is none by `alone`."""

    def __init__(self, refusal: NeedsAnotherPerson, alone: str = "") -> None:
        both = [each for each in (alone, refusal.detail) if each]
        detail = Said(" ".join(both))
        detail.english = " ".join(map(in_english, both))
        super().__init__(refusal.code, detail, refusal.status_code, **refusal.about)
        self.move = refusal.move


class MovedSincePreview(ChangeError):
    """A refusal to approve a change that no longer does what its preview showed.

    `about` has `moved`: each figure that differs, with `was` and `now`. `change` is the change with
    its new preview, if that was stored; then `about` has its `fingerprint` too.
    """

    def __init__(self, detail: str, change: PriceChange | None = None, **about: Any) -> None:
        if change is not None:
            about["fingerprint"] = change.fingerprint
        super().__init__("moved_since_preview", detail, 409, **about)
        self.change = change
