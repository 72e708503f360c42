"""Wakes a worker at once after a save of the catalogue; all else is done by triggers.

Only for Service and Plan. (No receiver on deletions of subscriptions: the total needs none, and one
would disable Django's fast deletes.) Edits that send no signal, such as `QuerySet.update` or SQL,
are found by the sweep.
"""

from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from services.models import Plan, Service
from services.tasks import set_comment, set_price, wake


@receiver(post_save, sender=Service)
@receiver(post_save, sender=Plan)
def wake_workers(
    sender: type[Service | Plan],
    created: bool,
    update_fields: Collection[str] | None,
    using: str,
    **kwargs: Any,
) -> None:
    moved = {"full_price", "discount_percent"}
    if created or (update_fields is not None and moved.isdisjoint(update_fields)):
        return
    # After the commit: a worker that came earlier would find nothing to do.
    transaction.on_commit(_wake, using=using, robust=True)


def _wake() -> None:
    wake(set_price, set_comment)
