"""The standing of one subscription, and what moves it, for `oracle`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from price_changes.tests.facts import Place, Set

CENT = Decimal("0.01")
Given = ParamSpec("Given")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Standing:
    """How a subscription stands at a place; `price` is None while it follows."""

    client: int
    service: int
    plan: int
    state: str
    price: Decimal | None
    until: datetime | None

    def follows(self) -> Standing:
        return replace(self, state="follows", price=None, until=None)


@dataclass(frozen=True)
class Answer:
    active: bool
    client: int
    service: int
    plan: int
    price: Decimal
    state: str
    until: datetime | None


@dataclass(frozen=True)
class Row:
    """A row of a set, judged: as it stands, and what it is to become, or the reason why not."""

    standing: Standing
    price: Decimal
    becomes: Standing | None
    reason: str

    @property
    def of_any_client(self) -> Standing:
        """Without its client: a new client takes over the price and all decisions about it."""
        return replace(self.standing, client=0)

    @property
    def as_seen(self) -> tuple[object, ...]:
        becomes = self.becomes and replace(self.becomes, client=0)
        return self.of_any_client, self.price, becomes, self.reason


@dataclass
class Word:
    """The last word on a price: `by` a change, or none; `of` is the change whose word it is.

    A revert gives the word back to the one that had it before the reverted change.
    """

    by: int | None
    of: int | None
    before: Standing


@dataclass
class Told:
    """A subscription while its facts are applied one by one."""

    standing: Standing
    words: list[Word] = field(default_factory=list)

    def says(self, standing: Standing, by: int | None = None, of: int | None = None) -> None:
        self.words.append(Word(by, by if of is None else of, self.standing))
        self.standing = standing

    def pass_to(self, place: Place) -> None:
        """End locks that end before a place, at their instant."""
        until = self.standing.until
        if until is not None and (until, 0) < place:
            self.says(self.standing.follows())

    def take_back(self, change: int, by: int, at: datetime) -> None:
        """Restore the standing before `change`, if that has the last word."""
        if not self.words or change not in (self.words[-1].by, self.words[-1].of):
            return
        found = next(n for n, word in enumerate(self.words) if word.by == change)
        before = self.words[found].before
        if before.until is not None and before.until <= at:
            before = before.follows()
        earlier = self.words[found - 1].of if found else None
        now = self.standing
        self.words.append(Word(by, earlier, now))
        self.standing = replace(before, client=now.client, service=now.service, plan=now.plan)


def judged(change: Set, standing: Standing, price: Decimal) -> tuple[Standing | None, str]:
    """The result of a set for a row that has not ended; None and the reason if it stays."""
    follows, locked = standing.state == "follows", standing.state == "locked"
    if change.adjustment == "lock":
        if locked and standing.until == change.locked_until:
            return None, "unchanged"
        return replace(standing, state="locked", price=price, until=change.locked_until), ""
    if change.adjustment == "release":
        return (standing.follows(), "") if locked else (None, "unchanged")
    if locked:
        return None, "locked"
    if change.adjustment == "follow":
        return (None, "unchanged") if follows else (standing.follows(), "")
    exact = {
        "amount": change.operand,
        "add": price + change.operand,
        "percent": price * (100 + change.operand) / 100,
    }[change.adjustment]
    target = bounded(change, exact)
    if change.adjustment != "amount":
        if target == 0 and price > 0 and exact > 0:
            return None, "becomes_free"
        if (change.operand > 0 and target < price) or (change.operand < 0 and target > price):
            return None, "against_sign"
    if target == price:
        return None, "unchanged"
    return replace(standing, state="negotiated", price=target, until=None), ""


def bounded(change: Set, price: Decimal) -> Decimal:
    """Rounded to its step, then between its bounds."""
    if change.rounding_step is not None:
        steps = (price / change.rounding_step).quantize(Decimal(1), ROUND_HALF_UP)
        price = steps * change.rounding_step
    if change.floor is not None:
        price = max(price, change.floor)
    if change.ceiling is not None:
        price = min(price, change.ceiling)
    return price.quantize(CENT, ROUND_HALF_UP)


def rule(list_price: Decimal, discount: Decimal) -> Decimal:
    return (list_price * (100 - discount) / 100).quantize(CENT, ROUND_HALF_UP)


def kept_until_a_fact_comes(
    answer: Callable[Given, Found],
) -> Callable[Given, Found]:
    @wraps(answer)
    def ask(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        oracle: Any = args[0]
        key = (answer.__name__, *args[1:], *kwargs.items())
        if key not in oracle.kept:
            oracle.kept[key] = answer(*args, **kwargs)
        found: Found = oracle.kept[key]
        return found

    return ask
