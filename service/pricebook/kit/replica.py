"""Reads from a standby (`DATABASE_REPLICA_URL`), which are never older than what the primary had
committed when they were asked for.

    the primary: how far is its WAL on disk, and what time is it?
        ─▶ the standby: has it replayed that? ──▶ in REPLICA_WAIT seconds ──▶ it answers
              no, or it is gone, or its clock is off, or it ends the read ──▶ the primary answers
    the primary, after the read: does it show each commit that the standby shows?
        ─▶ yes, or in REPLICA_WAIT seconds ──▶ the answer is given
              no ──▶ the primary answers

So who has written, by whatever door, or has been told of a write, reads it; and who has read a
price never reads the one before it, whichever server answers. No caller has to bring anything
along, and nothing is kept for callers, so nothing of that can be lost.

A read is one call, which is made again on the primary if the standby fails. Within it the default
database of this thread is the standby, so whatever is called reads there.

The instant of an answer is the standby's (`book_now()` there), whose clock is at most CLOCK beside
the primary's; the facts that it judges are all that were committed before the request. Some things
no standby knows, and they are read from the primary: `known_at` and the feed depend on transactions
that are open there.

While the primary does not answer, the standby answers alone, and says so: it may be behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import psycopg
from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    InterfaceError,
    OperationalError,
    connections,
)

from pricebook.database.base import REPLICA

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

HEADER = "Book-Read-From"
CLOCK = 0.05  # seconds that the two clocks may be apart
BETWEEN = 0.005  # seconds between two looks at how far the standby is
PAUSE = 2.0  # seconds for which nobody asks a standby that failed
LOOK_EVERY = 0.5  # seconds between two looks for a primary that does not answer
BUSY = 1.0  # seconds for which nobody waits for one that was late
# A commit that others can see, or whose request was answered, is on disk up to here. One that waits
# for its synchronous standby can be read on another one, but not on the primary. A moment of it is
# part of each commit; if it goes on, no read of a standby would be given out in the end.
PRIMARY = """
SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn()::text END,
       extract(epoch FROM book_clock())::float8,
       EXISTS (SELECT FROM pg_stat_activity
                WHERE wait_event = 'SyncRep'
                  AND query_start < clock_timestamp() - interval '100 ms')
"""
STANDBY = """
SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() >= %s::pg_lsn,
       pg_last_wal_replay_lsn()::text, extract(epoch FROM book_clock())::float8,
       extract(epoch FROM pg_postmaster_start_time())::text
"""
ALONE = "SELECT pg_is_in_recovery(), extract(epoch FROM pg_postmaster_start_time())::text"
SHOWN = "SELECT pg_current_snapshot()::text"
# Transactions that are committed on a standby, and not in that snapshot of the primary. (A snapshot
# of a standby lists none that run.)
COMMITTED = """
WITH snapshot AS (
    SELECT %s::pg_snapshot AS primarys, pg_snapshot_xmax(pg_current_snapshot()) AS above
), missing AS (
    SELECT pg_snapshot_xip(primarys) AS xid FROM snapshot
     UNION ALL
    SELECT generate_series(
               pg_snapshot_xmax(primarys)::text::bigint, above::text::bigint - 1)::text::xid8
      FROM snapshot
)
SELECT array_agg(xid::text) FROM missing, snapshot
 WHERE CASE WHEN xid < above THEN pg_xact_status(xid) = 'committed' END
"""
HELD = """
SELECT array_agg(xid) FROM unnest(%s::text[]) AS xid
 WHERE NOT pg_visible_in_snapshot(xid::xid8, pg_current_snapshot())
"""
SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
HAS = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn"
# The outcomes of reads, for the metrics.
READ = "replica"
WHY_NOT = (
    "behind",
    "away",
    "failed",
    "clock",
    "other_server",
    "not_a_standby",
    "in_recovery",  # and so is the primary
    "unconfirmed",  # the primary waits for its synchronous standby
)
NO_PRIMARY = "no_primary"
CANCELLED = "57014"  # by a limit of ours: the primary would take as long

counted: list[Callable[[str], object]] = []  # are told of each read what became of it
_thread = threading.local()


class Unfit(Exception):
    """The standby can't answer this read; one of WHY_NOT."""


