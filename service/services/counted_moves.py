"""Counts what a write does to prices, for the policy of limits: of one subscription, or of all that
follow a value of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

from services.catalogue_subject import CatalogueSubject
from services.hooks import price_changes
from services.models import Repricing, Subscription
from services.moves import Move, NeedsAnotherPerson, largest_percent
from services.repricing.catalogue_edits import catalogue_edit

Stands = tuple[Decimal, str, datetime | None]


@contextmanager
def counted(subscription: Subscription, author: str) -> Iterator[None]:
    """Count what the block writes to a subscription as a move that this author makes alone.

    Raises NeedsAnotherPerson beyond a limit; the caller's transaction has to end then. The
    subscription has to be locked by it, and is what is written after the block. Up to eight
    queries; none where no limit is set.
    """
    if not price_changes().has_limits():
        yield
        return
    before = stands(subscription)
    yield
    after = stands(subscription)
    if after == before:
        return
    names = ("subscription", "client", "service", "plan")
    ids = (subscription.pk, *(getattr(subscription, f"{name}_id") for name in names[1:]))
    move = Move(
        1,
        before[0],
        after[0],
        abs(after[0] - before[0]),
        largest_percent(before[0], after[0]),
        dict(zip(names, ids, strict=True)),
    )
    try:
        price_changes().moved_alone(author, move)
    except NeedsAnotherPerson as needs:
        needs.after = subscription
        raise


def stands(subscription: Subscription) -> Stands:
    """The price in force, the state and the end of the lock. One query."""
    found = Subscription.objects.in_force().filter(pk=subscription.pk)
    price, state, until = found.values_list("price", "price_state", "locked_until").get()
    return price, state, until


@contextmanager
def counted_edit(
    subject: CatalogueSubject, value: Decimal, author: str, comment: str = ""
) -> Iterator[None]:
    """A `catalogue_edit` whose block writes this list price or discount, which is another one than
    the value in force: counted as a move that its author makes alone.

    Raises NeedsAnotherPerson beyond a limit, and what the block wrote is undone. Two queries; where
    a limit is set also those of a preview, and up to seven.
    """
    policy = price_changes()
    move = policy.would_move(subject, value, author).move if policy.has_limits() else None
    with catalogue_edit(author=author, comment=comment):
        yield
        if move is not None:
            edit = Repricing.objects.filter(**{f"{subject.role}_id": subject.id}).latest("id")
            policy.moved_alone(author, move, *([edit.change_id] if edit.change_id else []))
