"""Verifying: the chain from block to block, and the rows that each of them covers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any
from zlib import crc32

from django.db import connection
from django.db.backends.utils import CursorWrapper

from services.ledger.place import Place
from services.ledger.seals.blocks import GENESIS, IN_UTC, Block, Unsealed, unsealed
from services.ledger.seals.rows import (
    BEGINNING,
    TABLES,
    Content,
    Span,
    Table,
    parted_checks,
    read,
    sent,
)

TOGETHER = 5_000  # rows of blocks that are read by one query a table
NAMED = 20  # rows of a broken block
# Called with the rows done, and the rows in all.
ShowProgress = Callable[[int, int], None]

BLOCKS = """
SELECT number, first_xact, first_id, last_xact, last_id, counts, digest, previous, life,
       {sealed_at}, hash
  FROM services_sealedblock WHERE number >= %s AND number <= %s ORDER BY number LIMIT 500
""".format(sealed_at=IN_UTC.format(instant="sealed_at"))
BEFORE = "SELECT last_xact, last_id, hash FROM services_sealedblock WHERE number = %s"
CHECKS = "SELECT checks FROM services_sealedblock WHERE number = %s"
SIZE = """
SELECT max(number), coalesce((SELECT sum(rows) FROM services_sealedblock,
                                     unnest(counts) rows WHERE number >= %(first)s), 0)::bigint
  FROM services_sealedblock
"""
OF_HEAD = "SELECT number FROM services_sealedblock WHERE hash = decode(%s, 'hex')"
# Two things stand beside a value that facts decide: for which instants others have undone it; and
# the place of its judgement.
UNDONE = """
SELECT value.id, value.undone, value.judged_xact IS NULL AND value.seen IS NOT NULL
                               AND value.held IS NOT NULL,
       array_agg(by.again ORDER BY by.id) FILTER (WHERE by.id IS NOT NULL),
       array_agg(by.effective_at ORDER BY by.id) FILTER (WHERE by.id IS NOT NULL)
  FROM services_cataloguevalue value
  LEFT JOIN services_cataloguevalue by ON by.undoes_id = value.id
 GROUP BY value.id
HAVING value.undone <> '{}' OR count(by.id) > 0
    OR value.judged_xact IS NULL AND value.seen IS NOT NULL AND value.held IS NOT NULL
 ORDER BY value.id
