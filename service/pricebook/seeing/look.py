"""Looks at the database beside the requests: by a session and a thread of their own, in a time that
no database, network or lock can stretch.

Neither the pool nor a thread of the web server is taken, so a probe is answered while both are
used up, and whoever asks often costs one session at a time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import sql

NAME = "pricebook probe"  # what pg_stat_activity shows
CONNECTING = 2  # seconds; psycopg takes no fewer
# psycopg's own, which are not libpq's.
NOT_OF_LIBPQ = ("context", "cursor_factory", "prepare_threshold")
LIMIT = sql.SQL("SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}")

Found = TypeVar("Found")


class NoAnswer(Exception):
    """The database has not answered in time, or has refused; the text is for the log."""


class Session:
    """A connection to the database that serves one look."""

    def __init__(self, seconds: float, alias: str = DEFAULT_DB_ALIAS) -> None:
        params = connections[alias].get_connection_params()
        for name in NOT_OF_LIBPQ:
            params.pop(name, None)
        params |= {
            "connect_timeout": CONNECTING,
            "application_name": NAME,
            "tcp_user_timeout": round(seconds * 1000),
        }
        self.seconds = seconds
        self.connection = psycopg.connect(**params, autocommit=True, prepare_threshold=None)

    def rows(self, statement: str, seconds: float | None = None) -> list[Any]:
        """The rows of a statement that reads, in a transaction of its own, of so many seconds.

        The limits are set within the transaction: behind PgBouncer another one's session is next.
        """
        with self.connection.transaction(), self.connection.cursor() as cursor:
            limit = f"{round((seconds or self.seconds) * 1000)}ms"
            cursor.execute(LIMIT.format(limit=sql.Literal(limit)))
            return cursor.execute(statement.encode()).fetchall()


class Look(Generic[Found]):
    """Asks the database by `ask`; whoever comes meanwhile gets the same answer.

    An answer takes at most `seconds`, and serves for `kept` seconds more.
    """

    def __init__(
        self, ask: Callable[[Session], Found], *, seconds: float, kept: float = 0.0
    ) -> None:
        self.ask = ask
        self.seconds = seconds
        self.kept = kept
        self._lock = threading.Lock()
        self._run: _Run[Found] | None = None

    def __call__(self) -> Found:
        """The answer; raises NoAnswer."""
        with self._lock:
            run = self._run
            if run is None or run.is_old(self.kept):
                run = self._run = _Run(self.ask, self.seconds)
                threading.Thread(target=run.go, name="probe", daemon=True).start()
        return run.wait()

    def forget(self) -> None:
        """Ask anew at the next call."""
        with self._lock:
            self._run = None


class _Run(Generic[Found]):
    """One look, in a thread of its own."""

    def __init__(self, ask: Callable[[Session], Found], seconds: float) -> None:
        self.ask = ask
        self.seconds = seconds
        self.ends = time.monotonic() + seconds
        self.over = threading.Event()
        self.over_at = 0.0
        self.found: list[Found] = []
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._session: Session | None = None

    def go(self) -> None:
        try:
            with self._open() as session:
                self.found.append(self.ask(session))
        except Exception as error:  # whatever it is, those who wait are told
            self.error = error
        finally:
            self.over_at = time.monotonic()
            self.over.set()

    @contextlib.contextmanager
    def _open(self) -> Iterator[Session]:
        session = Session(self.seconds)
        with self._lock:
            self._session = session
        try:
            yield session
        finally:
            with self._lock:
                self._session = None
                session.connection.close()

    def is_old(self, kept: float) -> bool:
        return self.over.is_set() and time.monotonic() > self.over_at + kept

    def wait(self) -> Found:
        if not self.over.wait(max(0.0, self.ends - time.monotonic())):
            self._cut()
            raise NoAnswer(f"no answer within {self.seconds:g} s")
        if self.error is not None:
            raise NoAnswer(str(self.error).strip() or repr(self.error)) from self.error
        return self.found[0]

    def _cut(self) -> None:
        """End the session's socket: on a silent path the thread would wait for ever."""
        with self._lock, contextlib.suppress(OSError, psycopg.Error):
            if self._session is not None:
                copy = os.dup(self._session.connection.fileno())
                with socket.socket(fileno=copy) as end:
                    end.shutdown(socket.SHUT_RDWR)