class Elsewhere(Unfit):
    """Its server is none of the standbys; another host may be one."""


class PrimaryIsAway(Exception):
    """The primary has not answered, and a thread looks for it."""


class Position(NamedTuple):
    """How far the primary is: its WAL and its clock, and between when it was asked for them."""

    wal: str
    clock: float
    asked: float
    answered: float


class _Pause:
    """Until when nobody of this process asks the standby, or waits for it; and whether the primary
    is away, for which a thread looks."""

    away_until = 0.0
    busy_until = 0.0
    primary_is_away = False
    looking = threading.Lock()


def is_set() -> bool:
    return REPLICA in connections.settings


def server() -> str:
    """The run of the standby that answers this thread's reads now; "" for the primary."""
    return getattr(_thread, "server", "")


def server_of_keys() -> str:
    """The server that answers now, for keys of caches: by its run, or where it is said to be."""
    where = connections[DEFAULT_DB_ALIAS].settings_dict
    return server() or f"{where['HOST']}:{where['PORT']}"


def read(call: Callable[[], Answer]) -> tuple[Answer, str]:
    """The answer of a call that only reads, from the standby or else from the primary; and from
    which: "replica", "primary; behind" (see WHY_NOT), or "" if there is nothing to choose.

    While the primary does not answer it is "replica; no_primary": it may be older than a write.

    Four queries more, one for each further look while it waits, and none without a standby. Within
    a transaction, or another read, the call reads what they do.
    """
    primary = connections[DEFAULT_DB_ALIAS]
    if not is_set() or server() or primary.in_atomic_block:
        return call(), ""
    try:
        position = _position(primary)
        with standby_for(position) as source:
            answer = call()
            if position is not None:
                try:
                    _wait_until_shown(primary, connections[REPLICA])
                except PrimaryIsAway:
                    source = f"replica; {NO_PRIMARY}"
    except PrimaryIsAway:
        return read(call)
    except Unfit as error:
        count(str(error))
        return call(), f"primary; {error}"
    count(source.removeprefix("replica; "))
    return answer, source


def count(outcome: str) -> None:
    for each in counted:
        each(outcome)


def fault() -> list[str]:
    """Why the standby that is set answers no reads, if that will not pass by itself, as a sentence
    with its fix."""
    _, source = read(lambda: None)
    why = source.removeprefix("primary; ")
    if why == source or why in ("behind", "failed", "unconfirmed"):
        return []
    return [
        f"DATABASE_REPLICA_URL: its server answers no reads ({why}), the primary does. Fix:"
        " docs/hosts.md, A read replica."
    ]


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

    answered.from_replica = True  # type: ignore[attr-defined]
    return answered


@contextmanager
def standby_for(position: Position | None) -> Iterator[str]:
    """Let the standby be this thread's database, once it has what the primary had; None: at once,
    as there is no primary. Unfit if it can't be, or fails.
    """
    if time.monotonic() < _Pause.away_until:
        raise Unfit("away")
    primary, standby = connections[DEFAULT_DB_ALIAS], connections[REPLICA]
    was_connected = standby.connection is not None
    try:
        try:
            _thread.server = _server(position, primary, standby)
        except (OperationalError, InterfaceError, Elsewhere):
            if not was_connected:
                raise
            # Its server was started again since, or promoted: the next of several may be the one.
            standby.close()
            _thread.server = _server(position, primary, standby)
        connections[DEFAULT_DB_ALIAS] = standby
        given, standby.execute_wrappers = standby.execute_wrappers, primary.execute_wrappers
        try:
            yield READ if position is not None else f"replica; {NO_PRIMARY}"
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


def _position(primary: Any) -> Position | None:
    """None if the primary does not answer; Unfit if it is none."""
    if primary_is_away():
        return None
    asked = time.monotonic()
    try:
        wal, clock, unconfirmed = _ask(primary, PRIMARY)
    except PrimaryIsAway:
        return None
    if wal is None:
        raise Unfit("in_recovery")
    if unconfirmed:
        raise Unfit("unconfirmed")
    return Position(wal, clock, asked, time.monotonic())


