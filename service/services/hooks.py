"""The interface through which `services` asks the price changes on top of it; installed once.

`services` knows a price change only by its number. `price_changes.hooks` has the answers; without
that app (`NoPriceChanges`) nothing is scheduled, and only the number is known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from services.catalogue_subject import CatalogueSubject
from services.models import RepricingStep
from services.moves import Effect, Move, NeedsAnotherPerson, WaitingPlan
from services.sql import SQL


@dataclass(frozen=True)
class Change:
    """A price change as an explanation of a price describes it."""

    id: int
    author: str
    title: str = ""
    reason: str = ""


@dataclass(frozen=True)
class PendingChange:
    """A price change that is scheduled and will move a subscription."""

    id: int
    title: str
    effective_at: datetime
    new_price: Decimal
    will_be_held: bool  # by the brake that is on, or a notice, by what is known now


@dataclass(frozen=True)
class WaitingChange:
    """An approved change of a set whose effect is missing from an answer, fully or partly.

    Its effect on each row is known when its rows have been listed and moved.
    """

    id: int
    title: str
    effective_at: datetime


@dataclass(frozen=True)
class Chunk:
    """The result of a mover: it looked at `rows` rows up to `last_id`, and moved some of them.

    The figures are the change's: a row that a chunk of another change has moved for this one too
    counts as `moved`, and not as `written`.
    """

    rows: int
    last_id: int
    moved: int
    done: bool  # nothing of the step is left after `last_id`
    stamped: int = 0  # comments that were written beside the prices
    written: int | None = None  # prices that were written now, if they are not those that moved


class PriceChanges(Protocol):
    def moved_by_scheduled(self, change_id: int | None) -> list[SQL]:
        """Statements of the ids that scheduled changes would move: of each (None), or of one."""

    def describe(self, change_id: int) -> Change | None:
        """A change, described for an explanation of a price."""

    def pending(self, subscription_id: int) -> list[PendingChange]:
        """The changes that are scheduled for a subscription, in the order of their instants."""

    def pending_of_each(self, subscriptions: Collection[int]) -> dict[int, list[PendingChange]]:
        """The same for each of these subscriptions. As many queries as for one."""

    def waiting_for(
        self, instant: datetime | None, known_at: datetime | None = None
    ) -> list[WaitingChange]:
        """The changes that have come by an instant (now), and are not fully in its figures, in
        order.

        By what is known now, or by what was known at an instant.
        """

    def something_scheduled(self) -> str:
        """A condition in SQL: a change is approved and has not begun."""

    def a_set_waits(self) -> str:
        """A condition in SQL: a change of a set has come, and not all of its rows are moved."""

    def waiting_since(self) -> SQL:
        """A statement of the earliest instant of the changes that have come and are not started."""

    def start_due(self) -> bool:
        """Start every change whose instant has come; False if it had to give way to a lock."""

    def set_waits_since(self) -> datetime | None:
        """The earliest instant of a change of a set that has come and whose rows are not listed."""

    def move_rows(self, step: RepricingStep, size: int) -> Chunk:
        """Move the next rows of a step whose repricing has a list of rows."""

    def next_row(self, step: RepricingStep) -> int | None:
        """The next row of such a step."""

    # --- The policy: how much one person may move alone (docs/decisions/0018)

    def has_limits(self) -> bool:
        """Whether a limit is set. No query."""

    def judge_edits(self) -> int:
        """Compare edits by SQL and the ORM with the limits; the number of those beyond one."""

    def beyond(self, author: str, move: Move) -> NeedsAnotherPerson | None:
        """The refusal of a move that this author would make alone; None: it may."""

    def moved_alone(self, author: str, move: Move, *change_ids: int) -> None:
        """Count a move that this author has just made alone, by these edits of the catalogue;
        raises NeedsAnotherPerson, and the caller undoes it. In the transaction of the move, after
        all its other locks."""

    def plan_for_one(
        self,
        subscription_id: int,
        adjustment: str,
        author: str,
        why: str,
        *,
        operand: Decimal | None = None,
        locked_until: datetime | None = None,
        reason: str = "",
    ) -> WaitingPlan:
        """Plan what a verb of `price_state` would do, to wait for another person."""

    def plan_value(
        self, subject: CatalogueSubject, value: Decimal, comment: str, author: str, why: str
    ) -> WaitingPlan:
        """Plan a new list price or discount, to wait for another person."""

    def would_move(
        self, subject: CatalogueSubject, value: Decimal, author: str, rows: int = 0
    ) -> Effect:
        """The effect that a new list price or discount would have now, with so many of its rows;
        nothing is written."""


class NoPriceChanges:
    def moved_by_scheduled(self, change_id: int | None) -> list[SQL]:
        return []

    def describe(self, change_id: int) -> Change | None:
        return None

    def pending(self, subscription_id: int) -> list[PendingChange]:
        return []

    def pending_of_each(self, subscriptions: Collection[int]) -> dict[int, list[PendingChange]]:
        return {id: [] for id in subscriptions}

    def waiting_for(
        self, instant: datetime | None, known_at: datetime | None = None
    ) -> list[WaitingChange]:
        return []

    def something_scheduled(self) -> str:
        return "false"

    def a_set_waits(self) -> str:
        return "false"

    def waiting_since(self) -> SQL:
        return "SELECT NULL::timestamptz", ()

    def start_due(self) -> bool:
        return True

    def set_waits_since(self) -> datetime | None:
        return None

    def move_rows(self, step: RepricingStep, size: int) -> Chunk:
        raise LookupError(f"Nobody here knows the list of rows of {step.repricing}.")

    def next_row(self, step: RepricingStep) -> int | None:
        raise LookupError(f"Nobody here knows the list of rows of {step.repricing}.")

    def has_limits(self) -> bool:
        return False

    def judge_edits(self) -> int:
        return 0

    def beyond(self, author: str, move: Move) -> NeedsAnotherPerson | None:
        return None

    def moved_alone(self, author: str, move: Move, *change_ids: int) -> None:
        return None

    def plan_for_one(
        self,
        subscription_id: int,
        adjustment: str,
        author: str,
        why: str,
        *,
        operand: Decimal | None = None,
        locked_until: datetime | None = None,
        reason: str = "",
    ) -> WaitingPlan:
        raise LookupError("Nobody here plans price changes.")

    def plan_value(
        self, subject: CatalogueSubject, value: Decimal, comment: str, author: str, why: str
    ) -> WaitingPlan:
        raise LookupError("Nobody here plans price changes.")

    def would_move(
        self, subject: CatalogueSubject, value: Decimal, author: str, rows: int = 0
    ) -> Effect:
        raise LookupError("Nobody here counts what would move.")


_installed: PriceChanges = NoPriceChanges()


def install(price_changes: PriceChanges) -> None:
    """Called once, when the app that has the answers is ready."""
    global _installed
    _installed = price_changes


def price_changes() -> PriceChanges:
    return _installed
