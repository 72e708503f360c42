"""The doors' way to a decision about one subscription's price: shown first, done, or planned.

show()     what a verb of `price_state` would do; nothing is written
decide()   do it; beyond the limits of its author, plan it, to wait for another person
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from services import price_state
from services.hooks import price_changes
from services.models import Subscription
from services.moves import NeedsAnotherPerson, WaitingPlan

VERBS: dict[str, Callable[..., Subscription]] = {
    "lock": price_state.lock,
    "release": price_state.release,
    "negotiate": price_state.negotiate,
    "follow": price_state.follow,
}
# The adjustment of a set that does the same.
ADJUSTMENTS = {"lock": "lock", "release": "release", "negotiate": "amount", "follow": "follow"}


@dataclass(frozen=True)
class Shown:
    """A subscription's price before a decision and after it, by a look that writes nothing.

    `old_until` and `locked_until` are the ends of its lock. `needs_another`: why it takes another
    person; empty if it would be done at once.
    """

    subscription: int
    old_price: Decimal
    price_state: str
    old_until: datetime | None
    new_price: Decimal
    new_state: str
    locked_until: datetime | None
    needs_another: str

    @property
    def moves(self) -> bool:
        before = (self.old_price, self.price_state, self.old_until)
        return before != (self.new_price, self.new_state, self.locked_until)


def decide(
    verb: str, subscription_id: int, author: str, **values: Any
) -> Subscription | WaitingPlan:
    """Do a verb; beyond the limits of its author, plan it. Raises as the verb does."""
    try:
        return VERBS[verb](subscription_id, author=author, **values)
    except NeedsAnotherPerson as needs:
        return price_changes().plan_for_one(
            subscription_id,
            ADJUSTMENTS[verb],
            author,
            needs.detail,
            operand=values.get("price"),
            locked_until=values.get("until"),
            reason=values.get("reason", ""),
        )


def show(verb: str, subscription_id: int, author: str, **values: Any) -> Shown:
    """The effect of a verb: it is done, read, and undone. Raises as the verb does."""
    in_force = Subscription.objects.in_force().filter(pk=subscription_id)
    before = in_force.first()
    why = ""
    with transaction.atomic():
        try:
            VERBS[verb](subscription_id, author=author, **values)
        except NeedsAnotherPerson as needs:
            why, after = needs.detail, needs.after
        else:
            after = in_force.get()
        transaction.set_rollback(True)
    assert before is not None
    assert after is not None
    return Shown(
        subscription_id,
        before.price,
        before.price_state,
        before.locked_until,
        after.price,
        after.price_state,
        after.locked_until,
        why,
    )
