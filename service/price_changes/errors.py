"""What a caller of price changes did wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pricebook.kit.refusal import Refusal

if TYPE_CHECKING:
    from price_changes.models import PriceChange


class ChangeError(Refusal):
    """A price change can't be planned, or what was asked of one can't be done."""


class MovedSincePreview(ChangeError):
    """What is to be approved is no longer what its preview showed.

    `about` has in `moved` each figure that is another one, with `was` and `now`. `change` is the
    change with the new preview, where that was kept; then `about` has its `fingerprint` too.
    """

    def __init__(self, detail: str, change: PriceChange | None = None, **about: Any) -> None:
        if change is not None:
            about["fingerprint"] = change.fingerprint
        super().__init__("moved_since_preview", detail, 409, **about)
        self.change = change
