"""Queries that read what is in force, and not its copies: from the views of `0021_in_force`.

`Subscription.objects.in_force()` and its like have the rows of `objects` as they are by now: with
the prices and price states in force, whether a worker has copied them or not. Code that shows, sums
or searches prices reads these. Code that writes reads the tables, because only they can be locked.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.db import models
from django.db.models.sql import Query
from django.db.models.sql.datastructures import BaseTable, Join

VIEWS = {
    "services_subscription": "subscription_in_force",
    "services_service": "service_in_force",
    "services_plan": "plan_in_force",
    "services_subtotal": "subtotal_in_force",
}
Read = TypeVar("Read", bound=models.Model)


class _ViewOfTable:
    """Puts the view in the place of its table in FROM, under the same alias."""

    table_name: str
    table_alias: str
    join_type: str | None

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        sql, params = super().as_sql(compiler, connection)  # type: ignore[misc]
        view = VIEWS.get(self.table_name)
        if view is None:
            return sql, params
        quoted = compiler.quote_name_unless_alias(self.table_name)
        join = "" if self.join_type is None else f"{self.join_type} "
        rest = sql.removeprefix(f"{join}{quoted}")
        alias = f" {quoted}" if self.table_alias == self.table_name else ""
        return f"{join}{connection.ops.quote_name(view)}{alias}{rest}", params


class ViewTable(_ViewOfTable, BaseTable):  # type: ignore[misc]
    pass


class ViewJoin(_ViewOfTable, Join):  # type: ignore[misc]
    pass


class InForceQuery(Query):
    base_table_class = ViewTable
    join_class = ViewJoin


class InForceQuerySet(models.QuerySet[Read]):
    def in_force(self) -> Self:
        """All rows as they are by now, whether copied by a worker or not. To be read only."""
        return type(self)(self.model, query=InForceQuery(self.model), using=self.db)
