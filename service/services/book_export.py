"""Writing the book to a file that `import_book` reads: an empty book becomes equal to this one.

By keyset chunks, a statement each: constant memory, and no long snapshot, which would keep dead
rows alive and quadruple the cost of a repricing that runs beside it (docs/decisions/0003).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from django.db import connection, transaction
from django.db.models import Sum

from services.book_file import COLUMNS
from services.models import Repricing, Subscription, Subtotal

CHUNK = 10_000


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class Exported:
    """What was written. `moved`: the book changed meanwhile, so the file is of no one moment."""

    subscriptions: int
    moved: bool
    waiting: (
        int  # repricings that are due: these prices are not the rule's, the import refuses them
    )
    unnamed_clients: int  # clients of no e-mail, or of one that they share
    left_out: dict[str, int]  # clients, services and plans without a subscription


COPY = """
COPY (
    SELECT company_name, email, full_address, service.name, full_price, plan_type,
           discount_percent, source, external_id,
           to_char(started_at, 'YYYY-MM-DD"T"HH24:MI:SS.USOF'),
           to_char(ended_at, 'YYYY-MM-DD"T"HH24:MI:SS.USOF'),
           comment, stamp, price
      FROM services_subscription subscription
      JOIN services_service service ON service.id = service_id
      JOIN services_plan plan ON plan.id = plan_id
      JOIN clients_client client ON client.id = client_id
      JOIN auth_user login ON login.id = user_id
     WHERE subscription.id > {after} AND subscription.id <= {last}
     ORDER BY subscription.id
) TO STDOUT (FORMAT csv)
"""

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
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Exported:
    """Write every subscription to `file`, as CSV in UTF-8, in the order of their ids.

    `consistent` takes one snapshot for all of it: exact beside writers, at the price of vacuum
    and HOT while it lasts. Without it, `moved` tells whether the book changed on the way.
    """
    if consistent:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return _export(file, progress)
    return _export(file, progress)


def _export(file: Sink, progress: Callable[[str, int, int | None], None] | None = None) -> Exported:
    version, of = _version_and_size()
    file.write((",".join(COLUMNS) + "\n").encode())
    done = after = 0
    subscriptions = Subscription.objects.order_by("id").values_list("id", flat=True)
    while ids := list(subscriptions.filter(id__gt=after)[:CHUNK]):
        with connection.cursor() as cursor:
            with cursor.copy(COPY.format(after=after, last=ids[-1])) as copy:
                for piece in copy:
                    file.write(piece)
            done += cursor.rowcount
        after = ids[-1]
        if progress:
            progress("writing", done, of)
    with connection.cursor() as cursor:
        cursor.execute(UNNAMED_CLIENTS)
        (unnamed,) = cursor.fetchone()
        cursor.execute(LEFT_OUT)
        left_out = {what: count for what, count in cursor.fetchall() if count}
    return Exported(
        subscriptions=done,
        waiting=Repricing.objects.due().count(),
        unnamed_clients=int(unnamed),
        left_out=left_out,
        moved=_version_and_size()[0] != version,
    )


def _version_and_size() -> tuple[int, int]:
    """The version of the book and its number of subscriptions, of one snapshot."""
    book = Subtotal.objects.aggregate(
        version=Sum("changes", default=0), subscriptions=Sum("subscriptions", default=0)
    )
    return book["version"], book["subscriptions"]
