"""Price changes as an explanation of a subscription's price describes them."""

from collections.abc import Collection

from price_changes.models import PriceChange
from price_changes.planning.pending import pending_of_each
from services.hooks import Change, PendingChange


def describe(change_id: int) -> Change | None:
    """The change, with who approved it (or planned it) as its author. One query."""
    change = PriceChange.objects.filter(pk=change_id).first()
    if change is None:
        return None
    author = change.approved_by or change.planned_by
    return Change(change.pk, author, change.title, change.reason)


def pending(subscriptions: Collection[int]) -> dict[int, list[PendingChange]]:
    """The changes that are scheduled for each of these subscriptions. Three queries."""
    found: dict[int, list[PendingChange]] = {id: [] for id in subscriptions}
    for change, id, new_price in pending_of_each(subscriptions):
        at = change.effective_at
        assert at is not None  # it is scheduled
        held = change.will_be_held
        found[id].append(PendingChange(change.pk, change.title, at, new_price, held))
    return found
