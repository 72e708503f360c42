"""Writes what the subscriptions of a book have paid, for `import_history`.

With the file of `export_book` it makes an empty book that tells the same of the past: which price
each subscription paid at any instant. The author of a price is not in it, nor by which service and
plan the subscription was sold then.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from django.db import connection

from services.ledger.paid_since import told_by
from services.models import book_clock
from services.transfer.formats import instant

CHUNK = 2_000  # subscriptions that are read at once
NEXT = """
SELECT coalesce(array_agg(id), '{}')
  FROM (SELECT id FROM services_subscription
         WHERE id > %s AND started_at < %s ORDER BY id LIMIT %s) next
"""
WANTED = """
SELECT id, id, started_at, least(coalesce(ended_at, %(now)s::timestamptz), %(now)s::timestamptz)
  FROM services_subscription WHERE id = ANY (%(ids)s)
"""
STEPS = f"""
SELECT number AS id, at, price, pays,
       lead(at) OVER later AS next, lead(pays) OVER later AS goes_on
  FROM (SELECT *, lag(pays) OVER each AS paid_before, lag(price) OVER each AS price_before
          FROM ({told_by(WANTED)}) told (number, at, pays, service_id, plan_id, price, price_state,
                                         locked_until)
        WINDOW each AS (PARTITION BY number ORDER BY at)) told
 WHERE (pays, price) IS DISTINCT FROM (paid_before, price_before)
WINDOW later AS (PARTITION BY number ORDER BY at)
"""  # noqa: S608 - constants
# Which one it is, of several that are named alike: by their ids, in whose order a file has them.
ALIKE = """
SELECT id, concat(nth, ' of ', number) AS place
  FROM (SELECT id, row_number() OVER (alike ORDER BY id) AS nth, count(*) OVER alike AS number
          FROM services_subscription
         WHERE client_id IN (SELECT client_id FROM services_subscription WHERE id = ANY (%(ids)s))
           AND (client_id, service_id, started_at) IN (
               SELECT client_id, service_id, started_at FROM services_subscription
                WHERE id = ANY (%(ids)s) AND source IS NULL)
        WINDOW alike AS (PARTITION BY client_id, service_id, started_at)) named
 WHERE number > 1
"""
LINES = f"""
SELECT book.source, book.external_id,
       CASE WHEN book.source IS NULL THEN email END,
       CASE WHEN book.source IS NULL THEN service.name END,
       CASE WHEN book.source IS NULL THEN {instant("started_at")} END,
       CASE WHEN book.source IS NULL THEN place END,
       {instant("at")},
       CASE WHEN NOT goes_on AND (ended_at IS NULL OR next < ended_at) THEN {instant("next")} END,
       step.price
  FROM ({STEPS}) step
  JOIN services_subscription book USING (id)
  JOIN services_service service ON service.id = book.service_id
  JOIN clients_client client ON client.id = book.client_id
  JOIN auth_user login ON login.id = client.user_id
  LEFT JOIN ({ALIKE}) alike ON alike.id = book.id
 WHERE pays ORDER BY book.id, at
"""  # noqa: S608 - constants
HEADER = (
    "source", "external_id", "email", "service", "started_at", "alike", "effective_at", "until",
    "price",
)  # fmt: skip


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def export_history(
    file: Sink, progress: Callable[[str, int, int | None], None] | None = None
) -> int:
    """Write each price that each subscription has paid, from when on; return how many lines.

    Two statements for each 2,000 subscriptions, in the order of their ids; constant memory.
    """
    file.write(_text([HEADER]))
    lines, last, now = 0, 0, book_clock()
    with connection.cursor() as cursor:
        while True:
            cursor.execute(NEXT, [last, now, CHUNK])
            (ids,) = cursor.fetchone()
            if not ids:
                return lines
            last = ids[-1]
            cursor.execute(LINES, {"ids": ids, "now": now})
            rows = cursor.fetchall()
            file.write(_text(rows))
            lines += len(rows)
            if progress:
                progress("writing", lines, None)


def _text(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
