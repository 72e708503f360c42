"""The rows of a change, a page at a time: the old price, and the new one or the reason for none.

Before a change begins they are computed anew, as for a preview. Afterwards the rows that have moved
are read from the ledger, and the skipped ones from `Skip`, which names only some of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from django.db import connection
from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _

from price_changes.kinds.rows import ChangeRow
from price_changes.models import PriceChange
from price_changes.planning import preview
from services.models import LedgerEntry, MovedFollowers, Skip, Subscription

PAGE = 50


def kinds_of_rows(change: PriceChange) -> dict[str, tuple[str, int]]:
    """The lists of rows, each with its title and its number of rows (-1: unknown).

    Up to three queries.
    """
    if not change.started_at:
        seen = change.preview or {}
        if not seen or change.status == PriceChange.Status.CANCELLED:
            return {}
        return {
            "moves": (_("Would move"), seen["moves"]),
            **{reason: (_title(reason), rows) for reason, rows in seen["stays"].items()},
        }
    skipped = _named(change).values_list("reason").annotate(rows=Sum("rows"))
    moved = any(
        entries.filter(change_id=change.pk).exists()
        for entries in (LedgerEntry.objects, MovedFollowers.objects)
    )
    return ({"moved": (_("Moved"), -1)} if moved else {}) | {
        reason: (_title(reason), rows) for reason, rows in sorted(skipped)
    }


def named_reasons(change: PriceChange) -> set[str]:
    """The reasons of the skips that are listed one by one; others are only counted. One query."""
    return set(_named(change).values_list("reason", flat=True).distinct())


def _named(change: PriceChange) -> QuerySet[Skip]:
    skips = Skip.objects.filter(repricing__change_id=change.pk, subscription_id__isnull=False)
    return skips.order_by()


def _title(reason: str) -> str:
    return str(Skip.Reason(reason).label).capitalize()


def page_of_rows(
    change: PriceChange, kind: str, after: int, clients: Collection[int] | None = None
) -> list[ChangeRow]:
    """Up to `PAGE` rows of one of the kinds, after a subscription; only of some clients if given.
    One or two queries, one more for clients once the change has begun.

    By keyset, so that a page costs the same wherever it is; but before the change begins, a page of
    a rare reason reads on until it has found its rows.
    """
    if clients is not None:
        if change.started_at is None:
            return preview.listed(change, after, PAGE, kind, clients)
        of_them = Subscription.objects.filter(client__in=clients).values_list("pk", flat=True)
        some = list(of_them)
        if kind == "moved":
            return moved_rows(change, after, PAGE, some)
        return _left(change, after, PAGE, kind, some)
    if kind == "moved":
        return moved_rows(change, after, PAGE)
    return rows_of(change, after, PAGE, kind)


# The first entry that each subscription has of the change, and the entry before that. Chunks of
# moved followers are read only until they have the next rows: all rows of a chunk that begins
# after the place are still to come, and at least the last row of any other.
MOVED_ROWS = """
WITH nearest AS (
    SELECT last_id, sum(CASE WHEN first_id > %(after)s THEN number ELSE 1 END)
                    OVER (ORDER BY last_id) AS rows
      FROM services_movedfollowers WHERE change_id = %(change)s AND last_id > %(after)s
), copied AS (
    SELECT item.subscription_id, service_id, plan_id, price, old_price, effective_at, item.id
      FROM services_movedfollowers
     CROSS JOIN LATERAL (
           SELECT * FROM unnest(subscription_ids, entry_ids) item (subscription_id, id)
            WHERE subscription_id > %(after)s {of_some}
            ORDER BY subscription_id LIMIT %(limit)s) item
     WHERE change_id = %(change)s AND last_id > %(after)s {nearest}
     ORDER BY subscription_id LIMIT %(limit)s
), own AS (
    SELECT DISTINCT ON (subscription_id) *
      FROM services_ledgerentry
     WHERE change_id = %(change)s AND subscription_id > %(after)s {of_some}
     ORDER BY subscription_id, id LIMIT %(limit)s
), entry AS (
    SELECT DISTINCT ON (subscription_id) *
      FROM (SELECT subscription_id, id, client_id, service_id, plan_id, effective_at,
                   price, price_state, locked_until, NULL::numeric AS old_price FROM own
             UNION ALL
            SELECT subscription_id, id, NULL, service_id, plan_id, effective_at,
                   price, 'follows', NULL, old_price FROM copied) each
     ORDER BY subscription_id, id LIMIT %(limit)s
)
SELECT entry.subscription_id, coalesce(entry.client_id, its.client_id), service_id, plan_id,
       coalesce(old_price, before.price),
       CASE WHEN old_price IS NULL THEN before.price_state ELSE 'follows' END,
       entry.price, entry.price_state, locked_until, NULL
  FROM entry
  LEFT JOIN LATERAL (
       SELECT client_id FROM services_ledgerentry
        WHERE subscription_id = entry.subscription_id AND id < entry.id
          AND entry.client_id IS NULL
        ORDER BY id DESC LIMIT 1) its ON true
  LEFT JOIN LATERAL (
       SELECT price, price_state FROM entries_of(entry.subscription_id) earlier
        WHERE old_price IS NULL AND NOT period_only
          AND (effective_at, id) < (entry.effective_at, entry.id)
        ORDER BY effective_at DESC, id DESC LIMIT 1) before ON true
 ORDER BY entry.subscription_id
