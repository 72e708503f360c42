"""Writes the book to a file with which `import_book` makes an empty book equal to this one.

The lines are those of `chunks`, which the API sends too. The file is CSV, or a sheet for people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from django.db import connection

from pricebook.kit.snapshot import one_snapshot
from services.reading.total import total_amount
from services.transfer.chunks import Walk
from services.transfer.formats import CSV
from services.transfer.sheets.book import subscriptions
from services.transfer.sheets.table import MOST_ROWS, Limits, Table, Written

Progress = Callable[[str, int, int | None], None]
# Of `sheets`: it writes a table to a file, within limits.
SheetWriter = Callable[[Table, Any, Limits], Written]


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class Exported:
    """The result of an export. `moved`: the book changed meanwhile, so the file is not of one
    moment.
    """

    subscriptions: int
    moved: bool
    unnamed_clients: int  # clients without an e-mail, or with one that they share
    left_out: dict[str, int]  # clients, services and plans without a subscription


UNNAMED_CLIENTS = """
SELECT coalesce(sum(clients), 0)
  FROM (SELECT count(*) AS clients, lower(email) AS email
          FROM clients_client client JOIN auth_user login ON login.id = user_id
         GROUP BY lower(email)) named
 WHERE clients > 1 OR email = ''
"""

LEFT_OUT = """
SELECT 'clients', count(*) FROM clients_client thing
 WHERE NOT EXISTS (SELECT FROM services_subscription WHERE client_id = thing.id)
 UNION ALL
SELECT 'services', count(*) FROM services_service thing
 WHERE NOT EXISTS (SELECT FROM services_subscription WHERE service_id = thing.id)
 UNION ALL
SELECT 'plans', count(*) FROM services_plan thing
 WHERE NOT EXISTS (SELECT FROM services_subscription WHERE plan_id = thing.id)
"""


def export_book(
    file: Sink,
    *,
    consistent: bool = False,
    progress: Progress | None = None,
    sheet: SheetWriter | None = None,
) -> Exported:
    """Write every subscription to `file`, as CSV in UTF-8, in the order of their ids.

    `sheet` writes a workbook or the CSV of a locale instead; TooManyRows if a sheet can't have as
    many. `consistent` takes one snapshot for all of it: exact in spite of writers, but it costs
    vacuum and HOT while it lasts. Without it, `moved` tells whether the book changed meanwhile.
    """
    write = partial(_as_sheet, sheet) if sheet else _as_csv
    if consistent:
        with one_snapshot():
            return _export(write, file, progress)
    return _export(write, file, progress)


def _as_csv(file: Sink, progress: Progress | None) -> tuple[int, bool]:
    """Write the book; return how many subscriptions were written, and whether it changed."""
    expected = total_amount().subscriptions
    walk = Walk(CSV)
    file.write(CSV.header)
    for text in walk:
        file.write(text)
        if progress:
            progress("writing", walk.count, expected)
    return walk.count, walk.changed


def _as_sheet(sheet: SheetWriter, file: Sink, progress: Progress | None) -> tuple[int, bool]:
    table = subscriptions(
        progress=lambda rows: progress("writing", rows, table.expected) if progress else None
    )
    written = sheet(table, file, Limits(MOST_ROWS))
    return written.rows, written.moment.changed


def _export(
    write: Callable[[Sink, Progress | None], tuple[int, bool]],
    file: Sink,
    progress: Progress | None,
) -> Exported:
    count, moved = write(file, progress)
    with connection.cursor() as cursor:
        cursor.execute(UNNAMED_CLIENTS)
        (unnamed,) = cursor.fetchone()
        cursor.execute(LEFT_OUT)
        left_out = {what: count for what, count in cursor.fetchall() if count}
    return Exported(
        subscriptions=count,
        unnamed_clients=int(unnamed),
        left_out=left_out,
        moved=moved,
    )
