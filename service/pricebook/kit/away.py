"""Errors of the database that are no fault of a request: what its sender is told.

    it can't be reached, has no room for a session, refuses ours, or ends it   database_unavailable
    its disk is full                                                           database_full
    it takes no writes (a standby, or default_transaction_read_only)           database_read_only
    its tables are those of another release                                    migrations_pending

Everything else is a defect.
"""

from __future__ import annotations

import logging

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from pricebook.database.watched import pulse
from pricebook.kit.errors import (
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
    MigrationsPending,
)

logger = logging.getLogger(__name__)

DISK_FULL = "53100"
READ_ONLY = "25006"
NO_SUCH = ("42P01", "42703", "42883")  # table, column, function

Told = DatabaseUnavailable | DatabaseFull | DatabaseReadOnly | MigrationsPending


def told(error: BaseException | None) -> Told | None:
    """The answer to such an error, which is logged; None for another one."""
    state = getattr(getattr(error, "__cause__", None), "sqlstate", None)
    if state == DISK_FULL:
        logger.error("The database's disk is full: %s", error)
        return DatabaseFull()
    if isinstance(error, OperationalError | InterfaceError):
        # While it is silent, each request fails in the same way.
        logger.error("The database does not answer.", exc_info=None if pulse.silent else error)
        return DatabaseUnavailable()
    if not isinstance(error, DatabaseError):
        return None
    if state == READ_ONLY:
        logger.error("The database takes no writes: %s", error)
        return DatabaseReadOnly()
    if state in NO_SUCH and _are_pending():
        logger.error("Migrations are pending: ./pricebook manage migrate (%s)", error)
        return MigrationsPending()
    return None


def _are_pending() -> bool:
    try:
        executor = MigrationExecutor(connection)
        return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError:  # the transaction of the error goes on, so nothing can be asked
        return False
