"""Price changes as an explanation of a subscription's price describes them."""

from price_changes.models import PriceChange
from price_changes.planning.pending import pending_of
from services.hooks import Change, PendingChange


def describe(change_id: int) -> Change | None:
    """The change, with who approved it (or planned it) as its author. One query."""
    change = PriceChange.objects.filter(pk=change_id).first()
    if change is None:
        return None
    author = change.approved_by or change.planned_by
    return Change(change.pk, author, change.title, change.reason)


def pending(subscription_id: int) -> list[PendingChange]:
    """The changes that are scheduled for a subscription. Three queries."""
    found = []
    for change, new_price in pending_of(subscription_id):
        assert change.effective_at is not None  # it is scheduled
        found.append(PendingChange(change.pk, change.title, change.effective_at, new_price))
    return found
