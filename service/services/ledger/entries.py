"""The entries of one subscription, as readers are shown them."""

from __future__ import annotations

from typing import Any

from services.models import LedgerEntry

# What readers are shown of an entry. `price` is None in the entry of a deletion.
COLUMNS = (
    "id",
    "subscription_id",
    "client_id",
    "service_id",
    "plan_id",
    "price",
    "price_state",
    "locked_until",
    "effective_at",
    "recorded_at",
    "change_id",
    "author",
)
Entry = dict[str, Any]


def history(subscription_id: int, after: int = 0, limit: int | None = None) -> list[Entry]:
    """Every price that a subscription ever had, in the order of their writing, newest last.

    Of one that was deleted too; empty for one that never was. From entry `after` on, up to
    `limit`. One query.
    """
    entries = LedgerEntry.objects.filter(subscription_id=subscription_id, id__gt=after)
    return list(entries.order_by("id").values(*COLUMNS)[:limit])
