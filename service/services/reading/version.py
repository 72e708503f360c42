"""The version of the book, which distinguishes an answer from the one before it.

the version that a statement's snapshot sees ─▶ digest ─▶ ETag ─▶ `Seen`, at the next request
    ─▶ compared in the statement itself: where it is the same, nothing else is read
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from services.sql import SQL

# The sum of changes distinguishes commits while the table lives on one server. The other parts
# distinguish books that would count through the same numbers again: a database made from a template
# or a dump (its oid), a table emptied or made anew (its file), a server started from a backup or a
# standby (its start). The last part changes with instants that have passed and whose effect nobody
# has copied yet, because that is written nowhere.
#
# A fold deletes such instants when the primary's clock has passed them. A standby whose clock is
# behind would see that, and judge by an instant before them; so an answer that it gives while its
# clock has not passed its last commit, by a tenth of a second more, has a version that never comes
# again.
_VERSION = """
       {changes}
       || '.' || (SELECT oid FROM pg_database WHERE datname = current_database())
       || '.' || pg_relation_filenode('services_subtotal')
       || '.' || extract(epoch FROM pg_postmaster_start_time())
       || coalesce('.' || extract(epoch FROM {boundary}), '')
       || CASE WHEN pg_is_in_recovery() AND statement_timestamp() - interval '0.1 s'
                    < pg_last_xact_replay_timestamp()
               THEN '~' || extract(epoch FROM clock_timestamp()) ELSE '' END AS version,
       pg_current_xact_id_if_assigned() IS NOT NULL AS uncommitted
"""
# Including starts and ends, which the fold deletes once they have passed, and counts in `changes`.
VERSION = _VERSION.format(changes="sum(changes)", boundary="newest_boundary_of_book(book_now())")
# Edits of the catalogue, of clients and of names are counted in rows without service and plan, so
# that the many changes of subscriptions, and their starts and ends, don't change this version.
VERSION_OF_NAMES = _VERSION.format(
    changes="sum(changes) FILTER (WHERE service_id IS NULL)",
    boundary="newest_boundary(book_now())",
)


@dataclass(frozen=True)
class Seen:
    """Digests of answers that a caller has seen, and the request that they answered."""

    to: str
    digests: list[str]


def digest(version: str, to: str) -> str:
    """A digest that distinguishes the answer `to` a request, by this version, from any other."""
    return sha256(f"{version}{to}".encode()).hexdigest()[:32]


class Unchanged(Exception):
    """The caller has this answer already."""

    def __init__(self, version: str | None) -> None:
        super().__init__(version)
        self.version = version


# `Seen` in SQL, for a row with the version: the digest is the one that `digest()` makes of it.
IS_SEEN = """coalesce(NOT uncommitted
        AND left(encode(sha256(convert_to(version || %s, 'UTF8')), 'hex'), 32) = ANY(%s), false)"""
# A row about the book: the parts of a statement that are read only if not `seen` are then free.
BOOK = """
SELECT version, uncommitted, {seen} AS seen FROM (SELECT {version} FROM services_subtotal) book
"""
SEEN = "(SELECT {is_seen} FROM (SELECT {version} FROM services_subtotal) book)"


def book_as_seen(seen: Seen | None) -> SQL:
    """The SQL of (version, uncommitted, seen) of the book: `seen` if the caller has seen it."""
    if seen is None:
        return BOOK.format(version=VERSION, seen="false"), ()
    return BOOK.format(version=VERSION, seen=IS_SEEN), (seen.to, seen.digests)


def is_seen(seen: Seen | None) -> SQL:
    """The SQL of whether the caller has seen the book, as one value."""
    if seen is None:
        return "false", ()
    return SEEN.format(is_seen=IS_SEEN, version=VERSION), (seen.to, seen.digests)


def version_of(version: str | None, uncommitted: bool, seen: bool) -> str | None:
    """The version in a row of `book_as_seen`; None if no other reader will see it, or Unchanged."""
    if seen:
        raise Unchanged(version)
    return None if uncommitted else version
