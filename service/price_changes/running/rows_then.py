"""The rows of a set as they stood at its instant, by what had been recorded by then.

A worker may come late. A subscription that was not written since stands in the book as it stood
then; the others are read from the ledger, including those that were deleted since.
"""

from __future__ import annotations

from datetime import datetime

from price_changes.kinds.relations import ONCE, SQL, TO_COME, WRITTEN, fetch, literal
from price_changes.kinds.rows import rows_sql
from price_changes.models import PriceChange
from services.ledger.point_in_time import as_of
from services.models import CatalogueValue

WRITTEN_SINCE = """
SELECT array_agg(DISTINCT subscription_id), EXISTS (
       SELECT FROM services_cataloguevalue
        WHERE effective_at > %(at)s AND effective_at <= (SELECT book_clock()))
  FROM (SELECT subscription_id FROM services_ledgerentry
         WHERE id >= ledger_id_at(%(at)s) AND recorded_at > %(at)s
           AND NOT (change_id IS NOT NULL AND effective_at <= %(at)s)
         UNION ALL
        SELECT unnest(subscription_ids) FROM services_movedfollowers
         WHERE id >= ledger_id_at(%(at)s) AND recorded_at > %(at)s AND effective_at > %(at)s
       ) entry (subscription_id)
"""

# It takes the place of the table, so that the filter of the set finds the rows as they stood.
AS_THEY_STOOD = """
WITH services_subscription AS (
    SELECT told.subscription_id AS id, told.client_id, told.service_id, told.plan_id, told.price,
           told.price_state, told.locked_until, period.started_at, period.ended_at,
           coalesce(comment, '') AS comment, source, external_id
      FROM ({as_of}) told
     CROSS JOIN LATERAL period_known(told.subscription_id, %s) period
      LEFT JOIN services_subscription now ON now.id = told.subscription_id
)
{rows}
"""
# Used if changes of the catalogue with the same instant come after the set: the catalogue just
# before the first of them.
CATALOGUE_BEFORE = {
    "services": """(SELECT id, value_before(id, NULL, {at}, {number}) AS full_price
                      FROM services_service {once})""",
    "plans": """(SELECT id, value_before(NULL, id, {at}, {number})::integer AS discount_percent
                   FROM services_plan {once})""",
    "subscriptions": """(SELECT id, client_id, service_id, plan_id, price_state, locked_until,
                                started_at, ended_at,
                                CASE WHEN price_state <> 'follows' OR ended_at <= {at}
                                     THEN price END AS price
                           FROM services_subscription)""",
}
BEHIND = """
SELECT min(value.id) FROM services_cataloguevalue value
  JOIN price_changes_pricechange change ON change.id = change_id
 WHERE value.effective_at = %(at)s AND NOT started AND approval > %(approval)s
"""


def begins_with_others(change: PriceChange) -> bool:
    """Whether a value of the catalogue has the same instant and is not started. One query."""
    assert change.effective_at is not None
    values = CatalogueValue.objects.filter(effective_at=change.effective_at, started=False)
    return values.exists()


def rows_then(change: PriceChange) -> SQL:
    """The statement of a set's rows, like `rows_sql`, as they stood at its instant. Two queries."""
    at = change.effective_at
    assert at is not None
    [(written, moved)] = fetch(WRITTEN_SINCE, {"at": at})
    [(number,)] = fetch(BEHIND, {"at": at, "approval": change.approval})
    relations = dict(WRITTEN)
    if moved:
        relations |= _of_catalogue({name: TO_COME[name] for name in ("services", "plans")}, at)
    if number is not None:
        relations |= _of_catalogue(CATALOGUE_BEFORE, at, number)
    rows, params = rows_sql(change, at, relations)
    if not written:
        return rows, params
    then, of_then = as_of(at, known_at=at, among=written)
    stood = AS_THEY_STOOD.format(as_of=then, rows=rows)
    return (
        f"SELECT * FROM ({rows}) unwritten WHERE id <> ALL (%s) UNION ALL"  # noqa: S608 - ours
        f" SELECT * FROM ({stood}) stood",
        [*params, written, *of_then, at, *params],
    )


def _of_catalogue(shapes: dict[str, str], at: datetime, number: int = 0) -> dict[str, str]:
    shape = {"at": literal(at), "number": number, "once": ONCE}
    return {name: sql.format(**shape) for name, sql in shapes.items()}
