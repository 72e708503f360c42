"""The other spreadsheets of the API: records with what they pay, totals, the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from services import ledger
from services.ledger import Place, seals
from services.ledger.entries import Entry
from services.reading import breakdown, totals_by
from services.reading.breakdown import Row
from services.reading.filters import BookFilter
from services.reading.ordering import Ordering
from services.transfer.sheets.table import Moment, Table, Value, between, fields
from services.views.shapes_of_ledger import LedgerEntrySerializer
from services.views.shapes_of_totals import (
    ClientPaySerializer,
    PlanPaySerializer,
    ServicePaySerializer,
)

CHUNK = 1_000  # rows that a statement reads
SHAPES = {
    "client": ClientPaySerializer,
    "service": ServicePaySerializer,
    "plan": PlanPaySerializer,
}


def of_rows(rows: Iterable[Mapping[str, Any]], names: list[str]) -> Iterator[tuple[Value, ...]]:
    for row in rows:
        yield tuple([row[name] for name in names])


def records(kind: str, given: Mapping[str, str], ordering: Ordering, said: dict[str, str]) -> Table:
    """Clients, services or plans with what each pays. A query for each thousand, as it is read.

    Raises TooManyFound.
    """
    names = ["id", *[str(name) for name in SHAPES[kind]().fields if str(name) != "id"]]
    first = breakdown.page(kind, given, None, CHUNK, ordering)
    versions = [first.version]

    def rows() -> Iterator[Row]:
        page = first
        while True:
            yield from page.result
            if page.next is None:
                return
            page = breakdown.page(kind, given, page.next, CHUNK, ordering)
            versions.append(page.version)

    return Table(
        name=f"{kind.title()}s",
        columns=fields(names),
        rows=of_rows(rows(), names),
        moment=lambda: Moment(versions[-1] or "0", versions[0] != versions[-1]),
        filters=said,
        expected=first.count,
    )


def totals(wanted: BookFilter, by: list[str], said: dict[str, str]) -> Table:
    """The totals of all groups; without groups, of all together. Two queries.

    Raises as `totals_by.totals`.
    """
    moment = between()
    rows, together, _ = totals_by.totals(wanted, by)
    if not by:
        rows = [{"count": together.subscriptions, "total_amount": together.amount}]
    groups = dict.fromkeys(column for name in by for column in totals_by.GROUPS[name])
    names = [*groups, "count", "total_amount"]
    return Table("Totals", fields(names), of_rows(rows, names), moment, said, len(rows), _sealed)


def _sealed() -> dict[str, str]:
    return {"Newest sealed block": str(seals.head() or "none is sealed")}


ENTRY = list(LedgerEntrySerializer.Meta.fields)


def history(
    subscription: int, first: list[Entry], said: dict[str, str], chunk: int = CHUNK
) -> Table:
    """Every entry of a subscription; `first`: the first ones, up to a chunk, as they were read."""

    def rows() -> Iterator[Entry]:
        entries = first
        while entries:
            yield from entries
            entries = ledger.history(subscription, entries[-1]["id"], chunk)

    return Table("Ledger", fields(ENTRY), of_rows(rows(), ENTRY), between(), said)


class FeedTable:
    """The feed behind a place as a table, up to `most` entries if that is given.

    `next` is the place behind what was read. Raises PlaceAhead.
    """

    def __init__(self, after: Place | None, most: int | None, said: dict[str, str]) -> None:
        self._most = most
        self._feed = ledger.feed(after, min(CHUNK, most or CHUNK))
        self.table = Table(
            "Ledger",
            fields(ENTRY),
            of_rows(self._entries(), ENTRY),
            between(),
            said,
            more=self._said,
        )

    @property
    def next(self) -> Place:
        return self._feed.next

    def _entries(self) -> Iterator[Entry]:
        read = 0
        while True:
            yield from self._feed.entries
            read += len(self._feed.entries)
            left = CHUNK if self._most is None else min(CHUNK, self._most - read)
            if not left or not self._feed.entries:
                return
            self._feed = ledger.feed(self._feed.next, left)

    def _said(self) -> dict[str, str]:
        until: datetime | None = self._feed.complete_until
        return {
            "Place to read on from": str(self.next),
            "Complete until": "not known: there is more to read"
            if until is None
            else until.isoformat(),
            **_sealed(),
        }