def primary_is_away() -> bool:
    return _Pause.primary_is_away


def note_that_the_primary_is_away(error: object, primary: Any = None) -> None:
    """From now on a thread looks for it, and no request waits for it. `primary` is its database,
    if the default one of this thread is the standby now.
    """
    with _Pause.looking:
        if _Pause.primary_is_away:
            return
        logger.error("The primary does not answer; the replica does, alone: %s", error)
        _Pause.primary_is_away = True
    params = (primary or connections[DEFAULT_DB_ALIAS]).get_connection_params()
    params.pop("pool", None)
    threading.Thread(target=_look_for_the_primary, args=[params], daemon=True).start()


def _look_for_the_primary(params: dict[str, Any]) -> None:
    while _Pause.primary_is_away:
        try:
            with psycopg.connect(**params) as session:
                # A pooler takes a connection, though it has no server for it.
                found = session.execute("SELECT pg_is_in_recovery()").fetchone()
        except psycopg.Error:
            found = None
        if found == (False,):
            _Pause.primary_is_away = False
            logger.warning("The primary answers again.")
        else:
            time.sleep(LOOK_EVERY)


def _server(position: Position | None, primary: Any, standby: Any) -> str:
    """The run of the standby's server, if it may answer; or Unfit."""
    if position is not None:
        return _server_that_has(position, primary, standby)
    in_recovery, started = _row(standby, ALONE)
    if not in_recovery:
        raise Elsewhere("not_a_standby")
    return str(started)


def _server_that_has(position: Position, primary: Any, standby: Any) -> str:
    """Wait until the standby has what the primary had; the name of its server's run. Or Unfit."""
    asked = time.monotonic()
    until = asked if asked < _Pause.busy_until else asked + settings.REPLICA_WAIT
    while True:
        in_recovery, has_it, replayed, clock, started = _row(standby, STANDBY, position.wal)
        if not in_recovery:
            raise Elsewhere("not_a_standby")
        if has_it:
            break
        if time.monotonic() > until:
            _Pause.busy_until = time.monotonic() + BUSY
            raise Unfit("behind")
        time.sleep(BETWEEN)
        asked = time.monotonic()
    # It has more than the primary could have sent: they have parted, after a failover.
    if replayed != position.wal and _ask(primary, HAS, replayed) == (False,):
        raise Elsewhere("other_server")
    if _system(primary, _ask) != _system(standby, _row):
        raise Elsewhere("other_server")
    # So much has passed at least, and at most, between the two instants.
    least, most = asked - position.answered, time.monotonic() - position.asked
    ahead = clock - position.clock
    if ahead - most > CLOCK or ahead - least < -CLOCK:
        raise Unfit("clock")
    return str(started)


def _wait_until_shown(primary: Any, standby: Any) -> None:
    """Wait until the primary shows each commit that the standby shows, or who reads there next
    would see the book go back. Unfit if one of them goes on waiting.
    """
    (committed,) = _row(standby, COMMITTED, *_ask(primary, SHOWN))
    until = time.monotonic() + settings.REPLICA_WAIT
    while committed and _ask(primary, HELD, committed) != (None,):
        if time.monotonic() > until:
            raise Unfit("unconfirmed")
        time.sleep(BETWEEN)


def _ask(primary: Any, statement: str, *params: Any) -> tuple[Any, ...]:
    try:
        return _row(primary, statement, *params)
    except (OperationalError, InterfaceError) as error:
        note_that_the_primary_is_away(error, primary)
        raise PrimaryIsAway from error


def _row(database: Any, statement: str, *params: Any) -> tuple[Any, ...]:
    with database.cursor() as cursor:
        cursor.execute(statement, params)
        found: tuple[Any, ...] = cursor.fetchone()
    return found


def _system(database: Any, ask: Callable[[Any, str], tuple[Any, ...]]) -> str:
    """Which cluster it is: asked once in each session."""
    session = database.connection
    if not hasattr(session, "system_identifier"):
        (session.system_identifier,) = ask(database, SYSTEM)
    return str(session.system_identifier)