"""


@dataclass(frozen=True)
class Broken:
    """The first block that does not fit, and why.

    `why`: "missing" (there is no block of this number), "chain" (it names another block before it
    than there is), "hash" (what it says of itself was changed), "rows" (the rows that it covers are
    others now). `rows` names up to `NAMED` of these; `count` is their number.
    """

    block: int
    why: str
    sealed_at: str = ""
    rows: tuple[str, ...] = ()
    count: int = 0


@dataclass
class Report:
    """The result of a walk: the blocks and rows that fit, and what does not.

    `unknown_heads`: heads of elsewhere that no block of the chain has. `wrong_values`: ids of
    values of the catalogue whose undoing is not what the sealed facts say.
    """

    blocks: int = 0
    rows: int = 0
    head: str = ""  # the hash of the last block that fits
    head_block: int = 0
    broken: Broken | None = None
    unknown_heads: list[str] = field(default_factory=list)
    wrong_values: list[int] = field(default_factory=list)
    unsealed: Unsealed | None = None

    @property
    def is_sound(self) -> bool:
        return not (self.broken or self.unknown_heads or self.wrong_values)


def verify(
    first: int = 1, heads: Sequence[str] = (), progress: ShowProgress = lambda done, rows: None
) -> Report:
    """Walk the chain from a block to the newest one, and stop at the first that does not fit.

    A `first` block but 1 is believed what it says of the one before it. `heads` are those that were
    kept elsewhere, `HASH` or `BLOCK:HASH`. Seven queries for about 5,000 rows, and a few more;
    constant memory. It reads, and hinders nobody.
    """
    report = Report()
    with connection.cursor() as cursor:
        cursor.execute(SIZE, {"first": first})
        last, size = cursor.fetchone()
        after, previous = BEGINNING, GENESIS
        if first > 1:
            cursor.execute(BEFORE, [first - 1])
            if (before := cursor.fetchone()) is None:
                report.broken = Broken(first - 1, "missing")
                return report
            after, previous = Place(*before[:2]), bytes(before[2])
        report.head_block, report.head = first - 1, previous.hex() if first > 1 else ""
        for found in _together(cursor, first, last or 0):
            report.broken = _walk(cursor, found, after, report)
            if report.broken:
                break
            after = found[-1][0].last
            progress(report.rows, size)
        report.unknown_heads = [each for each in heads if not _is_known(cursor, each, report)]
        report.wrong_values = _wrong_values(cursor)
    report.unsealed = unsealed()
    return report


Found = list[tuple[Block, bytes]]  # blocks, with their hashes


def _together(cursor: CursorWrapper, first: int, last: int) -> Iterator[Found]:
    """The blocks up to one, as many at a time as have few rows together."""
    group: Found = []
    rows = 0
    while True:
        cursor.execute(BLOCKS, [first, last])
        found = cursor.fetchall()
        for each in found:
            block = Block(
                each[0],
                Place(*each[1:3]),
                Place(*each[3:5]),
                each[5],
                bytes(each[6]),
                bytes(each[7]),
                *each[8:10],
            )
            if group and rows + block.rows > TOGETHER:
                yield group
                group, rows = [], 0
            group.append((block, bytes(each[10])))
            rows += block.rows
        if not found:
            break
        first = found[-1][0] + 1
    if group:
        yield group


def _walk(cursor: CursorWrapper, found: Found, after: Place, report: Report) -> Broken | None:
    """Go on over some blocks; the first that does not fit."""
    sound: list[Block] = []
    broken = None
    expected, previous = report.head_block + 1, bytes.fromhex(report.head) or GENESIS
    for block, hash in found:
        if block.number != expected:
            broken = Broken(expected, "missing")
        elif block.hash() != hash or (block.last.xact, block.last.id) < (after.xact, after.id):
            broken = Broken(block.number, "hash", block.sealed_at)
        elif block.previous != previous:
            broken = Broken(block.number, "chain", block.sealed_at)
        if broken:
            break
        sound.append(block)
        expected, previous = expected + 1, hash
    if sound:
        contents = read([block.last for block in sound], after)
        for block, content in zip(sound, contents, strict=True):
            if not block.holds(content):
                return _named(cursor, block, Span(after, block.last), content)
            report.blocks += 1
            report.rows += block.rows
            report.head_block, report.head = block.number, block.hash().hex()
            after = block.last
    return broken


def _named(cursor: CursorWrapper, block: Block, span: Span, content: Content) -> Broken:
    """Say which rows of a block are others than were sealed, as far as it can be said."""
    cursor.execute(CHECKS, [block.number])
    sealed = parted_checks(bytes(cursor.fetchone()[0]), block.counts)
    said: list[str] = []
    for table, checks in zip(TABLES, sealed, strict=True):
        rows = [bytes(row) for row in sent(table, span)]
        found = [crc32(row) for row in rows]
        if found != checks:
            said += _differences(table, checks, found, rows)
    return Broken(block.number, "rows", block.sealed_at, tuple(said[:NAMED]), len(said))


def _differences(
    table: Table, sealed: list[int], found: list[int], rows: list[bytes]
) -> Iterator[str]:
    compared = SequenceMatcher(None, sealed, found, autojunk=False)
    for what, start, end, first, last in compared.get_opcodes():
        if what == "equal":
            continue
        both = min(end - start, last - first)
        for row in rows[first : first + both]:
            yield f"{_name(table, row)} was changed"
        for row in rows[first + both : last]:
            yield f"{_name(table, row)} was added"
        missing = end - start - both
        if missing:
            before = rows[first + both - 1] if first + both else None
            where = f"behind {_name(table, before)}" if before else "at the beginning"
            yield f"{missing} × {table.name} is missing {where}"


def _name(table: Table, row: bytes) -> str:
    id = int.from_bytes(row[18:26])
    of = ""
    if table.of_subscription:
        of = f" (subscription {int.from_bytes(row[30:38])})"
    return f"{table.name} {id}{of}"


def _is_known(cursor: CursorWrapper, head: str, report: Report) -> bool:
    """Whether a block has this hash, and the walk has found that its rows fit."""
    number, _, hash = head.rpartition(":")
    cursor.execute(OF_HEAD, [hash])
    found = cursor.fetchone()
    if found is None or (number and int(number) != found[0]):
        return False
    return bool(found[0] <= report.head_block)


def _wrong_values(cursor: CursorWrapper) -> list[int]:
    cursor.execute(UNDONE)
    return [
        id
        for id, undone, is_unplaced, again, instants in cursor.fetchall()
        if is_unplaced or _undone(again or [], instants or []) != _intervals(undone)
    ]


def _undone(again: list[bool], instants: list[datetime]) -> list[tuple[datetime, datetime | None]]:
    """The intervals in which a value does not count, by the rows that undo it, as they came."""
    turns: list[tuple[datetime, bool]] = []  # from which instant on it is undone, or not
    for counts, instant in zip(again, instants, strict=True):
        turns = [turn for turn in turns if turn[0] < instant]
        if (turns[-1][1] if turns else False) == counts:
            turns.append((instant, not counts))
    ends = [instant for instant, _ in turns[1:]] + [None]
    return [
        (instant, end) for (instant, is_undone), end in zip(turns, ends, strict=False) if is_undone
    ]


def _intervals(undone: Any) -> list[tuple[datetime | None, datetime | None]]:
    return [(each.lower, each.upper) for each in undone]
