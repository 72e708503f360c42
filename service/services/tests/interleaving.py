"""Two connections at once, in an order that the test decides and not the clock.

`a_person()` is a plain connection, as psql's. `in_background()` runs a call in a thread, which has
a Django connection of its own. A `Pause` holds a call of ours at a chosen place. And
`without_*` take a protection out of the database, to show that the test sees it missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection

from pricebook.tests.servers import until

# The statements that a person types.
MOVE_SERVICE = "UPDATE services_service SET full_price = %s WHERE id = %s"
CREATE = "INSERT INTO services_subscription (client_id, service_id, plan_id, comment) VALUES "


@contextmanager
def a_person(isolation: str = "read committed") -> Iterator[psycopg.Connection]:
    """A connection with a transaction that stays open until `commit()` or the end of the block."""
    person = psycopg.connect(**connection.get_connection_params())
    try:
        person.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}")
        person.commit()
        yield person
    finally:
        person.close()


class Background:
    """A call in a thread. `result()` waits for it, and raises what it raised."""

    def __init__(self, call: Callable[..., Any], *arguments: Any, pid: int | None = None) -> None:
        self.pid = pid  # of the database session that the call uses
        self.error: BaseException | None = None
        self.value: Any = None
        self._thread = threading.Thread(target=self._run, args=(call, *arguments), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            if self.pid is None:
                connection.ensure_connection()
                self.pid = connection.connection.info.backend_pid
            self.value = call(*arguments)
        except BaseException as error:
            self.error = error
        finally:
            connection.close()  # this thread's

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def waits_for_a_lock(self) -> bool:
        if self.pid is None:
            return False
        with connection.cursor() as cursor:
            cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [self.pid])
            return cursor.fetchone()[0]

    def until_it_waits(self) -> Background:
        """Return once the database says that the call waits for somebody's lock."""
        until(lambda: self.waits_for_a_lock() or not self.running)
        assert self.running, f"it ended and waited for nobody: {self.error!r}"
        return self

    def until_it_waits_or_ends(self) -> Background:
        until(lambda: self.waits_for_a_lock() or not self.running)
        return self

    def result(self, seconds: float = 20) -> Any:
        self._thread.join(seconds)
        assert not self.running, "it still runs"
        if self.error is not None:
            raise self.error
        return self.value


def in_background(call: Callable[..., Any], *arguments: Any) -> Background:
    return Background(call, *arguments)


def execute_in_background(person: psycopg.Connection, sql: str, arguments: Any = ()) -> Background:
    """A statement of a person that may have to wait."""
    return Background(person.execute, sql, arguments, pid=person.info.backend_pid)


class Pause:
    """Holds the first call of `owner.name`, its work done and not committed, until `go_on()`."""

    def __init__(self, monkeypatch: Any, owner: Any, name: str) -> None:
        self._reached, self._go = threading.Event(), threading.Event()
        self._first = threading.Lock()
        original = getattr(owner, name)

        def paused(*args: Any, **kwargs: Any) -> Any:
            value = original(*args, **kwargs)
            if self._first.acquire(blocking=False):
                self._reached.set()
                assert self._go.wait(20), "nobody let it go on"
            return value

        monkeypatch.setattr(owner, name, paused)

    def until_reached(self) -> None:
        assert self._reached.wait(20), "it never came here"

    def go_on(self) -> None:
        self._go.set()


@contextmanager
def replaced(function: str, mutate: Callable[[str], str]) -> Iterator[None]:
    """Replace a database function by another definition, for the length of a block."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef(%s::regproc)", [function])
        original = cursor.fetchone()[0]
        mutant = mutate(original)
        assert mutant != original
        cursor.execute(mutant)
    try:
        yield
    finally:
        with connection.cursor() as cursor:  # the block may have closed the connection
            cursor.execute(original)


@contextmanager
def without_catalogue_locks() -> Iterator[None]:
    """Writers of prices and editors of the catalogue don't know of each other."""
    nothing = (
        "CREATE OR REPLACE FUNCTION {}(id bigint, for_change boolean) RETURNS void"
        " LANGUAGE sql AS 'SELECT'"
    )
    with (
        replaced("lock_service", lambda _: nothing.format("lock_service")),
        replaced("lock_plan", lambda _: nothing.format("lock_plan")),
    ):
        yield


@contextmanager
def without_trigger(name: str, table: str = "services_subscription") -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {name}")
