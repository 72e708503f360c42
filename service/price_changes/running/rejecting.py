"""The rejection of a planned change: a cancel whose reason everybody is told."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.kinds.values import parse_text
from price_changes.models import PriceChange
from price_changes.running import allowing, lifecycle

LONGEST = PriceChange._meta.get_field("rejected_because").max_length or 0


def reject(change_id: int, author: str, reason: Any) -> PriceChange:
    """End a change that is planned or held, and say why; nothing of it has moved or will.

    It is cancelled then, with `rejected_because`. ChangeError without a reason, and in any other
    state.
    """
    why = parse_text("reason", reason or "", LONGEST)
    if not why:
        raise ChangeError(
            "missing", _("Say why it is rejected: its planner reads that."), parameter="reason"
        )
    with allowing.held(change_id, "reject") as change:
        change.rejected_because = why
        change.save(update_fields=["rejected_because"])
        lifecycle.stop(change, author)
    return change
