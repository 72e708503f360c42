"""Reprices or stamps one subscription by itself, now."""

from __future__ import annotations

import time

from django.db.models import Q

from services.models import Repricing, Subscription
from services.repricing import comments, followers
from services.repricing.drain import pause
from services.repricing.locks import LockHeld, giving_way, lock_catalogue


def reprice_one(subscription_id: int, seconds: float = 60.0) -> bool:
    """Bring one subscription's price in line with the rule now; return whether it moved.

    A subscription that waits for a paused change, or for one that keeps prices, is left to that.
    `LockHeld` when somebody's open transaction is in the way for longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    subscriptions = Subscription.objects.filter(pk=subscription_id)
    while True:
        try:
            with giving_way():
                pair = subscriptions.values_list("service_id", "plan_id").first()
                if pair is None:
                    return False
                lock_catalogue(*pair)
                due = Repricing.objects.due().concerning(*pair)
                if due.filter(Q(paused_at__isnull=False) | Q(kind=Repricing.Mode.KEEP)).exists():
                    return False
                # If it moves to another pair meanwhile, it is priced by that write.
                return followers.move(subscriptions, *pair, alone=False) > 0
        except LockHeld:
            if time.monotonic() > deadline:
                raise
            pause()


def stamp_one(subscription_id: int, comment: str | None = None) -> bool:
    """Stamp one subscription now, with `comment` or with that of the newest edit that has one.

    A person's comment stays. Returns whether anything was written.
    """
    subscriptions = Subscription.objects.filter(pk=subscription_id)
    if comment is None:
        pair = subscriptions.values_list("service_id", "plan_id").first()
        if pair is None:
            return False
        comment = (
            Repricing.objects.exclude(comment="")
            .concerning(*pair)
            .order_by("-id")
            .values_list("comment", flat=True)
            .first()
        )
    return comments.write(subscriptions, comment) > 0 if comment else False
