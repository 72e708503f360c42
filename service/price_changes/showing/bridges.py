"""The names of what stands in a bridge: its price changes, and its services, plans or clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.showing.sentences import sentence
from services.ledger.bridge import Behind, Bridge, Group
from services.models import Subscription
from services.transfer.sheets.table import Column, Table, Type, Value, between


@dataclass(frozen=True)
class NamedChange:
    """A price change of a bridge. `edit`: a plain edit of the catalogue, which nobody had planned.

    `says`: what it does, in a sentence. `takes_back`: the change that it reverts.
    """

    id: int
    title: str
    says: str
    edit: bool
    takes_back: int | None


def named_changes(ids: Iterable[int | None], names_clients: bool = True) -> dict[int, NamedChange]:
    """The changes of these ids, by their ids. Up to four queries. `names_clients`: as of Names."""
    wanted = {id for id in ids if id is not None}
    if not wanted:
        return {}
    found = list(PriceChange.objects.filter(pk__in=wanted).select_related("reverts"))
    names = Names.of_changes(found, names_clients)
    return {
        each.pk: NamedChange(
            each.pk, each.title, sentence(each, names), is_plain_edit(each), each.reverts_id
        )
        for each in found
    }


def is_plain_edit(change: PriceChange) -> bool:
    """Whether an edit of the catalogue wrote it: nobody has approved what a preview showed."""
    return not change.fingerprint and change.preview is None and change.approved_at is not None


def changes_of(bridge: Bridge, names_clients: bool = True) -> dict[int, NamedChange]:
    """The price changes of a bridge, by their ids. Up to four queries."""
    return named_changes((step.change_id for step in bridge.steps), names_clients)


def names_of(bridge: Bridge, by: str | None) -> dict[int, str]:
    """The names of the groups of a bridge, by their ids. Up to one query."""
    ids = [group.id for group in bridge.groups]
    names = Names.of(**{f"{by}s": ids}) if by else Names({}, {}, {})
    return {"service": names.services, "plan": names.plans, "client": names.clients}.get(
        by or "", {}
    )


COLUMNS = (
    Column("id", Type.TEXT),
    Column("name", Type.TEXT),
    Column("step", Type.TEXT),
    Column("change", Type.TEXT),
    Column("says", Type.TEXT),
    Column("rows", Type.INTEGER),
    Column("amount", Type.AMOUNT),
)
OTHERS = "others"


def table_of(
    bridge: Bridge,
    by: str | None,
    changes: dict[int, NamedChange],
    names: dict[int, str],
    said: dict[str, str],
) -> Table:
    """A bridge as a table, each group's from its first total to its last."""
    moment = between()
    groups = (
        bridge.groups if by else [Group(None, bridge.total_since, bridge.total_until, bridge.steps)]
    )

    def rows() -> Iterator[tuple[Value, ...]]:
        for group in groups:
            id = "" if group.id is None else str(group.id)
            name = names.get(group.id or 0, "") if id else OTHERS if by else ""
            since, until = group.since, group.until
            yield id, name, "total_from", "", "", since.subscriptions, since.amount
            for step in group.steps:
                change = changes.get(step.change_id or 0)
                says = change.title or change.says if change else ""
                yield id, name, step.kind, _text(step.change_id), says, step.rows, step.amount
            yield id, name, "total_to", "", "", until.subscriptions, until.amount

    return Table("Bridge", COLUMNS, rows(), moment, said)


BEHIND = (
    Column("subscription", Type.TEXT),
    Column("client_name", Type.TEXT),
    Column("service_name", Type.TEXT),
    Column("plan", Type.TEXT),
    Column("amount", Type.AMOUNT),
)
CHUNK = 1_000  # rows that a statement reads


@dataclass(frozen=True)
class BehindRow:
    """A subscription behind a step, with the names of today; empty if it was deleted since."""

    subscription: int
    client_name: str
    service_name: str
    plan: str
    amount: Decimal


def named_rows(rows: Iterable[Behind]) -> list[BehindRow]:
    """The rows with their names. One query."""
    found = list(rows)
    known = Subscription.objects.select_related("client", "service", "plan").in_bulk(
        [row.id for row in found]
    )
    named = []
    for row in found:
        one = known.get(row.id)
        names = (one.client.company_name, one.service.name, str(one.plan)) if one else ("", "", "")
        client, service, plan = names
        named.append(BehindRow(row.id, client, service, plan, row.amount))
    return named


def table_behind(asked: Callable[[int, int], list[Behind]], said: dict[str, str]) -> Table:
    """The subscriptions behind a step as a table. Two queries for each thousand.

    `asked`: up to so many rows after an id.
    """

    def rows() -> Iterator[tuple[Value, ...]]:
        after = 0
        while chunk := asked(after, CHUNK):
            for row in named_rows(chunk):
                yield str(row.subscription), row.client_name, row.service_name, row.plan, row.amount
            after = chunk[-1].id

    return Table("Behind a step", BEHIND, rows(), between(), said)


def _text(id: int | None) -> str:
    return "" if id is None else str(id)
