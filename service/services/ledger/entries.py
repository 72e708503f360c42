"""The entries of one subscription, as they are shown to readers."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connection

# The reason of a row's locked or negotiated price, also if the row is listed and not copied yet.
REASON_NOW = """CASE WHEN (SELECT listed_late()) IS NULL THEN subscription.price_reason
            ELSE coalesce((SELECT listed_reason(listed) FROM listed_as(subscription.id) listed),
                          subscription.price_reason) END"""
# The columns of an entry that are shown to readers, those of the ledger's own first. `price` is
# None in the entry of a deletion, `started_at` in one that is older than the period in entries.
OWN = (
    "id",
    "subscription_id",
    "client_id",
    "service_id",
    "plan_id",
    "price",
    "price_state",
    "locked_until",
    "started_at",
    "ended_at",
    "unpaid_since",
    "period_only",
    "effective_at",
    "recorded_at",
    "change_id",
    "author",
)
COLUMNS = (*OWN, "correction_id")
Entry = dict[str, Any]

OF_ONE = f"""
SELECT {", ".join(COLUMNS)} FROM entries_of(%(id)s)
 UNION ALL
SELECT {", ".join(COLUMNS)} FROM services_correctedentry WHERE subscription_id = %(id)s
"""  # noqa: S608 - constants
HISTORY = f"SELECT * FROM ({OF_ONE}) entry WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"  # noqa: S608

NEWEST = f"""
SELECT * FROM ({OF_ONE}) entry WHERE id < coalesce(%(before)s, id + 1)
 ORDER BY id DESC LIMIT %(limit)s
"""  # noqa: S608 - constants

# A subscription's id in another system: from its row, or from the entry of its deletion. And the
# requests that have written entries.
ABOUT = """
SELECT id, NULL::bigint, source, external_id FROM services_subscription
 WHERE id = ANY (%(ids)s) AND source IS NOT NULL
 UNION ALL
SELECT subscription_id, NULL, source, external_id FROM services_ledgerentry
 WHERE subscription_id = ANY (%(ids)s) AND price IS NULL AND source IS NOT NULL
 UNION ALL
SELECT NULL, id, request_id, NULL FROM services_ledgerentry
 WHERE id = ANY (%(entries)s) AND request_id IS NOT NULL
 UNION ALL
SELECT NULL, id, request_id, NULL FROM services_correctedentry
 WHERE id = ANY (%(entries)s) AND request_id IS NOT NULL
"""


REASONS = "SELECT id, reason FROM services_correction WHERE id = ANY (%s)"


def identified(entries: list[Entry]) -> list[Entry]:
    """The entries, each with its currency, the request that wrote it, the id of its subscription in
    another system, and the reason of its correction.

    That id is today's, or the last one of a subscription that was deleted. One query, if any, and
    one more if there are corrections.
    """
    elsewhere: dict[int, tuple[str, str]] = {}
    reasons: dict[int, str] = {}
    requests: dict[int, str] = {}
    corrections = {entry["correction_id"] for entry in entries} - {None}
    if corrections:
        with connection.cursor() as cursor:
            cursor.execute(REASONS, [list(corrections)])
            reasons = dict(cursor.fetchall())
    if entries:
        ids = [entry["subscription_id"] for entry in entries]
        with connection.cursor() as cursor:
            cursor.execute(ABOUT, {"ids": ids, "entries": [entry["id"] for entry in entries]})
            for subscription, written, *about in cursor.fetchall():
                if subscription is None:
                    requests[written] = about[0]
                else:
                    elsewhere[subscription] = (about[0], about[1])
    return [
        entry
        | _about(entry, elsewhere, requests)
        | {
            "currency": settings.CURRENCY,
            "correction_reason": reasons.get(entry["correction_id"], ""),
        }
        for entry in entries
    ]


def _about(
    entry: Entry, elsewhere: dict[int, tuple[str, str]], requests: dict[int, str]
) -> dict[str, str | None]:
    source, external_id = elsewhere.get(entry["subscription_id"], (None, None))
    return {
        "request_id": requests.get(entry["id"]),
        "source": source,
        "external_id": external_id,
    }


def newest(subscription_id: int, before: int | None, limit: int) -> list[Entry]:
    """The last prices that a subscription had before the entry `before`, newest first.

    Two queries, three if there are corrections among them.
    """
    with connection.cursor() as cursor:
        cursor.execute(NEWEST, {"id": subscription_id, "before": before, "limit": limit})
        return identified([dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()])


def history(subscription_id: int, after: int = 0, limit: int | None = None) -> list[Entry]:
    """Every price that a subscription ever had, in the order of their writing, newest last.

    Also of a deleted one; empty if it never existed. Up to `limit` entries after the entry `after`.
    Two queries.
    """
    with connection.cursor() as cursor:
        cursor.execute(HISTORY, {"id": subscription_id, "after": after, "limit": limit})
        return identified([dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()])
