"""A look before an approval, a cancel or a revert: what would move, and whether it takes another
person.

All that the verb would refuse is refused, and nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction

from price_changes.errors import NeedsAnother
from price_changes.kinds import is_of_catalogue
from price_changes.models import PriceChange
from price_changes.planning import notice_days, recount
from price_changes.planning import preview as previews
from price_changes.planning.around import counted_at
from price_changes.running import allowing, approval, brake, lifecycle, limits
from services.models import book_clock
from services.moves import ROWS_SHOWN, NeedsAnotherPerson


@dataclass(frozen=True)
class DryRun:
    """The rows that a verb would move; `needs_another` is why it takes another person, or empty."""

    moves: int
    before: Decimal
    after: Decimal
    rows: list[dict[str, Any]]  # the first ones
    needs_another: str

    @classmethod
    def of(cls, change: PriceChange, refusal: NeedsAnother | NeedsAnotherPerson | None) -> DryRun:
        preview = change.preview
        assert preview is not None
        return cls(
            preview["moves"],
            Decimal(preview["total_before"]),
            Decimal(preview["total_after"]),
            previews.first_rows(change, ROWS_SHOWN),
            "" if refusal is None else refusal.detail,
        )


def of_approval(
    change_id: int, fingerprint: str, author: str, when_moved: str | None = None
) -> DryRun:
    """The effect of an approval by this author; raises ChangeError as the approval would."""
    with allowing.held(change_id, "approve") as change:
        approval.refuse_fingerprint(change, fingerprint)
        when = approval.when_moved_given(change, when_moved)
        approval.refuse_if_nothing_moves(change)
        brake.refuse_if_on(change, counted_at(change), None)
        if counted_at(change) is not None:  # else the approval gives the instant
            notice_days.of_change(change, book_clock())
        exactly = not is_of_catalogue(change) and when != PriceChange.WhenMoved.CURRENT
        recount.refuse_if_moved(change, exactly)
        found = DryRun.of(change, limits.why_not(change, author))
        transaction.set_rollback(True)
    return found


def of_cancel(change_id: int, author: str) -> DryRun:
    """The effect of a cancel, which moves nothing before the instant of the change; raises
    ChangeError as the cancel would."""
    found = DryRun(0, Decimal(0), Decimal(0), [], "")
    with allowing.held(change_id, "cancel") as change:
        back = lifecycle.stop(change, author)
        if back is not None:
            back = previews.preview(back)
            found = DryRun.of(back, limits.why_not_taken_back(change, back, author))
        transaction.set_rollback(True)
    return found


def of_revert(change_id: int, author: str) -> DryRun:
    """The effect of a revert that is approved with it; raises ChangeError as the revert would."""
    with transaction.atomic():
        back = lifecycle.revert(change_id, author)
        brake.refuse_if_on(back, None, None)
        # Not `why_not`: its words name the number of a plan that is not there afterwards.
        found = DryRun.of(back, limits.beyond(author, limits.move_of(back)))
        transaction.set_rollback(True)
    return found
