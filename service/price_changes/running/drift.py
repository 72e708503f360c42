"""The drift of a catalogue change: how many of its subscriptions were written since its preview."""

from __future__ import annotations

from django.db import connection

from price_changes.kinds import is_of_catalogue, subject_of
from price_changes.models import PriceChange
from services import lives
from services.models import Life

# Entries that the snapshot of the preview does not see. A subscription that has moved to another
# service or plan has its entry there, without a change; an earlier entry of it is here.
DRIFT = """
SELECT count(DISTINCT subscription_id) FROM (
    SELECT subscription_id FROM services_ledgerentry entry
     WHERE xact >= pg_snapshot_xmin(%(seen)s::pg_snapshot)::text::bigint + %(offset)s
       AND NOT pg_visible_in_snapshot((xact - %(offset)s)::text::xid8, %(seen)s::pg_snapshot)
       AND ({column} = %(id)s OR change_id IS NULL AND EXISTS (
            SELECT FROM services_ledgerentry before
             WHERE before.subscription_id = entry.subscription_id AND before.id < entry.id
               AND before.{column} = %(id)s AND before.price IS NOT NULL))
     UNION ALL
    SELECT unnest(subscription_ids) FROM services_movedfollowers
     WHERE xact >= pg_snapshot_xmin(%(seen)s::pg_snapshot)::text::bigint + %(offset)s
       AND NOT pg_visible_in_snapshot((xact - %(offset)s)::text::xid8, %(seen)s::pg_snapshot)
       AND {column} = %(id)s) written (subscription_id)
"""


def is_of_another_life(change: PriceChange, life: Life) -> bool:
    """Whether its preview saw the book in another life of the database than this one."""
    return (change.preview_life or 1) != life.number


def drift(change: PriceChange) -> int | None:
    """How many subscriptions of a catalogue change were written since its preview.

    None for one without a preview, or with one of another life of the database, which is over; and
    for a change of a set. Three queries, one of them over the entries since.
    """
    if change.preview_snapshot is None or not is_of_catalogue(change):
        return None
    life = lives.begin()
    if is_of_another_life(change, life):
        return None
    subject = subject_of(change)
    with connection.cursor() as cursor:
        cursor.execute(
            DRIFT.format(column=subject.column),
            {"seen": change.preview_snapshot, "offset": life.xact_offset, "id": subject.id},
        )
        (rows,) = cursor.fetchone()
    return int(rows)
