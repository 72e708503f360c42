"""The rows of a price change, and those that it has not moved, as spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields as fields_of
from operator import attrgetter

from django.db.models import QuerySet

from price_changes.kinds.rows import ChangeRow
from price_changes.models import PriceChange
from price_changes.showing.rows import rows_of
from services.models import Skip
from services.transfer.sheets.headings import SKIPS
from services.transfer.sheets.table import Table, Value, between, fields

CHUNK = 1_000  # rows that a statement reads
ROW = [field.name for field in fields_of(ChangeRow)]
SKIP = ["id", "reason", "rows", "subscription", "by_change", "detail"]


def rows(change: PriceChange, reason: str | None, said: dict[str, str]) -> Table:
    """The rows of a change, as `rows_of` has them. Up to five queries for each thousand."""

    def found() -> Iterator[tuple[Value, ...]]:
        after, values = 0, attrgetter(*ROW)
        while chunk := rows_of(change, after, CHUNK, reason):
            yield from map(values, chunk)
            after = chunk[-1].subscription

    name = f"Rows of change {change.pk}"
    return Table(
        name, fields(ROW), found(), between(), _said(change, said), words={"reason": SKIPS}
    )


def skips(change: PriceChange, skipped: QuerySet[Skip], said: dict[str, str]) -> Table:
    """The rows that a change has looked at and not moved. A query for each thousand."""

    def found() -> Iterator[tuple[Value, ...]]:
        after = 0
        columns = ("pk", "reason", "rows", "subscription_id", "by_change_id", "detail")
        while chunk := list(skipped.filter(pk__gt=after).values_list(*columns)[:CHUNK]):
            yield from chunk
            after = chunk[-1][0]

    name = f"Skips of change {change.pk}"
    return Table(
        name, fields(SKIP), found(), between(), _said(change, said), words={"reason": SKIPS}
    )


def _said(change: PriceChange, said: dict[str, str]) -> dict[str, str]:
    return {"price change": str(change.pk), "status": change.status, **said}
