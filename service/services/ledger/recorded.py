"""The instant before which all that was recorded is committed, so that answers can't change."""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.utils.translation import gettext as _

# Each transaction that writes holds the lock of its number, and everybody sees these locks; since
# when it has been open, only its own user sees, or one who may read all statistics. A transaction
# that ends between this look and the next one has committed what it wrote. Autovacuum writes
# statistics and nothing of the book; nor does anybody in another database of the server.
WRITERS = """
SELECT least(book_now(), min(xact_start)),
       bool_or(held.pid IS NULL OR session.backend_start IS NULL) IS NOT TRUE
  FROM pg_locks held LEFT JOIN pg_stat_activity session ON session.pid = held.pid
 WHERE held.locktype = 'transactionid' AND held.mode = 'ExclusiveLock' AND held.granted
   AND session.backend_type IS DISTINCT FROM 'autovacuum worker'
   AND coalesce(session.datname, current_database()) = current_database()
"""
BY_OTHERS = f"{WRITERS} AND held.pid IS DISTINCT FROM pg_backend_pid()"


class Incomplete(ValueError):
    """Not all that was recorded by an instant is committed, or it can't be known whether it is.

    `until`: the instant before which all is; None where that can't be known.
    """

    def __init__(self, until: datetime | None) -> None:
        self.until = until
        if until is None:
            self.code = "completeness_unknown"
            self.detail = _(
                "It can't be known whether all that was recorded by then is committed:"
                " the user of the database may not see since when others have been"
                " writing, or a transaction is prepared. Let an administrator grant it"
                " pg_read_all_stats, or end the prepared transaction; or leave known_at"
                " out."
            )
        else:
            self.code = "not_recorded_yet"
            self.detail = _(
                "The record is complete until %(isoformat)s: open transactions may still"
                " record something before a later instant, which would change the answer."
                " Ask for an earlier instant, or leave known_at out."
            ) % {"isoformat": until.isoformat()}
        super().__init__(self.detail)


def all_recorded_until(by_others: bool = False) -> datetime | None:
    """The instant before which all that was recorded is committed; None where that can't be known.

    It is the start of the oldest transaction that writes, or now if none does. With `by_others` our
    own transaction is left out. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(BY_OTHERS if by_others else WRITERS)
        until, all_seen = cursor.fetchone()
    return until if all_seen else None


OLDEST_WRITER = """
SELECT session.pid, usename, application_name, xact_start
  FROM pg_locks held JOIN pg_stat_activity session ON session.pid = held.pid
 WHERE held.locktype = 'transactionid' AND held.mode = 'ExclusiveLock' AND held.granted
   AND held.pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'autovacuum worker'
   AND coalesce(session.datname, current_database()) = current_database()
 ORDER BY xact_start LIMIT 1
"""


def oldest_writer() -> str:
    """The session, other than our own, that has been writing longest, in words. One query."""
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_WRITER)
        found = cursor.fetchone()
    if found is None:
        return "somebody who has ended meanwhile"
    pid, user, application, since = found
    named = f" ({application})" if application else ""
    return f"{user}{named}, who has been writing since {since.isoformat()} (process {pid})"


def refuse_incomplete(known_at: datetime) -> None:
    """Raise `Incomplete` if more may yet be recorded as of an instant. One query.

    The feed's `complete_until` is not used, because it waits for copies too: copies make no
    difference to what was known, and it would depend on workers which question is refused.
    """
    until = all_recorded_until()
    if until is None or known_at >= until:
        raise Incomplete(until)
