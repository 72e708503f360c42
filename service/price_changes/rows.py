"""The rows of a change, a page at a time: what they paid, what they (are to) pay, or why not.

Before a change begins they are what its preview counted, computed anew. Afterwards those that have
moved are the ledger's entries; of those that were skipped, the ones that are somebody's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery, Sum

from price_changes import preview
from price_changes.models import PriceChange
from services.models import LedgerEntry, Skip, Subscription

PAGE = 50

# Skipped for what they are: counted chunk by chunk, not written down one by one.
COUNTED = {Skip.Reason.LOCKED, Skip.Reason.NEGOTIATED, Skip.Reason.ENDED, Skip.Reason.UNCHANGED}


@dataclass(frozen=True)
class Row:
    """One subscription. `place` is where the page behind it begins."""

    place: int
    subscription: int
    client: int | None = None
    service: int | None = None
    plan: int | None = None
    old_price: Decimal | None = None
    new_price: Decimal | None = None
    old_state: str = ""
    new_state: str = ""
    reason: str = ""
    detail: str = ""
    by_change: int | None = None


def kinds_of_rows(change: PriceChange) -> dict[str, tuple[str, int]]:
    """The lists that there are, each with its title and how many rows it has. Two queries."""
    if not change.started_at:
        seen = change.preview or {}
        if not seen or change.status == PriceChange.Status.CANCELLED:
            return {}
        return {
            "moves": ("Would move", seen["moves"]),
            **{reason: (_title(reason), rows) for reason, rows in seen["stays"].items()},
        }
    skipped = (
        Skip.objects.filter(repricing__change_id=change.pk, subscription_id__isnull=False)
        .order_by()
        .values_list("reason")
        .annotate(rows=Sum("rows"))
    )
    moved = LedgerEntry.objects.filter(change_id=change.pk).exists()
    return ({"moved": ("Moved", -1)} if moved else {}) | {
        reason: (_title(reason), rows) for reason, rows in sorted(skipped)
    }


def _title(reason: str) -> str:
    return str(Skip.Reason(reason).label).capitalize()


def page_of_rows(change: PriceChange, kind: str, after: int) -> list[Row]:
    """Up to `PAGE` rows of one of the kinds, on from a place. One or two queries.

    By keyset: a page costs the same wherever it is; one of a reason that few have reads on until
    it has found them.
    """
    if not change.started_at:
        return [
            Row(
                place=row["subscription"],
                subscription=row["subscription"],
                client=row["client"],
                service=row["service"],
                plan=row["plan"],
                old_price=row["old_price"],
                new_price=row["new_price"],
                old_state=row["price_state"],
                new_state=row["new_state"],
                reason=row["reason"] or "",
            )
            for row in preview.listed(change, after, PAGE, kind)
        ]
    return _moved(change, after) if kind == "moved" else _skipped(change, kind, after)


def moved_entries(change: PriceChange, after: int) -> QuerySet[Any]:
    """Of each subscription that it has moved its entry, with `old_price` and `old_state`.

    In the order of their ids, on from `after`.
    """
    before = LedgerEntry.objects.filter(
        subscription_id=OuterRef("subscription_id"), pk__lt=OuterRef("pk")
    ).order_by("-id")
    return (
        LedgerEntry.objects.filter(change_id=change.pk, subscription_id__gt=after)
        .order_by("subscription_id", "id")
        .distinct("subscription_id")
        .annotate(
            old_price=Subquery(before.values("price")[:1]),
            old_state=Subquery(before.values("price_state")[:1]),
        )
    )


def _moved(change: PriceChange, after: int) -> list[Row]:
    return [
        Row(
            place=entry.subscription_id,
            subscription=entry.subscription_id,
            client=entry.client_id,
            service=entry.service_id,
            plan=entry.plan_id,
            old_price=entry.old_price,
            new_price=entry.price,
            old_state=entry.old_state or "",
            new_state=entry.price_state,
        )
        for entry in moved_entries(change, after)[:PAGE]
    ]


def _skipped(change: PriceChange, reason: str, after: int) -> list[Row]:
    skips = list(
        Skip.objects.filter(
            repricing__change_id=change.pk,
            reason=reason,
            subscription_id__isnull=False,
            pk__gt=after,
        ).order_by("pk")[:PAGE]
    )
    known = Subscription.objects.in_bulk([skip.subscription_id for skip in skips])
    rows = []
    for skip in skips:
        assert skip.subscription_id is not None
        now = known.get(skip.subscription_id)
        rows.append(
            Row(
                place=skip.pk,
                subscription=skip.subscription_id,
                client=now.client_id if now else None,
                service=now.service_id if now else None,
                plan=now.plan_id if now else None,
                old_price=now.price if now else None,
                old_state=now.price_state if now else "",
                reason=skip.reason,
                detail=skip.detail,
                by_change=skip.by_change_id,
            )
        )
    return rows


def held_by(change: PriceChange) -> dict[int, int]:
    """Which later changes hold rows that this one left to them, and how many. One query."""
    return _by_change(
        Skip.objects.filter(repricing__change_id=change.pk, by_change_id__isnull=False),
        "by_change_id",
    )


def holds(change: PriceChange) -> dict[int, int]:
    """Which earlier changes left rows to this one, and how many. One query."""
    return _by_change(Skip.objects.filter(by_change_id=change.pk), "repricing__change_id")


def _by_change(skips: QuerySet[Skip], name: str) -> dict[int, int]:
    return dict(skips.order_by().values_list(name).annotate(sum=Sum("rows")))
