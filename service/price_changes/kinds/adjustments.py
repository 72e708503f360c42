"""The adjustments of a set: what each row's price, or its price state, becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.kinds.relations import literal
from price_changes.kinds.values import parse_money, parse_number, required
from price_changes.kinds.words import shown_percent
from price_changes.models import PriceChange
from pricebook.kit import figures
from pricebook.kit.currency import smallest
from services.bounds import HIGHEST_PRICE

Word = PriceChange.Adjustment
RULE = "price_rule(full_price, discount_percent)"
OF_MOVES = ("operand", "floor", "ceiling", "rounding_step")


class Adjustment(ABC):
    """One way to adjust a set. Its SQL is over a row as it stands: price, state, locked_until."""

    word: ClassVar[Word]
    # The help of its option, `--word`; with a metavar, the option takes the operand.
    option_help: ClassVar[str]
    metavar: ClassVar[str] = ""
    new_state: ClassVar[str] = "follows"
    takes_until: ClassVar[bool] = False  # an end of the locks

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that it takes, checked; raises ChangeError."""
        for name in OF_MOVES:
            if name in given:
                raise ChangeError(
                    "unknown_field",
                    _("%(name)s belongs to amount, add and percent, not to %(value)s.")
                    % {"name": name, "value": self.word.value},
                    parameter=name,
                )
        return {}

    def target(self, change: PriceChange) -> str:
        """The new price, as an expression."""
        return RULE

    @abstractmethod
    def stays(self, change: PriceChange) -> str:
        """The reason for which a row stays, as WHENs over the row, its `target` and `new_until`."""

    def stays_if_frozen(self, change: PriceChange) -> str:
        """The same for a row of an approved list, before it is compared with how it was listed."""
        return ""

    @abstractmethod
    def says(self, change: PriceChange) -> str:
        """The effect on the rows, in a few words."""


class Move(Adjustment):
    """A new price, rounded and bounded, which the row keeps as negotiated."""

    new_state = "negotiated"
    metavar = "NUMBER"

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {"operand": self.parse_operand(required("operand", given))}
        for name in ("floor", "ceiling"):
            if name in given:
                fields[name] = parse_money(name, given[name])
        if "rounding_step" in given:
            fields["rounding_step"] = parse_money(
                "rounding_step", given["rounding_step"], lowest=smallest()
            )
        if fields.get("floor", 0) > fields.get("ceiling", HIGHEST_PRICE):
            raise ChangeError(
                "out_of_range",
                _("The floor is above the ceiling."),
                parameter="floor",
                value=str(fields["floor"]),
            )
        return fields

    def parse_operand(self, value: Any) -> Decimal:
        return parse_money("operand", value)

    @abstractmethod
    def adjusted(self, operand: str) -> str:
        """The new price before it is rounded and bounded."""

    def target(self, change: PriceChange) -> str:
        price = self.adjusted(literal(change.operand))
        if change.rounding_step is not None:
            step = literal(change.rounding_step)
            # The number of whole steps, half up. div() is exact; a quotient would be rounded.
            price = f"sign({price}) * div(abs({price}) + {step} * 0.5, {step}) * {step}"
        if change.floor is not None:
            price = f"greatest({price}, {literal(change.floor)})"
        if change.ceiling is not None:
            price = f"least({price}, {literal(change.ceiling)})"
        return f"round({price}, minor_unit())"

    def stays(self, change: PriceChange) -> str:
        if change.for_one:  # as if it were negotiated on its page
            return "WHEN price = target AND state = 'negotiated' THEN 'unchanged'"
        return (
            f"WHEN state = 'locked' THEN 'locked'{self.refusals(change)}"
            " WHEN price = target THEN 'unchanged'"
        )

    def refusals(self, change: PriceChange) -> str:
        """More reasons to stay, as WHENs: a rise lowers no price and a cut raises none, whatever
        the bounds and the rounding; and no rounding makes a price 0."""
        assert change.operand is not None
        adjusted = self.adjusted(literal(change.operand))
        whens = f" WHEN target = 0 AND price > 0 AND {adjusted} > 0 THEN 'becomes_free'"
        if change.operand:
            other_way = "<" if change.operand > 0 else ">"
            whens += f" WHEN target {other_way} price THEN 'against_sign'"
        return whens

    def says(self, change: PriceChange) -> str:
        says = self.moves(change.operand or Decimal(0))
        if change.rounding_step is not None:
            says += _(", rounded to %(step)s") % {"step": figures.amount(change.rounding_step)}
        if change.floor is not None:
            says += _(", at least %(floor)s") % {"floor": figures.amount(change.floor)}
        if change.ceiling is not None:
            says += _(", at most %(ceiling)s") % {"ceiling": figures.amount(change.ceiling)}
        return says

    def moves(self, operand: Decimal) -> str:
        """The move in words, without its rounding and bounds."""
        return _signed(operand, figures.money(abs(operand)))


