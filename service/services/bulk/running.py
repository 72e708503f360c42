"""Writes the lines of a request: all of them in one transaction, or chunk by chunk.

    on_error    a refused line                        transactions
    stop        refuses all, and nothing is written   one
    skip        is left out, and named                one for each 2,000 lines

With an Idempotency-Key each transaction keeps its results too, so a request that broke off and is
sent again goes on where it was. A job (`services.jobs`) does the same chunks without its caller.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import IO, TypeVar

import msgspec
from django.db import DatabaseError, connection, transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from pricebook.kit.figures import grouped
from pricebook.kit.idempotency import InParts
from pricebook.kit.refusal import Refusal
from pricebook.kit.spooled_body import temporary_file
from services.bulk.lines import CHUNK, CheckedLines
from services.bulk.steps import Again, Steps
from services.hooks import price_changes
from services.moves import NOTHING, Move, NeedsAnotherPerson, one_after_the_other
from services.transfer.importing import analyse

T = TypeVar("T")

ATTEMPTS = 5
# PostgreSQL's codes of what another transaction has caused, and of ids that one has just taken.
CROSSED = {"40P01": "deadlock", "55P03": "lock timeout", "23505": "unique violation"}
# Whether the planner knows of fewer than ten times as many rows; autovacuum sees to the others.
FEW_KNOWN = "SELECT reltuples < 10 * %s FROM pg_class WHERE oid = %s::regclass"
OUTCOME = re.compile(rb'^\{"line":[0-9]+,"outcome":"([a-z]+)"', re.MULTILINE)


class LinesRefused(Refusal):
    """Nothing was written, because of these lines."""

    def __init__(self, refused: int, first: list[bytes]) -> None:
        results = [msgspec.json.decode(line) for line in first]
        number, detail = results[0]["line"], results[0]["detail"]
        super().__init__(
            "lines_refused",
            ngettext(
                "Line %(line)s: %(detail)s Nothing was written, because %(number)s line is refused."
                " Fix what `lines` names (the first 100), or send on_error=skip for the others to"
                " be written.",
                "Line %(line)s: %(detail)s Nothing was written, because %(number)s lines are"
                " refused. Fix what `lines` names (the first 100), or send on_error=skip for the"
                " others to be written.",
                refused,
            )
            % {"line": number, "detail": detail, "number": grouped(refused)},
            refused=refused,
            lines=[
                {name: result[name] for name in result if name != "outcome"} for result in results
            ],
        )


class Crossed(Refusal):
    """Others write the same, again and again."""

    wait = 5  # becomes Retry-After

    def __init__(self) -> None:
        super().__init__(
            "crossed_writes",
            _("Others are writing the same records; send it again in a few seconds."),
            503,
        )


@dataclass(frozen=True)
class Wanted:
    """The request, apart from its lines."""

    author: str
    skip: bool = False  # else one refused line refuses all
    dry_run: bool = False


@dataclass(frozen=True)
class Look:
    """The findings of a dry run so far: the prices that lines would move, and the policy's answer.

    `done` is the part of `move` that would be done. `needs_another`: why the rest takes another
    person.
    """

    move: Move = NOTHING
    done: Move = NOTHING
    needs_another: str = ""


NO_LOOK = Look()


@dataclass
class Results:
    """A result a line, as NDJSON in a temporary file from its beginning, and how many of each.

    `look` is that of a dry run.
    """

    file: IO[bytes]
    counts: Counter[str]
    replayed: bool  # all of it was kept
    look: Look = NO_LOOK


def write(
    lines: CheckedLines,
    steps: type[Steps],
    wanted: Wanted,
    parts: InParts | None = None,
) -> Results:
    """Write the lines, or find out what that would do; return the results.

    Raises `LinesRefused`, if refused lines are not skipped: nothing was written then. Raises
    `Crossed` where others write the same again and again: chunks before that one are written.
    """
    if lines.refused and not wanted.skip and not wanted.dry_run:
        raise LinesRefused(lines.refused, lines.first_refused)
    chunks = range(len(lines.starts)) if wanted.skip else range(1)
    size = 1 if wanted.skip else len(lines.starts)
    results = Results(temporary_file(), Counter(), replayed=parts is not None)
    try:
        for chunk in chunks or range(1):
            part = partial(_transaction, lines, chunk, chunk + size, steps, wanted, results, parts)
            text, kept = whatever_others_do(part)
            results.file.write(text)
            results.counts.update(found.decode() for found in OUTCOME.findall(text))
            results.replayed = results.replayed and kept
        results.file.seek(0)
        if not wanted.dry_run and not results.replayed:
            analyse_if_filled(steps, results.counts["created"])
    except BaseException:
        results.file.close()
        raise
    return results


def analyse_if_filled(steps: type[Steps], created: int) -> None:
    """Let the planner know of new records, if it took their table for a small one.

    Otherwise the next write of them may join all with all. Tables that somebody vacuums are left to
    that, so no answer waits for it.
    """
    if created < CHUNK:
        return
    with connection.cursor() as cursor:
        cursor.execute(FEW_KNOWN, [created, steps.record.table])
        (few_known,) = cursor.fetchone()
    if few_known:
        analyse("(SKIP_LOCKED)")


def _transaction(
    lines: CheckedLines,
    first: int,
    last: int,
    steps: type[Steps],
    wanted: Wanted,
    results: Results,
    parts: InParts | None,
) -> tuple[bytes, bool]:
    """The results of some chunks, and whether they were kept. One transaction."""
    look = results.look
    with transaction.atomic(), connection.cursor() as cursor:

        def work() -> bytes:
            nonlocal look
            run = steps(cursor, wanted.author, wanted.dry_run)
            look = do(run, lines.pieces(first, last), wanted, results.look)
            return b"".join(run.results())

        if not wanted.dry_run:
            return (work(), False) if parts is None else parts.once(first, work)
        text = work()
        transaction.set_rollback(True)
    results.look = look
    return text, False


def do(run: Steps, pieces: Iterable[bytes], wanted: Wanted, so_far: Look = NO_LOOK) -> Look:
    """Compare lines with the book and write them, in the caller's transaction.

    A dry run only looks at the moves, after those `so_far`. Raises `LinesRefused`, if refused lines
    are not skipped, and `Again`.
    """
    run.copy(pieces)
    refused = run.compare()
    if wanted.dry_run:
        return _look(run, wanted.author, so_far)
    if refused and not wanted.skip:
        raise LinesRefused(refused, run.first_refused())
    _write_within_limits(run, wanted.skip)
    return so_far


def _look(run: Steps, author: str, so_far: Look) -> Look:
    """The moves of the lines; they are refused where these are more than their author may do."""
    move = run.would_move()
    done = one_after_the_other(so_far.done, move)
    refusal = price_changes().beyond(author, done) if move.rows else None
    if refusal is not None:
        done = so_far.done
        run.refuse_moves(refusal)
    why = so_far.needs_another or (refusal.detail if refusal else "")
    return Look(one_after_the_other(so_far.move, move), done, why)


def _write_within_limits(run: Steps, skip: bool) -> None:
    """Write; where the lines move more than their author may alone, those that move are refused."""
    try:
        with transaction.atomic():
            run.write()
    except NeedsAnotherPerson as refusal:
        if not skip:
            raise
        run.refuse_moves(refusal)
        run.write()


def whatever_others_do(call: Callable[[], T]) -> T:
    """The call's result; it is done once more where another transaction came between."""
    for _attempt in range(ATTEMPTS):
        try:
            return call()
        except Again:
            continue
        except DatabaseError as error:
            if getattr(error.__cause__, "sqlstate", None) not in CROSSED:
                raise
    raise Crossed
