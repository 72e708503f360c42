"""The statement of a change's rows: what each pays, what it is to pay, or why it stays.

Preview, the frozen list and the list old → new all read the same statement. It has a row for each
subscription that the change is about, with the columns

    id, client_id, service_id, plan_id    the subscription
    price, price_state, locked_until      as it stands
    new_price, new_state, new_until       as it is to become
    reason                                why it stays; NULL if it moves
    upcoming, boundary                    whether it starts later; when it starts, else when it ends

Rows are judged as they stand at the effective instant: a lock that has ended by then counts as
none, and the price is the rule's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from price_changes.kinds import kind_of
from price_changes.kinds.relations import SQL
from price_changes.models import PriceChange
from services.models import book_clock

# The columns of the statement, in the order of the first fields of `ChangeRow`.
COLUMNS = (
    "id",
    "client_id",
    "service_id",
    "plan_id",
    "price",
    "price_state",
    "new_price",
    "new_state",
    "new_until",
    "reason",
)


@dataclass(frozen=True)
class ChangeRow:
    """A subscription that a change is about: how it stands, and what it becomes or why it stays.

    None stands for what is unknown of a deleted subscription, and for the new price of a row that
    was skipped; one that would stay has the price that it has. `locked_until`: the end of the lock
    that it gets; for a skipped row, that of the lock that it has.
    `moved`: whether the change has moved it. `by_change`: the later change that holds it.
    `detail`: what the database said where the row failed.
    """

    subscription: int
    client: int | None
    service: int | None
    plan: int | None
    old_price: Decimal | None
    price_state: str | None
    new_price: Decimal | None
    new_state: str | None
    locked_until: datetime | None
    reason: str | None
    moved: bool = False
    by_change: int | None = None
    detail: str = ""


def rows_sql(
    change: PriceChange, at: datetime | None = None, relations: Mapping[str, str] | None = None
) -> SQL:
    """The statement of the change's rows, judged as of `at` (its effective instant; else now).

    `relations`: those that say how the rows stand. The default is what is in force for a change of
    the catalogue, and what will be at the instant for a set (one query).
    """
    return kind_of(change).rows(change, at or change.effective_at or book_clock(), relations)
