"""The whole filtered book as text, by keyset chunks: constant memory, and no long snapshot.

`streaming` answers the API with it, and `exporting` writes a file with it.

Each chunk is one statement, hence its own snapshot: a long one would keep dead rows alive and
quadruple the cost of a repricing that runs beside it (docs/decisions/0003). PostgreSQL writes the
text, which takes three fifths of the CPU of fetching the rows and encoding them here, and sums up
in the same pass. (`COPY` of a chunk costs the same, but can't say what it has copied.)

    the span: the next rows of the walk, found by an index, in the order of their ids
        → those of them that match → joined by primary key, client after client → a line each
        → one text, in the order of their ids again
    beside it the book's version

Between chunks nothing is held: no transaction, no cursor, and with a pool no connection, so that
a reader may be as slow as it likes. Each chunk may come from the replica; if one has to come from
another server than the one before it, the versions differ, so the book counts as changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from django.db import connection
from psycopg.adapt import Loader

from pricebook.kit import replica
from pricebook.kit.read_timeout import long_read
from services.models import Subscription
from services.reading import access_paths
from services.reading.access_paths import access_path
from services.reading.filters import BookFilter
from services.reading.ordering import Cursor
from services.reading.row import OF_SUBSCRIPTION
from services.reading.total import EVERYTHING, PAYS, Total
from services.reading.version import VERSION
from services.reading.walks import rows_along
from services.sql import SQL
from services.transfer.formats import Format, Written

CHUNK = 4_000  # rows; up to 2 MB of text as a rule, and three times that while it is fetched

# The columns that the lines need, and the filters too, except for those that lead the walk.
COLUMNS = (*OF_SUBSCRIPTION, "stamp")

# The span has the table's name, so that a filter that Django wrote for the table selects from
# the span. MATERIALIZED: its rows are counted, whether they match or not.
#
# In a big book most of the work is to find a client and a login for each row: they are spread over
# tables and indexes that no processor's cache holds. In the order of the clients each one is near
# the one before, the nearer the more rows there are: for a million rows of 200,000 clients
# PostgreSQL took 11 s of CPU in chunks of 2,000 without order, 8.4 s in chunks of 4,000 in that
# order. (`COPY`: 4.5 s.)
STATEMENT = """
WITH services_subscription ({columns}) AS MATERIALIZED ({span}),
     subscription ({columns}) AS ({matching}),
     line AS (
        SELECT subscription.id, subscription.price, {pays} AS pays, {line} AS text
          FROM (SELECT * FROM subscription ORDER BY client_id) subscription
          JOIN clients_client client ON client.id = subscription.client_id
          JOIN auth_user login ON login.id = client.user_id
          JOIN service_in_force service ON service.id = subscription.service_id
          JOIN plan_in_force plan ON plan.id = subscription.plan_id
     )
SELECT coalesce(book.version, '0'), span.*, lines.*
  FROM (SELECT {version} FROM services_subtotal) book,
       (SELECT count(*), max(id) FROM services_subscription) span,
       (SELECT count(*), coalesce(sum(price), 0), count(*) FILTER (WHERE pays),
               coalesce(sum(price) FILTER (WHERE pays), 0),
               coalesce(string_agg(text, '' ORDER BY id), '') FROM line) lines
"""


class Chunk(NamedTuple):
    version: str
    passed: int  # rows of the span
    last_id: int | None  # of the last of them
    matched: int
    amount: Decimal
    paid: int  # of those that matched
    paid_amount: Decimal
    text: bytes


class Walk:
    """The lines of all that match, in the order of ids: iterate once, for one text a chunk.

    One query a chunk. `version` is that of the newest chunk, `changed` whether it differs from the
    first one's; versions never come back, so after the last chunk this holds for all of them.
    """

    def __init__(
        self, format: Format, book_filter: BookFilter = EVERYTHING, first_chunk: int | None = None
    ) -> None:
        self.format = format
        self.book_filter = book_filter
        self.version = ""
        self.count = 0
        self.amount = Decimal(0)
        self.paid = 0
        self.paid_amount = Decimal(0)
        self._first_version = ""
        self._first_chunk = first_chunk

    @property
    def changed(self) -> bool:
        return self.version != self._first_version

    @property
    def written(self) -> Written:
        paid = Total(self.paid_amount, self.paid)
        return Written(self.version, self.changed, Total(self.amount, self.count), paid)

    def __iter__(self) -> Iterator[bytes]:
        after, size = -1, self._first_chunk or CHUNK
        while True:
            chunk = _read(statement(self.format, self.book_filter, after, size))
            self._first_version = self._first_version or chunk.version
            self.version = chunk.version
            self.count += chunk.matched
            self.amount += chunk.amount
            self.paid += chunk.paid
            self.paid_amount += chunk.paid_amount
            yield chunk.text
            if chunk.last_id is None or chunk.passed < size:
                return
            after, size = chunk.last_id, CHUNK
            del chunk  # or its text would be kept until the next one is there


def statement(format: Format, book_filter: BookFilter, after: int, size: int) -> SQL:
    """The SQL of a chunk: of up to `size` rows of the walk, those that match."""
    walked, rest = _split(book_filter)
    span, span_params = rows_along(access_path(walked), Cursor(after), size, COLUMNS)
    matching = Subscription.objects.filter(rest.condition())  # of the span, under that name
    if book_filter.pending is not None:
        matching = matching.filter(book_filter.pending.condition_in_stretch())
    matching_sql, matching_params = (
        matching.order_by().values_list(*COLUMNS).query.sql_with_params()
    )
    sql = STATEMENT.format(
        columns=", ".join(COLUMNS),
        span=span,
        matching=matching_sql,
        line=format.line.replace("%", "%%"),
        pays=PAYS.format(at="(SELECT book_now())"),
        version=VERSION,
    )
    return sql, (*span_params, *matching_params)


def _split(book_filter: BookFilter) -> tuple[BookFilter, BookFilter]:
    """The filters that an index serves, and those checked within a span; without `pending`.

    A filter without an index may match nothing in millions of rows: as part of the walk it would
    read them all in one statement.
    """
    given = book_filter.given
    given.pop("pending", None)
    if given.keys() & (access_paths.FEW | access_paths.INDEXED):
        return BookFilter(**given), EVERYTHING
    by_index = {name: given.pop(name) for name in access_paths.CATALOGUE if name in given}
    return BookFilter(**by_index), BookFilter(**given)


class _AsBytes(Loader):
    """Keeps text as bytes: decoded and encoded again it would take several times the memory."""

    def load(self, data: bytes | bytearray | memoryview) -> bytes:
        return bytes(data)


def _read(sql: SQL) -> Chunk:
    chunk, _ = replica.read(lambda: _ask(sql))
    # As at the end of a request: the connection goes to the pool, or is kept until CONN_MAX_AGE.
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    return chunk


def _ask(sql: SQL) -> Chunk:
    with long_read(), connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("text", _AsBytes)
        cursor.execute(*sql)
        version, *rest = cursor.fetchone()
    return Chunk(version.decode(), *rest)
