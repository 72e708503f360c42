"""Named statements: the SQL that the service depends on, as it is sent, to be shown.

`SOURCES` has a function for each app, which gives its statements; the apps add their own
(`apps.py`), so this module need not know the apps above it. The command `explain_queries` prints
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from psycopg.sql import Literal

# None: the statement has none, and is sent as it stands (else %% stands for one %).
Params = Sequence[Any] | Mapping[str, Any] | None


@dataclass(frozen=True)
class NamedStatement:
    """A statement with example parameters.

    `purpose` is what it is for and `run_by` is who runs it, a line each; `why` says which index
    serves it, for a read whose plan is asserted. `writes`: it writes or locks, so it is never run
    here. `needs` are the statements that make the temporary tables that it reads.
    """

    name: str
    purpose: str
    run_by: str
    sql: str
    params: Params = None
    why: str = ""
    writes: bool = False
    needs: tuple[tuple[str, Params], ...] = ()

    def explain(self, *options: str) -> list[Any]:
        """The plan: lines of text, or one document with the option FORMAT JSON.

        If the statement writes, ANALYZE is left out, because it would run it. One query and those
        in `needs`, in a transaction that is rolled back.
        """
        known = [option for option in options if not (self.writes and runs(option))]
        explain = f"EXPLAIN ({', '.join(known) or 'COSTS'}) {self.sql}"
        with transaction.atomic(), connection.cursor() as cursor:
            for sql, params in self.needs:
                cursor.execute(sql, params)
            cursor.execute(explain, self.params)
            found = [line for (line,) in cursor.fetchall()]
            transaction.set_rollback(True)
        return found

    def typed_params(self) -> list[tuple[str, str]]:
        """Each placeholder and its value, as a literal of the type with which it is sent."""
        if isinstance(self.params, Mapping):
            names = dict.fromkeys(re.findall(r"%\((\w+)\)s", self.sql))
            given = [(f"%({name})s", self.params[name]) for name in names]
        else:
            given = [(f"%s, {number}.", value) for number, value in enumerate(self.params or (), 1)]
        connection.ensure_connection()
        session = connection.connection
        return [(name, Literal(value).as_string(session)) for name, value in given]


def runs(option: str) -> bool:
    """Whether EXPLAIN runs the statement with this option, or accepts it only if it does."""
    return option.upper().startswith(("ANALYZE", "BUFFERS ON"))


SOURCES: list[Callable[[], list[NamedStatement]]] = []


def named_statements() -> list[NamedStatement]:
    """The statements of all apps, with values from the book. A few queries for each app."""
    return [statement for source in SOURCES for statement in source()]
