"""The module in which Django looks for the DatabaseWrapper of an ENGINE."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql import base

from pricebook.database.watched import Watched, WatchedReplica

REPLICA = "replica"  # the alias of a standby


class _Driver:
    """psycopg, whose connections are watched."""

    def __init__(self, watched: type[Watched]) -> None:
        self.watched = watched

    def connect(self, *given: Any, **named: Any) -> Watched:
        return self.watched.connect(*given, **named)  # looked up each time: traces wrap it

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(base.DatabaseWrapper):
    Database = _Driver(Watched)

    def __init__(self, settings_dict: dict[str, Any], alias: str = "default") -> None:
        super().__init__(settings_dict, alias)
        self.watched = WatchedReplica if alias == REPLICA else Watched
        if alias == REPLICA:  # its silence is not that of the primary
            self.Database = _Driver(WatchedReplica)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A new connection, or one of the pool; at once an error while the database is silent."""
        self.watched.pulse.refuse_if_silent(conn_params)
        return super().get_new_connection(conn_params)
