"""The module in which Django looks for the DatabaseWrapper of an ENGINE."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql import base

from pricebook.database.watched import Watched, pulse


class _Driver:
    """psycopg, whose connections are watched."""

    @staticmethod
    def connect(*given: Any, **named: Any) -> Watched:
        return Watched.connect(*given, **named)  # looked up each time: traces wrap it

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(base.DatabaseWrapper):
    Database = _Driver()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A new connection, or one of the pool; at once an error while the database is silent."""
        pulse.refuse_if_silent(conn_params)
        return super().get_new_connection(conn_params)
