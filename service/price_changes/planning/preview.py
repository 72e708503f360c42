"""The preview of a price change: its count, stored with a fingerprint, and its rows one by one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.kinds import kind_of
from price_changes.kinds.relations import fetch
from price_changes.kinds.rows import COLUMNS, ChangeRow
from price_changes.models import PriceChange
from price_changes.planning.around import counted_at
from price_changes.planning.behind import few_rows_behind
from price_changes.planning.catalogue_value import values_now
from price_changes.planning.counting import count, preview_of

# The database draws the seed from its cryptographic source of random bytes, so it is in no
# statement, and in no log of statements. The snapshot is taken before the count, so that every
# write which the count does not see is drift later. A write that is committed between the two is
# counted, and is drift too.
BEGIN = """
UPDATE price_changes_pricechange
   SET preview_seed = hashtextextended(gen_random_uuid()::text, 0) WHERE id = %s
RETURNING preview_seed, pg_current_snapshot()::text, this_life(), book_clock()
"""


def preview(change: PriceChange) -> PriceChange:
    """Count what a change would do, and store it with its fingerprint; raises ChangeError.

    The change must be planned or held, and its row locked by the transaction. About ten queries,
    one of them over its rows.
    """
    [(seed, snapshot, life, now)] = fetch(BEGIN, [change.pk])
    change.preview_seed, change.preview_snapshot, change.previewed_at = seed, snapshot, now
    change.preview_life = life
    change.old_value, change.new_value = values_now(change)
    counted = count(change, counted_at(change) or now, movers=True)
    if not counted.rows and not kind_of(change).may_be_empty:
        raise ChangeError(
            "empty_set",
            _("No subscription matches the filter: there is nothing to change."),
            parameter="filter",
        )
    change.preview = preview_of(change, counted)
    change.fingerprint = counted.fingerprint
    change.save(
        update_fields=[
            "old_value",
            "new_value",
            "preview",
            "fingerprint",
            "previewed_at",
            "preview_snapshot",
            "preview_life",
        ]
    )
    return change


def listed(
    change: PriceChange,
    after: int = 0,
    limit: int = 100,
    reason: str | None = None,
    clients: Collection[int] | None = None,
) -> list[ChangeRow]:
    """The rows old → new in the order of their ids, after `after`; of one reason, and of some
    clients, if given.

    `reason` "moves" means those that move. They are computed anew, from the book as it is now. One
    page is read wherever it is; for a rare reason, as much as it takes to fill a page.
    """
    [(sql, params)] = few_rows_behind([change])
    where = {None: "true", "moves": "reason IS NULL"}.get(reason, "reason = %s")
    more = [reason] if where.endswith("%s") else []
    # OFFSET 0 keeps the condition on the reason out of the walk along the ids. The planner assumes
    # that hardly any row meets a condition on an expression, and would judge and sort all rows
    # first. The outer query has no ORDER BY for the same reason; the rows come in the walk's order.
    of_clients = "" if clients is None else " AND client_id = ANY(%s)"
    walk = f"SELECT * FROM ({sql}) change_row WHERE id > %s{of_clients} ORDER BY id OFFSET 0"  # noqa: S608
    found = fetch(
        f"SELECT {', '.join(COLUMNS)} FROM ({walk}) change_row"  # noqa: S608
        f" WHERE {where} LIMIT %s",
        [*params, after, *([] if clients is None else [list(clients)]), *more, limit],
    )
    return [ChangeRow(*row) for row in found]


def first_rows(change: PriceChange, limit: int) -> list[dict[str, Any]]:
    """The first rows that it moves, as a look before it (`dry_run`) shows them."""
    names = ("subscription", "old_price", "price_state", "new_price", "new_state", "locked_until")
    found = listed(change, limit=limit, reason="moves")
    return [{name: getattr(row, name) for name in names} for row in found]
