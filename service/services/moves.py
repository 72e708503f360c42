"""An intended move of prices, as the policy judges it, and the refusal to do it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _

from pricebook.kit.refusal import Refusal

ROWS_SHOWN = 100  # by a look before a move


@dataclass(frozen=True)
class Move:
    """The effect of an edit on prices: its rows before and after, in figures.

    `rows`: the subscriptions whose price or price state it moves. `before` and `after`: the sums of
    the prices of all that it is about. `movement`: the sum of all rises and falls, without their
    signs. `percent`: the largest rise or fall of one price, in per cent of it; None where no per
    cent says it (a price of 0 that rises), or where nobody has counted it. `names`: the service,
    plan, client and subscription, by their ids, that each of its rows has.
    """

    rows: int
    before: Decimal
    after: Decimal
    movement: Decimal
    percent: Decimal | None = Decimal(0)
    names: Mapping[str, int] = field(default_factory=dict)

    @property
    def difference(self) -> Decimal:
        return self.after - self.before


NOTHING = Move(0, Decimal(0), Decimal(0), Decimal(0))


def one_after_the_other(first: Move, then: Move) -> Move:
    """Two moves that one person would make, added up as the policy adds up those of 24 hours."""
    together = None
    if first.percent is not None and then.percent is not None:
        together = first.percent + then.percent + first.percent * then.percent / 100
    return Move(
        first.rows + then.rows,
        first.before + then.before,
        first.after + then.after,
        first.movement + then.movement,
        together,
    )


@dataclass(frozen=True)
class Mover:
    """A client whom an edit moves, with the sums of its rows before and after."""

    client: int
    name: str
    rows: int
    before: Decimal
    after: Decimal


@dataclass(frozen=True)
class Effect:
    """The effect that an edit of the catalogue would have: its figures, and whom it moves most.

    `rows` are the first subscriptions that move, old → new, as `dry_run` shows them.
    `needs_another`: why it takes another person; empty if it would be done at once, or if nobody
    has asked.
    """

    move: Move
    movers: tuple[Mover, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    needs_another: str = ""


def largest_percent(before: Decimal, after: Decimal) -> Decimal | None:
    """The difference of two values in per cent of the first; None for a rise from 0."""
    if before == after:
        return Decimal(0)
    return abs(after - before) * 100 / before if before else None


class NeedsAnotherPerson(Refusal):
    """A refusal to move prices alone: it is beyond a limit (docs/decisions/0018).

    `about` has the `limit` (rows, percent, amount, or any), what it allows, and the `value` that
    was counted. `move` is what was to be moved; `after` is the subscription as it would have
    become, if it was about one.
    """

    after: Any = None

    def __init__(self, detail: str, move: Move | None = None, **about: Any) -> None:
        super().__init__("needs_another_person", detail, 403, **about)
        self.move = move


@dataclass(frozen=True)
class WaitingPlan:
    """A price change that stands in the place of an edit beyond a limit: it waits for another
    person's approval, and nothing has moved. `unwritten`: the other fields of the edit."""

    id: int
    why: str
    unwritten: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return f"/api/price-changes/{self.id}/"

    @property
    def detail(self) -> str:
        said = _(
            "Nothing has moved. %(why)s So it was planned instead, as price change %(id)s, and"
            " waits for another person's approval."
        ) % {"why": self.why, "id": self.id}
        if self.unwritten:
            rest = _("Nothing else was saved (%(fields)s).")
            said += " " + rest % {"fields": ", ".join(self.unwritten)}
        return said
