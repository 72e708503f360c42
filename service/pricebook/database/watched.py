"""Connections that find out for themselves that the database is silent.

A path may go silent without an end: a firewall forgets it, a proxy or the server's host hangs. Then
no limit of the server's is of use, as it can't tell; and the kernel's (`tcp_user_timeout`) counts
only what nobody has acknowledged, which a hung proxy's kernel has. A statement itself has no limit
that would be right for all: some take minutes.

    a statement has no answer for LOOK_AFTER seconds ─▶ does the server take another connection?
        yes, or it refuses it ─▶ wait on, and look again
        no answer             ─▶ OperationalError; until it answers, others have that error at once

So web servers and workers watch; a person at a command can end it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

LOOK_AFTER = 3.0  # seconds without an answer
WHILE_SILENT = 0.3  # the same, when the last look found nothing
PAUSE = 2.0  # seconds between two looks while it is silent
INTERVAL = 0.1  # psycopg's own, in which it notices Ctrl-C


class Pulse:
    """Whether the database answers anybody: one for all threads of a process."""

    def __init__(self) -> None:
        self.watching = False
        self.silent = False
        self.looking = threading.Lock()
        self.looked_at = 0.0
        self.conn_params: dict[str, Any] = {}

    def patience(self) -> float | None:
        """The seconds for which to wait before a look; None: for ever."""
        if not self.watching:
            return None
        return WHILE_SILENT if self.silent else LOOK_AFTER

    def beats(self) -> bool:
        """Look whether the database takes a connection; one look is for all who ask meanwhile."""
        asked = time.monotonic()
        with self.looking:
            if self.looked_at < asked:
                self._look()
            return not self.silent

    def refuse_if_silent(self, conn_params: dict[str, Any]) -> None:
        """OperationalError while the database is silent. Now and then one thread looks again."""
        self.conn_params = conn_params
        if not (self.watching and self.silent):
            return
        if self.looking.acquire(blocking=False):
            try:
                if time.monotonic() - self.looked_at > PAUSE:
                    self._look()
            finally:
                self.looking.release()
        if self.silent:
            raise psycopg.OperationalError("the database is silent")

    def _look(self) -> None:
        before, self.silent = self.silent, False
        try:
            psycopg.connect(**self.conn_params).close()
        except errors.ConnectionTimeout as error:
            self.silent = True
            if not before:
                logger.error("The database is silent; nobody waits for it: %s", error)
        except psycopg.Error:
            pass  # it refuses, so it lives: whoever needs the reason gets it
        if before and not self.silent:
            logger.warning("The database is no longer silent.")
        self.looked_at = time.monotonic()


pulse = Pulse()


class Watched(psycopg.Connection[Any]):
    def wait(
        self, gen: PQGen[Answer], interval: float = INTERVAL, timeout: float | None = None
    ) -> Answer:
        """As psycopg's; OperationalError if the database is silent."""
        try:
            while True:
                try:
                    return super().wait(gen, interval, timeout or pulse.patience())
                except errors._WaitTimeout:  # the generator goes on where it is
                    if timeout is not None:
                        raise
                if not pulse.beats():
                    self.close()
                    raise psycopg.OperationalError("the database is silent; the session was ended")
        except errors.IdleInTransactionSessionTimeout as error:
            # A session that has ended, by the server's limit, is no fault of its last statement,
            # as psycopg's InternalError would have it.
            raise psycopg.OperationalError(str(error)) from error
