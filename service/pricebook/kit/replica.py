"""Reads from a standby (`DATABASE_REPLICA_URL`), which are never older than what the primary had
committed when they were asked for.

    the primary: how far is its WAL on disk, and what time is it?
        ─▶ the standby: has it replayed that? ──▶ in REPLICA_WAIT seconds ──▶ it answers
              no, or it is gone, or its clock is off, or it ends the read ──▶ the primary answers

So who has written, by whatever door, or has been told of a write, reads it; and who has read a
price never reads the one before it, whichever server answers. No caller has to bring anything
along, and nothing is kept for callers, so nothing of that can be lost.

A read is one call, which is made again on the primary if the standby fails. Within it the default
database of this thread is the standby, so whatever is called reads there.

The instant of an answer is the standby's (`book_now()` there), whose clock is at most CLOCK beside
the primary's; the facts that it judges are all that were committed before the request. What a
standby does not know is read from the primary: `known_at` and the feed depend on transactions that
are open on the primary, writes on all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections

from pricebook.database.base import REPLICA

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

HEADER = "Book-Read-From"
CLOCK = 0.05  # seconds that the two clocks may be apart
BETWEEN = 0.005  # seconds between two looks at how far the standby is
PAUSE = 2.0  # seconds for which nobody asks a standby that failed
BUSY = 1.0  # seconds for which nobody waits for one that was late
# A commit that others can see, or whose request was answered, is on disk up to here.
PRIMARY = "SELECT pg_current_wal_flush_lsn()::text, extract(epoch FROM book_clock())::float8"
STANDBY = """
SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() >= %s::pg_lsn,
       pg_last_wal_replay_lsn()::text, extract(epoch FROM book_clock())::float8,
       extract(epoch FROM pg_postmaster_start_time())::text
"""
SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
HAS = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn"
# What became of a read, for the metrics.
READ = "replica"
WHY_NOT = ("behind", "away", "failed", "clock", "other_server", "not_a_standby")
CANCELLED = "57014"  # by a limit of ours: the primary would take as long

counted: list[Callable[[str], object]] = []  # are told of each read what became of it
_thread = threading.local()


class Unfit(Exception):
    """The standby can't answer this read; one of WHY_NOT."""


class Position(NamedTuple):
    """How far the primary is: its WAL and its clock, and between when it was asked for them."""

    wal: str
    clock: float
    asked: float
    answered: float


class _Pause:
    """Until when nobody of this process asks the standby, or waits for it."""

    away_until = 0.0
    busy_until = 0.0


def is_set() -> bool:
    return REPLICA in connections.settings


def server() -> str:
    """The server that answers this thread's reads now, for keys of caches; "" for the primary."""
    return getattr(_thread, "server", "")


def read(call: Callable[[], Answer]) -> tuple[Answer, str]:
    """The answer of a call that only reads, from the standby or else from the primary; and from
    which: "replica", "primary; behind" (see WHY_NOT), or "" if there is nothing to choose.

    Two queries more, one for each further look while it waits, and none without a standby. Within a
    transaction, or another read, the call reads what they do.
    """
    if not is_set() or server() or connections[DEFAULT_DB_ALIAS].in_atomic_block:
        return call(), ""
    try:
        with _standby_that_is_there():
            answer = call()
    except Unfit as error:
        source = f"primary; {error}"
    else:
        source = READ
    for each in counted:
        each(source.removeprefix("primary; "))
    return (answer if source == READ else call()), source


def from_replica(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A view's GET that may read from the standby; the header Book-Read-From says what did."""

    @wraps(handler)
    def answered(view: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        if "known_at" in request.query_params:
            return handler(view, request, *args, **kwargs)
        response, source = read(lambda: handler(view, request, *args, **kwargs))
        if source:
            response[HEADER] = source
        return response

    return answered


@contextmanager
def _standby_that_is_there() -> Iterator[None]:
    """Let the standby be this thread's database. Unfit if it can't be, or fails."""
    if time.monotonic() < _Pause.away_until:
        raise Unfit("away")
    primary, standby = connections[DEFAULT_DB_ALIAS], connections[REPLICA]
    position = _position(primary)
    try:
        _thread.server = _server_that_has(position, primary, standby)
        connections[DEFAULT_DB_ALIAS] = standby
        given, standby.execute_wrappers = standby.execute_wrappers, primary.execute_wrappers
        try:
            yield
        finally:
            standby.execute_wrappers = given
    except (DatabaseError, InterfaceError) as error:
        if getattr(error.__cause__, "sqlstate", None) == CANCELLED:
            raise
        reason = "failed" if server() else "away"
        # A defect of the statement comes again, from the primary, where it is told.
        logger.warning("The replica is %s; the primary answers: %s", reason, str(error).strip())
        standby.close()
        if reason == "away":
            _Pause.away_until = time.monotonic() + PAUSE
        raise Unfit(reason) from error
    finally:
        connections[DEFAULT_DB_ALIAS] = primary
        _thread.server = ""


def _position(primary: Any) -> Position:
    asked = time.monotonic()
    wal, clock = _row(primary, PRIMARY)
    return Position(wal, clock, asked, time.monotonic())


def _server_that_has(position: Position, primary: Any, standby: Any) -> str:
    """Wait until the standby has what the primary had; the name of its server's run. Or Unfit."""
    asked = time.monotonic()
    until = asked if asked < _Pause.busy_until else asked + settings.REPLICA_WAIT
    while True:
        in_recovery, has_it, replayed, clock, started = _row(standby, STANDBY, position.wal)
        if not in_recovery:
            raise Unfit("not_a_standby")
        if has_it:
            break
        if time.monotonic() > until:
            _Pause.busy_until = time.monotonic() + BUSY
            raise Unfit("behind")
        time.sleep(BETWEEN)
        asked = time.monotonic()
    # What the primary does not have it can't have sent: they have parted, after a failover.
    if replayed != position.wal and _row(primary, HAS, replayed) == (False,):
        raise Unfit("other_server")
    if _system(primary) != _system(standby):
        raise Unfit("other_server")
    # So much has passed at least, and at most, between the two instants.
    least, most = asked - position.answered, time.monotonic() - position.asked
    ahead = clock - position.clock
    if ahead - most > CLOCK or ahead - least < -CLOCK:
        raise Unfit("clock")
    return str(started)


def _row(database: Any, statement: str, *params: str) -> tuple[Any, ...]:
    with database.cursor() as cursor:
        cursor.execute(statement, params)
        found: tuple[Any, ...] = cursor.fetchone()
    return found


def _system(database: Any) -> str:
    """Which cluster it is: asked once in each session."""
    session = database.connection
    if not hasattr(session, "system_identifier"):
        (session.system_identifier,) = _row(database, SYSTEM)
    return str(session.system_identifier)
