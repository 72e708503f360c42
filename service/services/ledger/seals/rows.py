"""The rows that are sealed, of six tables, as the bytes that are hashed.

A row is written as PostgreSQL's COPY sends it in its binary format: the number of columns in two
bytes, then each value with its length in four (-1: NULL), in network order. Whole numbers have 8
bytes, instants are microseconds since 2000-01-01 UTC, amounts are decimal digits with their scale,
texts are UTF-8. So no time zone, style or locale of a session is in it, nor the server's release.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, groupby, pairwise
from struct import Struct
from zlib import crc32

from django.db import OperationalError, connection
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from services.ledger.place import Place

FORMAT = 1  # of the columns below; a block says it in its hash
BEGINNING = Place(-1, 0)  # facts of the time before seals have the transaction 0

COPY = "COPY ({sql}) TO STDOUT (FORMAT binary)"
ENTRY = """subscription_id, client_id, service_id, plan_id, price, price_state::text, locked_until,
       started_at, ended_at, unpaid_since, period_only, source::text, external_id::text,
       effective_at, recorded_at, change_id, author::text, request_id::text"""
# The facts of a transaction that are no entries are all in one block.
FACTS = """
SELECT {xact}, id, {columns}
  FROM {table}
 WHERE {xact} > %(after_xact)s AND {xact} <= %(last_xact)s{which}
 ORDER BY {xact}, id
"""
ENTRIES = """
SELECT xact, id, {columns}
  FROM {table}
 WHERE (xact, id) > (%(after_xact)s, %(after_id)s) AND (xact, id) <= (%(last_xact)s, %(last_id)s)
 ORDER BY xact, id