"""
NEAREST = (
    "AND (first_id <= (SELECT min(last_id) FROM nearest WHERE rows >= %(limit)s)) IS NOT FALSE"
)
MOVED = MOVED_ROWS.format(nearest=NEAREST, of_some="")
# Chunks say nothing of clients: all of the change are read, and each has few of these rows.
MOVED_OF_SOME = MOVED_ROWS.format(nearest="", of_some="AND subscription_id = ANY(%(some)s)")


def moved_rows(
    change: PriceChange, after: int, limit: int, some: Collection[int] | None = None
) -> list[ChangeRow]:
    """The rows that a change has moved, old → new, by the ledger; only of some subscriptions if
    given.

    In the order of the subscriptions' ids, after `after`. One query.
    """
    asked: dict[str, Any] = {"change": change.pk, "after": after, "limit": limit}
    with connection.cursor() as cursor:
        if some is None:
            cursor.execute(MOVED, asked)
        else:
            cursor.execute(MOVED_OF_SOME, asked | {"some": list(some)})
        return [replace(ChangeRow(*row), moved=True) for row in cursor.fetchall()]


def rows_of(
    change: PriceChange, after: int, limit: int, reason: str | None = None
) -> list[ChangeRow]:
    """Up to `limit` rows of a change after `after`, in the order of the subscriptions' ids.

    Before the change begins: what it would do. Afterwards: the rows that it has moved, those that
    wait on the list of a set, and those that were skipped or failed, with the reason. Only rows of
    `reason` if given; "moves" means those without one. Up to four queries.
    """
    if change.started_at is None:
        if change.status == PriceChange.Status.CANCELLED:
            return []
        return preview.listed(change, after, limit, reason)
    # The list is read before the ledger: a row that a worker moves meanwhile is found twice, and
    # not missed. The later one counts.
    found: list[ChangeRow] = []
    if reason in (None, "moves"):
        found += _waiting(change, after, limit)
        found += moved_rows(change, after, limit)
    if reason != "moves":
        found += _left(change, after, limit, reason)
    known = {row.subscription: row for row in found}
    return [known[pk] for pk in sorted(known)[:limit]]


# At least one row of each stretch is still to come, its last one; so the first `limit` rows are in
# stretches that begin no later than the end of the `limit`th one.
WAITING = """
WITH stretch AS MATERIALIZED (
    SELECT listed.id, first_id, listed.last_id, greatest(%(after)s, after_id) AS after_id
      FROM price_changes_listedrows listed
      JOIN services_repricing work USING (change_id)
      JOIN services_repricingstep step
        ON repricing_id = work.id AND step.kind = 'price'
       AND (step.service_id, step.plan_id) = (listed.service_id, listed.plan_id)
     WHERE change_id = %(change)s AND listed.last_id > greatest(%(after)s, after_id)
), item AS (
    SELECT item.*, service_id, plan_id
      FROM stretch JOIN price_changes_listedrows listed USING (id)
     CROSS JOIN unnest(ids, prices, price_states, new_prices, new_states, new_untils)
        AS item (item_id, old_price, price_state, new_price, new_state, new_until)
     WHERE item_id > after_id AND stretch.first_id <= (
           SELECT max(last_id)
             FROM (SELECT last_id FROM stretch ORDER BY last_id LIMIT %(limit)s) nearest)
     ORDER BY item_id LIMIT %(limit)s
)
SELECT item_id, client_id, item.service_id, item.plan_id, old_price, item.price_state, new_price,
       new_state, new_until, NULL
  FROM item LEFT JOIN services_subscription subscription ON subscription.id = item_id
 ORDER BY item_id
"""


def _waiting(change: PriceChange, after: int, limit: int) -> list[ChangeRow]:
    """The rows on a set's list that no worker has moved yet."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING, {"change": change.pk, "after": after, "limit": limit})
        return [ChangeRow(*row) for row in cursor.fetchall()]


def _left(
    change: PriceChange,
    after: int,
    limit: int,
    reason: str | None,
    some: Collection[int] | None = None,
) -> list[ChangeRow]:
    """The rows that were skipped or failed, as they stand now."""
    skips = Skip.objects.filter(repricing__change_id=change.pk, subscription_id__gt=after)
    if some is not None:
        skips = skips.filter(subscription_id__in=some)
    if reason is None:
        skips = skips.exclude(reason=Skip.Reason.NOT_STAMPED)  # it was moved
    else:
        skips = skips.filter(reason=reason)
    found = list(skips.order_by("subscription_id")[:limit])
    known = Subscription.objects.in_bulk([skip.subscription_id for skip in found])
    return [_skipped(skip, known.get(skip.subscription_id or 0)) for skip in found]


def _skipped(skip: Skip, now: Subscription | None) -> ChangeRow:
    assert skip.subscription_id is not None
    return ChangeRow(
        subscription=skip.subscription_id,
        client=now.client_id if now else None,
        service=now.service_id if now else None,
        plan=now.plan_id if now else None,
        old_price=now.price if now else None,
        price_state=now.price_state if now else None,
        new_price=None,
        new_state=None,
        locked_until=now.locked_until if now else None,
        reason=skip.reason,
        moved=skip.reason == Skip.Reason.NOT_STAMPED,
        by_change=skip.by_change_id,
        detail=skip.detail,
    )


def held_by(change: PriceChange) -> dict[int, int]:
    """The later changes that hold rows of this one, each with the number of rows. One query."""
    return _by_change(
        Skip.objects.filter(repricing__change_id=change.pk, by_change_id__isnull=False),
        "by_change_id",
    )


def holds(change: PriceChange) -> dict[int, int]:
    """The earlier changes that left rows to this one, each with their number. One query."""
    return _by_change(Skip.objects.filter(by_change_id=change.pk), "repricing__change_id")


def _by_change(skips: QuerySet[Skip], name: str) -> dict[int, int]:
    return dict(skips.order_by().values_list(name).annotate(sum=Sum("rows")))
