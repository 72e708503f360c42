"""Connections that find out for themselves that the database is silent.

A path may go silent without an end: a firewall forgets it, a proxy or the server's host hangs. Then
no limit of the server's is of use, as it can't tell; and the kernel's (`tcp_user_timeout`) counts
only what nobody has acknowledged, which a hung proxy's kernel has. A statement itself has no limit
that would be right for all: some take minutes.

    a statement has no answer for `look_after` seconds ─▶ does the server take another connection?
        yes, or it refuses it ─▶ wait on, and look again
        no answer             ─▶ OperationalError; until it answers, others have that error at once
        another host answers  ─▶ OperationalError, if that of the session does not

Several hosts, or several addresses of one name, are tried in their order, as for any connection.

So web servers and workers watch; a person at a command can end it.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

LOOK_AFTER = 3.0  # seconds without an answer
LOOK_AFTER_BESIDE = 0.5  # the same, where a replica would answer
WHILE_SILENT = 0.3  # the same, when the last look found nothing
TIMED_OUT = "connection timeout expired"  # psycopg's words, in a list if there are several hosts
PAUSE = 2.0  # seconds between two looks while it is silent
INTERVAL = 0.1  # psycopg's own, in which it notices Ctrl-C


class Address(NamedTuple):
    """Where one server is, in libpq's words."""

    host: str
    hostaddr: str | None  # None: a socket of this machine
    port: int


def address_of(session: psycopg.Connection[Any]) -> Address:
    return Address(session.info.host, session.info.hostaddr or None, session.info.port)


class Pulse:
    """Whether the database answers anybody: one for all threads of a process, and one more for the
    replica.
    """

    def __init__(self) -> None:
        self.watching = False
        self.look_after = LOOK_AFTER
        self.silent = False
        self.looking = threading.Lock()
        self.looked_at = 0.0
        self.conn_params: dict[str, Any] = {}
        self.answered: dict[Address, bool] = {}  # by the last look

    def patience(self) -> float | None:
        """The seconds for which to wait before a look; None: for ever."""
        if not self.watching:
            return None
        return WHILE_SILENT if self.silent else self.look_after

    def beats(self, session: psycopg.Connection[Any]) -> bool:
        """Look whether the server of a session takes a connection; one look of the process is for
        all who ask meanwhile.
        """
        asked, own = time.monotonic(), address_of(session)
        with self.looking:
            if self.looked_at < asked:
                self._look(own)
            if self.silent:
                return False
            if own in self.answered:
                return self.answered[own]
        return self._answers(own)

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

    def _look(self, own: Address | None = None) -> None:
        """At all hosts in turn; and at that of a session beside it, as one that is silent takes a
        whole `connect_timeout`, of both looks.
        """
        before, self.silent, self.answered = self.silent, False, {}
        with ThreadPoolExecutor(1) as beside:
            several = "," in str(self.conn_params.get("host"))
            of_own = beside.submit(self._answers, own) if own and several else None
            self._look_at_all(before)
        if own and of_own:
            self.answered[own] = of_own.result()
        if before and not self.silent:
            logger.warning("The database is no longer silent.")
        self.looked_at = time.monotonic()

    def _answers(self, own: Address) -> bool:
        try:
            psycopg.connect(**self.conn_params | own._asdict()).close()
        except psycopg.Error as error:
            return TIMED_OUT not in str(error)
        return True

    def _look_at_all(self, before: bool) -> None:
        try:
            with closing(psycopg.connect(**self.conn_params)) as session:
                self.answered[address_of(session)] = True
        except psycopg.Error as error:
            # A server that refuses lives: whoever needs the reason gets it.
            self.silent = TIMED_OUT in str(error)
            if self.silent and not before:
                logger.error("The database is silent; nobody waits for it: %s", error)


pulse = Pulse()


class Watched(psycopg.Connection[Any]):
    pulse = pulse

    def wait(
        self, gen: PQGen[Answer], interval: float = INTERVAL, timeout: float | None = None
    ) -> Answer:
        """As psycopg's; OperationalError if the database is silent."""
        try:
            while True:
                try:
                    return super().wait(gen, interval, timeout or self.pulse.patience())
                except errors._WaitTimeout:  # the generator goes on where it is
                    if timeout is not None:
                        raise
                if not self.pulse.beats(self):
                    self.close()
                    raise psycopg.OperationalError("the database is silent; the session was ended")
        except errors.IdleInTransactionSessionTimeout as error:
            # A session that has ended, by the server's limit, is no fault of its last statement,
            # as psycopg's InternalError would have it.
            raise psycopg.OperationalError(str(error)) from error


class WatchedReplica(Watched):
    pulse = Pulse()
