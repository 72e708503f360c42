"""`migrate`: Django's, except that readers never wait behind it for a lock that others hold.

A statement that wants a table for itself waits for whoever reads it (a `pg_dump`, a report), and
all later readers wait behind it. So it waits half a second, gives way, and tries again.

    a migration in a transaction      is undone, and begins again
    a statement without one           is tried again
    CREATE INDEX CONCURRENTLY …       waits as long as it takes: nobody waits behind it
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.core.management import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from psycopg.errors import LockNotAvailable

from pricebook.kit import pooler

WAIT = 500  # milliseconds that a statement waits for a lock, and others behind it
PAUSE = 1.0  # seconds until it is tried again
PATIENCE = 600.0  # seconds for which it is tried again
HOLDERS = """
SELECT pid, coalesce(nullif(application_name, ''), backend_type), state,
       round(extract(epoch FROM clock_timestamp() - xact_start))::int
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
 ORDER BY xact_start LIMIT 3
"""


class Command(migrate.Command):
    help = migrate.Command.help + " It gives way to readers, and tries again."

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--patience",
            type=float,
            default=PATIENCE,
            metavar="SECONDS",
            help="for how long to try again what others hold locked (default: %(default)g)",
        )

    def handle(self, *args: Any, patience: float = PATIENCE, **options: Any) -> None:
        self.until = time.monotonic() + patience
        pooler.directly(options["database"])  # it sets limits of its session
        self.connection = connections[options["database"]]
        self.connection.ensure_connection()
        with self.connection.execute_wrapper(self._give_way):
            try:
                while not self._done(*args, **options):
                    pass
            finally:
                self._set(0)

    def _done(self, *args: Any, **options: Any) -> bool:
        """Whether all migrations are applied; False if one has to begin again, after a pause."""
        try:
            super().handle(*args, **options)
        except OperationalError as error:
            self._wait_or_raise(error)
            return False
        return True

    def _give_way(self, execute: Callable[..., Any], sql: Any, *args: Any) -> Any:
        """Run a statement; outside of a transaction, again and again until it gets its locks."""
        self._set(0 if "CONCURRENTLY" in str(sql).upper() else WAIT)
        while True:
            try:
                return execute(sql, *args)
            except OperationalError as error:
                self._now = -1  # a rollback takes back what was set
                if self.connection.in_atomic_block:
                    raise
                self._wait_or_raise(error)
                self._set(WAIT)

    _now = 0

    def _set(self, milliseconds: int) -> None:
        """Set `lock_timeout`, by the driver: Django may be about to begin a transaction."""
        session = self.connection.connection
        if session is None or session.closed or milliseconds == self._now:
            return
        session.execute(f"SET lock_timeout = {milliseconds}")
        self._now = milliseconds

    def _wait_or_raise(self, error: OperationalError) -> None:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise error
        left = self.until - time.monotonic()
        holders = self._holders()
        if left <= 0:
            raise CommandError(
                f"A table is in use, so nothing was changed by the migration that needs it: {error}"
                f" {holders} End those, or run migrate again when they have ended."
            ) from error
        self.stdout.write(f"  waits for a lock ({left:.0f} s left). {holders}")
        time.sleep(PAUSE)

    def _holders(self) -> str:
        with self.connection.connection.cursor() as cursor:
            cursor.execute(HOLDERS)
            found = cursor.fetchall()
        return "Open transactions: " + "; ".join(
            f"process {pid} ({name}, {state}, {seconds} s)" for pid, name, state, seconds in found
        )
