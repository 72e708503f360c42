"""Whether a value of the catalogue is held: the value before it against what its approver saw."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from django.db import connection

FINDS = """
SELECT change_id, value_before(service_id, plan_id, effective_at, id), seen,
       coalesce(held, value_is_held(id)), effective_at <= book_clock()
  FROM services_cataloguevalue value
 WHERE change_id = ANY (%s) AND value IS NOT NULL AND NOT undone @> effective_at
   AND id = (SELECT max(id) FROM services_cataloguevalue newest
              WHERE newest.change_id = value.change_id AND value IS NOT NULL)
"""


class Finds(NamedTuple):
    """The value before that of a change, and whether the change is held, by what is known now."""

    found: Decimal
    seen: Decimal | None  # by its approver, where it is held if it finds another one
    is_held: bool  # or will be, if its instant is to come
    has_come: bool


def finds(change_ids: list[int]) -> dict[int, Finds]:
    """The values that those of these changes find, whether a worker has come or not. One query."""
    with connection.cursor() as cursor:
        cursor.execute(FINDS, [change_ids])
        return {change_id: Finds(*values) for change_id, *values in cursor.fetchall()}


JUDGE = """
UPDATE services_cataloguevalue SET held = value_is_held(id), started = true
 WHERE change_id = %s AND held IS NULL
"""


def judge(change_id: int) -> None:
    """Store whether the value of a change whose instant has come is held. One query."""
    with connection.cursor() as cursor:
        cursor.execute(JUDGE, [change_id])