def _signed(operand: Decimal, size: str) -> str:
    text = _("minus %(size)s") if operand < 0 else _("plus %(size)s")
    return text % {"size": size}


class Amount(Move):
    word = Word.AMOUNT
    option_help = "a new price"

    def adjusted(self, operand: str) -> str:
        return f"{operand}::numeric"

    def refusals(self, change: PriceChange) -> str:
        return ""  # a given amount is taken as it is

    def moves(self, operand: Decimal) -> str:
        return _("a price of %(money)s") % {"money": figures.money(operand)}


class Add(Move):
    word = Word.ADD
    option_help = "plus or minus an amount"

    def parse_operand(self, value: Any) -> Decimal:
        return parse_money("operand", value, lowest=-HIGHEST_PRICE)

    def adjusted(self, operand: str) -> str:
        return f"price + {operand}"


class Percent(Move):
    word = Word.PERCENT
    option_help = "plus or minus %%"

    def parse_operand(self, value: Any) -> Decimal:
        operand = parse_number("operand", value)
        if not -100 <= operand <= 10_000:
            raise ChangeError(
                "out_of_range",
                _("A percentage must be from -100 to 10000."),
                parameter="operand",
                value=str(value)[:100],
            )
        return operand

    def adjusted(self, operand: str) -> str:
        # Multiplied and not divided: the quotient of a high price would have six digits, and would
        # be rounded twice.
        return f"price * ((100 + {operand}) * 0.01)"

    def moves(self, operand: Decimal) -> str:
        return _signed(operand, f"{shown_percent(abs(operand))} %")


class Lock(Adjustment):
    word = Word.LOCK
    option_help = "lock each at the price it has"
    new_state = "locked"
    takes_until = True

    def target(self, change: PriceChange) -> str:
        return "price"

    def stays(self, change: PriceChange) -> str:
        so = "state = 'locked' AND locked_until IS NOT DISTINCT FROM new_until"
        return f"WHEN {so} THEN 'unchanged'"

    def stays_if_frozen(self, change: PriceChange) -> str:
        # A row that is locked as the set asks has moved since then, to where it should be.
        return self.stays(change)

    def says(self, change: PriceChange) -> str:
        if change.locked_until is None:
            return _("locked at the price they have")
        until = figures.instant(change.locked_until)
        return _("locked at the price they have until %(until)s") % {"until": until}


class Release(Adjustment):
    word = Word.RELEASE
    option_help = "end their locks: they follow the catalogue again"

    def stays(self, change: PriceChange) -> str:
        return "WHEN state <> 'locked' THEN 'unchanged'"

    def says(self, change: PriceChange) -> str:
        return _("released from their lock")


class Follow(Adjustment):
    word = Word.FOLLOW
    option_help = "negotiated ones follow the catalogue again"

    def stays(self, change: PriceChange) -> str:
        locked = "" if change.for_one else "WHEN state = 'locked' THEN 'locked' "
        return f"{locked}WHEN state = 'follows' THEN 'unchanged'"

    def says(self, change: PriceChange) -> str:
        return _("to follow the catalogue")


ADJUSTMENTS: dict[str, Adjustment] = {
    each.word.value: each for each in (Amount(), Add(), Percent(), Lock(), Release(), Follow())
}
