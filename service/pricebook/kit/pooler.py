"""Whether a pooler stands before the database that shares sessions, found out by trying it.

PgBouncer with `pool_mode = transaction` gives a client another session at each transaction. The
state of a session is then lost, or is somebody else's:

    startup options                 refused, or dropped    DB_STARTUP_OPTIONS= (empty); by role
    prepared statements             lost at random         off, unless the pooler keeps them (1.21)
    cursors between transactions    none are used
    SET, advisory locks of sessions migrations alone       DATABASE_DIRECT_URL
    LISTEN                          not used

Settings that don't fit are said at the start, by `check --database default`, and by `doctor`, with
their fix. A process that meets such a session later prepares no more (kit/prepared.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import psycopg
from django.conf import settings
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections

from pricebook.kit.prepared import LOST

DIRECT = "direct"  # the alias of the server itself
# psycopg's own, which are not libpq's.
NOT_OF_LIBPQ = ("context", "cursor_factory", "prepare_threshold", "pool")
ARRIVED = "pricebook.arrived"
PID = "SELECT pg_backend_pid()"
# What `look` has prepared, in the session of another client: the next one shall not find it.
OURS = "SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE name = '_pg3_0')"
FORGET = "DEALLOCATE _pg3_0"
SETTING = f"SELECT coalesce(current_setting('{ARRIVED}', true), '')"


class Found(NamedTuple):
    """The ways in which sessions are not our own."""

    shares_sessions: bool = False
    drops_options: bool = False
    keeps_prepared: bool = True


def look(alias: str = DEFAULT_DB_ALIAS) -> Found:
    """Try it, with two connections. Raises psycopg.Error if there is none to be had."""
    params = connections[alias].get_connection_params()
    for name in NOT_OF_LIBPQ:
        params.pop(name, None)
    wants_options = bool(params.get("options"))
    if wants_options:
        params["options"] += f" -c {ARRIVED}=1"
    with closing(_open(params)) as one, closing(_open(params)) as other:
        arrived = _value(one, SETTING) == "1"
        pids = {_value(one, PID) for _ in range(3)}
        keeps = _prepares(one, pids)
        # While the other one is in a transaction it has the session that was used last.
        with other.transaction():
            others = _value(other, PID)
            keeps = _prepares(one, pids) and keeps
            if _value(other, OURS):
                other.execute(FORGET)
        shares = not keeps or others in pids or len(pids) > 1
    return Found(shares, wants_options and not arrived, keeps)


def wrong(found: Found) -> Iterator[str]:
    """Settings that do not fit to that, each as a sentence with its fix."""
    where = "A pooler that shares sessions (PgBouncer, pool_mode = transaction)"
    if found.drops_options:
        yield (
            "The pooler before the database drops the startup options, and with them the limits of"
            " sessions. Fix: DB_STARTUP_OPTIONS= (empty), the limits by role, and"
            " ignore_startup_parameters without options (docs/hosts.md)."
        )
    if found.shares_sessions and settings.PREPARED_STATEMENTS and not found.keeps_prepared:
        yield (
            f"{where} loses prepared statements. Fix: DB_PREPARED_STATEMENTS=0, or PgBouncer 1.21"
            " with max_prepared_statements (docs/hosts.md)."
        )
    if found.shares_sessions and DIRECT not in connections.settings:
        yield (
            f"{where} stands before the database, and migrations need a session of their own."
            " Fix: DATABASE_DIRECT_URL, the server's own address (docs/hosts.md)."
        )


def faults() -> list[str]:
    """Settings that do not fit, each with its fix. Two connections, or four."""
    try:
        found = list(wrong(look()))
    except psycopg.OperationalError as error:
        if "startup parameter" not in str(error):
            raise
        return [
            "The pooler before the database takes no startup options. Fix: DB_STARTUP_OPTIONS="
            f" (empty), and the limits by role (docs/hosts.md). It said: {str(error).strip()}"
        ]
    if DIRECT in connections.settings and look(DIRECT).shares_sessions:
        found.append(
            "DATABASE_DIRECT_URL leads to a pooler that shares sessions. Fix: the server's own"
            " address (docs/hosts.md)."
        )
    return found


def check_pooler(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.Error]:
    """Django's check, with `check --database default`."""
    if not databases or DEFAULT_DB_ALIAS not in databases:
        return []
    try:
        found = faults()
    except psycopg.Error as error:
        return [checks.Error(f"The database can't be used: {error}", id="pricebook.E003")]
    return [checks.Error(each, id="pricebook.E002") for each in found]


def directly(alias: str) -> None:
    """Let this process's `alias` be the server itself, if its address is set."""
    if alias == DEFAULT_DB_ALIAS and DIRECT in connections.settings:
        beside = connections[DIRECT]
        beside.alias = alias
        connections[alias].close()
        connections[alias] = beside


def _open(params: dict[str, Any]) -> psycopg.Connection[Any]:
    return psycopg.connect(**params, autocommit=True)


def _value(session: psycopg.Connection[Any], statement: str, prepare: bool = False) -> Any:
    row = session.execute(statement.encode(), prepare=prepare).fetchone()
    assert row is not None
    return row[0]


def _prepares(session: psycopg.Connection[Any], pids: set[int]) -> bool:
    """Whether a prepared statement is there; the process that has run it is added to `pids`."""
    try:
        pids.add(_value(session, PID, prepare=True))
    except LOST:
        return False
    return True
