"""The movers: each does the next rows of a step, for a kind of repricing."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Count, Max

from services.hooks import Chunk, price_changes
from services.models import (
    Repricing,
    RepricingStep,
    Subscription,
    SubscriptionQuerySet,
)
from services.repricing import accounts, comments, followers, keeping
from services.repricing.locks import lock_catalogue

PRICE, COMMENT = RepricingStep.Lane.PRICE, RepricingStep.Lane.COMMENT


def _next_rows(step: RepricingStep, size: int) -> tuple[SubscriptionQuerySet, int, int, bool]:
    """The next `size` rows of a step's pair; their number, the last id, whether none are left.

    No more rows than these are read.
    """
    ahead = Subscription.objects.of_pair(
        step.service_id, step.plan_id, step.after_id, step.last_id
    )[:size].aggregate(last=Max("id"), rows=Count("id"))
    rows, done = ahead["rows"], ahead["rows"] < size
    last_id = step.last_id if done else ahead["last"]
    # With equalities: for a range the planner would read the whole service for one of its plans.
    chunk = Subscription.objects.filter(
        service_id=step.service_id, plan_id=step.plan_id, id__gt=step.after_id, id__lte=last_id
    )
    return chunk, rows, last_id, done


def move_pair(step: RepricingStep, size: int) -> Chunk:
    """Move followers of the step's pair to the rule's price."""
    lock_catalogue(step.service_id, step.plan_id)
    rows, count, last_id, done = _next_rows(step, size)
    if not count:
        return Chunk(0, last_id, 0, True)
    given_back = 0
    if step.repricing.unkeeps_change_id is not None:
        given_back = keeping.give_back(rows, step.repricing)
    moved, by = followers.moved_by(rows, step.service_id, step.plan_id, number=count)
    if moved == count and by == step.repricing.change_id:
        return Chunk(count, last_id, moved, done)
    return _counted(step, last_id, done, count, given_back + moved)


def keep_pair(step: RepricingStep, size: int) -> Chunk:
    """Lock followers at the price that they had before the change, which is for new ones only."""
    lock_catalogue(step.service_id, step.plan_id)
    rows, count, last_id, done = _next_rows(step, size)
    moved = keeping.keep(rows, step.repricing, step.service_id, step.plan_id)
    # Subscriptions that came between the instant and the start have yet to get the new price.
    moved += followers.move(rows, step.service_id, step.plan_id)
    return _counted(step, last_id, done, count, moved)


def _counted(step: RepricingStep, last_id: int, done: bool, rows: int, written: int) -> Chunk:
    """The chunk, with the change's counts of its rows."""
    if step.repricing.change_id is None:
        return Chunk(rows, last_id, written, done)
    rows, moved = accounts.count(step, last_id)
    return Chunk(rows, last_id, moved, done, written=written)


def stamp_pair(step: RepricingStep, size: int) -> Chunk:
    """Stamp the repricing's comment on followers of the step's pair, or take a stamp back."""
    rows, count, last_id, done = _next_rows(step, size)
    repricing = step.repricing
    if repricing.unstamps_change_id is None:
        moved = comments.write(rows.following(), repricing.comment, repricing.change_id)
    else:
        moved = comments.take_back(rows, repricing.unstamps_change_id)
    return Chunk(count, last_id, moved, done)


def move_rows(step: RepricingStep, size: int) -> Chunk:
    """Move the next rows of a price change's list."""
    return price_changes().move_rows(step, size)


MOVERS: dict[str, Callable[[RepricingStep, int], Chunk]] = {
    Repricing.Mode.CATALOGUE: move_pair,
    Repricing.Mode.KEEP: keep_pair,
    Repricing.Mode.ROWS: move_rows,
}


def next_row(step: RepricingStep) -> int | None:
    """The next row that a step would move; None if there is none left."""
    if step.kind == PRICE and step.repricing.kind == Repricing.Mode.ROWS:
        return price_changes().next_row(step)
    rows = Subscription.objects.of_pair(step.service_id, step.plan_id, step.after_id, step.last_id)
    return rows.values_list("pk", flat=True).first()
