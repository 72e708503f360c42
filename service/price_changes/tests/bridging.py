"""The bridge between two instants by the facts alone, subscription by subscription."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from unittest.mock import patch

from price_changes.models import PriceChange
from price_changes.tests.asking import Asking
from price_changes.tests.facts import Corrected, Fact, Undone, Value
from price_changes.tests.histories import MINUTE
from price_changes.tests.oracle import AFTER, Oracle
from price_changes.tests.standing import Answer
from price_changes.tests.timeline import MICROSECOND
from services import ledger
from services.ledger import bridge as bridges
from services.ledger.bridge import behind, bridge
from services.reading.filters import BookFilter

Steps = Counter[tuple[str, int | None]]  # the amount of each kind, and of each change's fact
NAMES = {"service": "services", "plan": "plans", "client": "clients"}


def steps_of(
    oracle: Oracle, since: datetime, until: datetime, of: tuple[str, int] | None = None
) -> Steps:
    """The steps from `since` to `until`; those of a service, plan or client, if one is given."""
    steps: Steps = Counter()
    for subscription in oracle.subscriptions:
        (_, before), *later = oracle.paid_since(subscription, since, until)
        for at, answer in later:
            found = paid(before, of), paid(answer, of)
            if found[0] != found[1]:
                step = cause(oracle, subscription, at, before, answer)
                steps[step] += found[1] - found[0]  # type: ignore[assignment]
            before = answer
    return Counter({step: amount for step, amount in steps.items() if amount})


def paid(answer: Answer | None, of: tuple[str, int] | None) -> Decimal:
    if answer is None or not answer.active or (of and getattr(answer, of[0]) != of[1]):
        return Decimal(0)
    return answer.price


def cause(
    oracle: Oracle, subscription: int, at: datetime, before: Answer | None, now: Answer | None
) -> tuple[str, int | None]:
    """The kind of a subscription's step at an instant, and the number of the change's fact."""
    if before is None or not before.active:
        return ("restarted" if oracle.start(subscription) < at else "started"), None
    if now is None or not now.active:
        return "ended", None
    if any(getattr(before, name) != getattr(now, name) for name in NAMES):
        return "moved", None
    corrected, is_corrected = (
        correction(oracle, subscription, at - MICROSECOND),
        correction(oracle, subscription, at),
    )
    if corrected != is_corrected:
        return "corrected", None
    if before.state == now.state == "follows":
        return "change", mover(oracle, now, at)
    if before.state == "locked" and before.until == at and now.state == "follows":
        return "lock_ended", None
    word = oracle._told(subscription, (at, AFTER), float("inf")).words[-1]
    if word.by is not None:
        return "change", first(oracle, word.by)
    return ("negotiated" if "negotiated" in (before.state, now.state) else "locked"), None


def correction(oracle: Oracle, subscription: int, at: datetime) -> int | None:
    facts = [
        fact.number
        for fact in oracle._own(Corrected, subscription)
        if fact.since <= at < fact.until
    ]
    return facts[-1] if facts else None


def mover(oracle: Oracle, now: Answer, at: datetime) -> int:
    """The value of the catalogue that moved the price in its turn, or what was undone last."""
    subjects = ("service", now.service), ("plan", now.plan)

    def concerns(fact: Fact) -> bool:
        if isinstance(fact, Undone):
            return concerns(oracle.by_number[fact.of])
        return isinstance(fact, Value) and fact.subject in subjects

    facts = [fact for fact in oracle.facts if fact.place[0] == at and concerns(fact)]

    def price(number: float) -> Decimal:
        return oracle.rule_price(now.service, now.plan, (at, number))

    moved = [
        fact
        for fact in facts
        if isinstance(fact, Value)
        and oracle.in_force(fact.number, (at, AFTER))
        and price(fact.number) != price(fact.number + 0.5)
    ]
    undone = [fact for fact in facts if isinstance(fact, Undone)]
    return first(oracle, (moved or undone)[-1].number)


def first(oracle: Oracle, number: int) -> int:
    """The change that was taken back, or brought back, or that moved it itself."""
    fact = oracle.by_number[number]
    return fact.of if isinstance(fact, Undone) else number


class Bridging(Asking):
    """The product's bridges of a book, beside those of the facts."""

    def _compare_bridges(self, now: datetime, when: str) -> None:
        self.timeline.set(now, ticks=False)
        waiting = self._waiting(now + 100 * MINUTE)
        instants = sorted({at for _, at in self._instants()} | {now + 50 * MINUTE})
        pairs = [(a, b) for a in instants for b in instants if a < b]
        few = [(instants[0], instants[-1]), *self.random.sample(pairs, min(2, len(pairs)))]
        for since, until in pairs if self.every else few:
            self._compare_bridge(since, until, when, set(waiting))

    def _compare_bridge(
        self, since: datetime, until: datetime, when: str, waiting: set[int]
    ) -> None:
        oracle = self.telling.oracle
        about = f"from {self._said(since)} to {self._said(until)}"
        found = bridge(since, until)  # raises if it does not add up
        for at, total in ((since, found.total_since), (until, found.total_until)):
            if total != (should := ledger.total_as_of(at)):
                self._differs("bridge's total", when, f"{about}, at {at}", total, should)
        if waiting or self.ticks:
            return  # facts don't know what a set will do, nor at which tick
        name = self.random.choice([None, *NAMES])
        of, given = None, {}
        if name is not None:
            of = name, self.random.choice([1, 2])
            given = {name: getattr(self.book, NAMES[name])[of[1]]}
        grouped = self.random.choice([None, *NAMES])
        filtered = BookFilter(**given)
        product = bridge(since, until, filtered, grouped)
        if grouped == "client":
            with patch.object(bridges, "can_rank", lambda *_: False):
                by_rows = bridge(since, until, filtered, grouped)
            if product != by_rows:
                self._differs("bridge by client", when, f"{about}, {of}", product, by_rows)
        facts = {fact: event for event, fact in self.telling.changes.items()}
        events = {change: event for event, change in self.changes.items()}
        told: Steps = Counter()
        for step in product.steps:
            change = step.change_id and events.get(self._first(step.change_id))
            told[step.kind, change] += step.amount  # type: ignore[assignment]
            rows = behind(since, until, step.kind, step.change_id, filtered)
            amount = sum((row.amount for row in rows), Decimal(0))
            if amount != step.amount:
                self._differs("rows behind", when, f"{about}, {step}, {of}", rows, step.amount)
        should_steps = Counter(
            {
                (kind, facts[number] if number else None): amount
                for (kind, number), amount in steps_of(oracle, since, until, of).items()
            }
        )
        told = Counter({step: amount for step, amount in told.items() if amount})
        if told != should_steps:
            self._differs("bridge", when, f"{about}, {of}", dict(told), dict(should_steps))

    @staticmethod
    def _first(change: int) -> int:
        while of := PriceChange.objects.values_list("reverts", flat=True).get(pk=change):
            change = of
        return change
