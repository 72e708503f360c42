"""The facts of the book, as `oracle` knows them: what somebody has decided, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

Place = tuple[datetime, float]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A decision. The oracle gives `number` and `recorded_at`; it takes effect when recorded."""

    number: int = 0
    recorded_at: datetime = datetime.min

    @property
    def recorded(self) -> Place:
        return self.recorded_at, self.number

    @property
    def place(self) -> Place:
        return self.recorded


@dataclass(frozen=True, kw_only=True)
class Scheduled(Fact):
    """A decision that was approved, and takes effect at an instant of its own."""

    effective_at: datetime
    hold: bool = True
    notice: bool = False  # all whose price it moves are to be told before

    @property
    def place(self) -> Place:
        return self.effective_at, self.number


@dataclass(frozen=True, kw_only=True)
class Value(Scheduled):
    """A value of the catalogue. `subject` is ("service" or "plan", its id)."""

    subject: tuple[str, int]
    value: Decimal
    for_new_only: bool = False
    locked_until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Set(Scheduled):
    """A change of a set: each row that matches becomes what the adjustment says."""

    filter: dict[str, Any]
    adjustment: str
    operand: Decimal = Decimal(0)
    floor: Decimal | None = None
    ceiling: Decimal | None = None
    rounding_step: Decimal | None = None
    locked_until: datetime | None = None
    frozen: bool = False


@dataclass(frozen=True, kw_only=True)
class Undone(Fact):
    """A change, by its number, is cancelled or taken back; or counts `again`."""

    of: int
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Pulled(Fact):
    """The brake: what was approved for an instant to come does not come."""


@dataclass(frozen=True, kw_only=True)
class Released(Fact):
    """The brake is off again."""


@dataclass(frozen=True, kw_only=True)
class AllTold(Fact):
    """All whose price a change moves were told in time."""

    of: int


@dataclass(frozen=True, kw_only=True)
class NotTold(Fact):
    """One of them was not told after all."""

    of: int


@dataclass(frozen=True, kw_only=True)
class Own(Fact):
    """A decision about one subscription."""

    subscription: int


@dataclass(frozen=True, kw_only=True)
class Opened(Own):
    client: int
    service: int
    plan: int
    started_at: datetime
    ended_at: datetime | None = None
    state: str = "follows"
    price: Decimal | None = None
    locked_until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Started(Own):
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class Ended(Own):
    """The end is set, moved, or cleared (None)."""

    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Moved(Own):
    client: int | None = None
    service: int | None = None
    plan: int | None = None


@dataclass(frozen=True, kw_only=True)
class Locked(Own):
    """Locked at the price in force, or at a given one. An end that has passed releases now."""

    until: datetime | None
    price: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Follows(Own):
    """Released, or no longer negotiated."""


@dataclass(frozen=True, kw_only=True)
class Negotiated(Own):
    price: Decimal


@dataclass(frozen=True, kw_only=True)
class Corrected(Own):
    """From `since` to `until`, which have passed, the price should have been this one."""

    since: datetime
    until: datetime
    price: Decimal


@dataclass(frozen=True, kw_only=True)
class Deleted(Own):
    pass