"""


@dataclass(frozen=True)
class Table:
    """A table that is sealed: how a row of it is called, and the SELECT of a block's rows.

    `is_facts`: its rows have no place of their own among the entries of their transaction.
    `of_subscription`: the third column is the id of a subscription.
    """

    name: str
    sql: str
    is_facts: bool = False
    of_subscription: bool = False


TABLES = (
    Table(
        "value of the catalogue",
        FACTS.format(
            xact="xact",
            table="services_cataloguevalue",
            columns="""service_id, plan_id, value, undoes_id, again, effective_at, recorded_at,
       change_id, author::text, for_new_only, locked_until, seen, position,
       CASE WHEN seen IS NULL THEN held END""",
            which="",
        ),
        is_facts=True,
    ),
    # Whether a value is held is written once, when its instant has come.
    Table(
        "judgement of a value",
        FACTS.format(
            xact="judged_xact",
            table="services_cataloguevalue",
            columns="held",
            which=" AND seen IS NOT NULL AND held IS NOT NULL",
        ),
        is_facts=True,
    ),
    Table(
        "correction",
        FACTS.format(
            xact="xact",
            table="services_correction",
            columns="subscription_id, since, until, price, reason::text, author::text, recorded_at",
            which="",
        ),
        is_facts=True,
        of_subscription=True,
    ),
    Table(
        "entry",
        ENTRIES.format(table="services_ledgerentry", columns=ENTRY),
        of_subscription=True,
    ),
    Table(
        "corrected entry",
        ENTRIES.format(table="services_correctedentry", columns=f"{ENTRY}, correction_id"),
        of_subscription=True,
    ),
    Table(
        "move of followers",
        ENTRIES.format(
            table="services_movedfollowers",
            columns="""change_id, service_id, plan_id, price, old_price, effective_at, recorded_at,
       number::bigint, first_id, last_id, subscription_ids, entry_ids""",
        ),
    ),
)

Buffer = bytes | memoryview
HEADER = 19  # bytes of signature, flags and the length of an extension
TRAILER = 2
PLACE = Struct(">q4xq")  # of the first two columns, with the length of the second between them
KEY = slice(6, 26)
PAIR = Struct(">qiq")


@dataclass(frozen=True)
class Span:
    """The stretch that a block covers: all behind a place, up to another one."""

    after: Place
    last: Place


@dataclass
class Content:
    """The rows of a span: how many of each table, their SHA-256, the CRC-32 of each (if that was
    asked for), and the first place; None: there is no row.
    """

    counts: list[int]
    digest: bytes
    checks: bytes
    first: Place | None


def sent(table: Table, span: Span) -> Iterator[Buffer]:
    """The rows of a table in a span, in their order, as they are hashed. One query.

    They come straight from libpq: psycopg's own reading of a COPY costs as much as the hash does.
    A caller that doesn't take them all loses the connection.
    """
    connection.ensure_connection()
    server: PGconn = connection.connection.pgconn
    sql = table.sql % {
        "after_xact": span.after.xact,
        "after_id": span.after.id,
        "last_xact": span.last.xact,
        "last_id": span.last.id,
    }
    with connection.wrap_database_errors:
        result = server.exec_(COPY.format(sql=sql).encode())
        if result.status != ExecStatus.COPY_OUT:
            raise OperationalError(result.get_error_message())
        length, first = server.get_copy_data(0)
        # The first row has the header of the file before it, and the last message is its trailer.
        row: Buffer = memoryview(first)[HEADER:]
        length -= HEADER
        try:
            while length > TRAILER:
                yield row
                length, row = server.get_copy_data(0)
        except BaseException:
            connection.close()  # it is amid a COPY, and of no use any more
            raise
        while length > 0:
            length, _ = server.get_copy_data(0)
        while (end := server.get_result()) is not None:
            if end.status != ExecStatus.COMMAND_OK:
                raise OperationalError(end.get_error_message())


def place_of(row: Buffer, table: Table) -> Place:
    """Where a row stands in the feed; of a fact the transaction, with the id 0."""
    xact, id = PLACE.unpack(row[KEY])
    return Place(xact, 0 if table.is_facts else id)


def read(last: Sequence[Place], after: Place, checked: bool = False) -> list[Content]:
    """Read the rows of the blocks that end at these places; the first one begins behind `after`.

    With `checked` also the CRC-32 of each row. A query for each table, whatever the number of
    blocks.
    """
    digests = [sha256() for _ in last]
    checks = [array("I") for _ in last]
    counts = [[0] * len(TABLES) for _ in last]
    first: list[Place | None] = [None for _ in last]
    for column, table in enumerate(TABLES):
        for nth, rows in _parted(sent(table, Span(after, last[-1])), last, table):
            if (row := next(rows, None)) is None:
                continue
            place, number = place_of(row, table), 1
            first[nth] = min(first[nth] or place, place, key=_order)
            update, check = digests[nth].update, checks[nth].append
            update(row)
            if checked:  # two loops: each call in them is a tenth of all
                check(crc32(row))
                for number, row in enumerate(rows, 2):  # noqa: B007
                    update(row)
                    check(crc32(row))
            else:
                for number, row in enumerate(rows, 2):  # noqa: B007
                    update(row)
            counts[nth][column] = number
    return [
        Content(count, digest.digest(), as_bytes(check), place)
        for count, digest, check, place in zip(counts, digests, checks, first, strict=True)
    ]


def _order(place: Place) -> tuple[int, int]:
    return place.xact, place.id


def _parted(
    rows: Iterator[Buffer], last: Sequence[Place], table: Table
) -> Iterator[tuple[int, Iterator[Buffer]]]:
    """The rows by the blocks that end at these places, in whose order they are."""
    if len(last) == 1:
        return iter([(0, rows)])
    # Numbers that are not negative are ordered as their bytes are.
    highest = 2**63 - 1
    ends = [PAIR.pack(each.xact, 8, highest if table.is_facts else each.id) for each in last]
    return groupby(rows, lambda row: bisect_left(ends, bytes(row[KEY])))


def as_bytes(checks: array[int]) -> bytes:
    """The CRC-32 of rows, four bytes each, in network order."""
    checks = array("I", checks)
    if sys.byteorder == "little":
        checks.byteswap()
    return checks.tobytes()


def parted_checks(checks: bytes, counts: Sequence[int]) -> list[list[int]]:
    """The CRC-32 of rows by their tables."""
    numbers = array("I", checks)
    if sys.byteorder == "little":
        numbers.byteswap()
    ends = [0, *accumulate(counts)]
    return [numbers[start:end].tolist() for start, end in pairwise(ends)]
