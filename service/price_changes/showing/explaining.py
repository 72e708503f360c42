"""Price changes as an explanation of a subscription's price describes them."""

from price_changes.models import PriceChange
from price_changes.planning.braked import brakes_of
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
    """The changes that are scheduled for a subscription. Three queries; one more if any is."""
    found = []
    pending = pending_of(subscription_id)
    braked = brakes_of(change for change, _ in pending)
    for change, new_price in pending:
        at = change.effective_at
        assert at is not None  # it is scheduled
        found.append(PendingChange(change.pk, change.title, at, new_price, change.pk in braked))
    return found
